#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"

namespace candor {

// Where a model or data set is. `source` is a path (relative to `relative_to`), or
// "pypi:NAME==VERSION/path/in/wheel": a file or folder of an installed package (an archive here,
// never imported). "pypi:NAME" alone means the one *.gguf of the package, or its one folder with a
// config.json. Packages are looked for in the folders of CANDOR_PACKAGES (a colon list of
// site-packages), else in .venv beside the bin/ folder of the running program.
// Errors: kInvalidArgument saying what is missing and how to get it.
Result<std::filesystem::path> resolve_source(std::string_view source,
                                             const std::filesystem::path& relative_to);

// "sha256:..." of a file, or of a folder: the digest of its sorted "name digest" lines.
Result<std::string> digest_of_source(const std::filesystem::path& path);

// A source whose content is known by its digest, held while somebody reads it: whoever reads
// between `hold` and `unchanged` has read what the digest names.
class HeldSource {
 public:
  // Hashes what is there now. Errors: kInvalidArgument: it is missing, or holds something else than
  // `digest` says, which its planner found there.
  static Result<HeldSource> hold(const std::filesystem::path& path, const std::string& digest);

  // Errors: kInvalidArgument: a file was written, replaced, added or removed since.
  [[nodiscard]] Status unchanged() const;

 private:
  std::filesystem::path path_;
  std::string marks_;  // of its files: name, inode, size and times
};

}  // namespace candor
