#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/result.h"

namespace candor {

// A folder that one process works in while others, on this machine or on another that shares the
// file system, leave it alone. A lock on a file inside tells: it goes with the process, however
// that ends, and does not depend on process ids, which mean nothing in another container.
class ClaimedFolder {
 public:
  // A new folder `root`/`prefix`HOST-BOOT-PID-RANDOM, for people to see whose it is. Errors:
  // kResource.
  static Result<ClaimedFolder> make(const std::filesystem::path& root, const std::string& prefix);

  // The folder at `path`, made where it is not there yet. Nothing where somebody alive has it, or
  // where the file system keeps no locks. Errors: kResource.
  static Result<std::optional<ClaimedFolder>> claim(const std::filesystem::path& path);

  // Whether the folder was made by a process under the running kernel: where it was not, only
  // whoever knows its machine may say that nobody is using it.
  [[nodiscard]] static bool of_this_machine(const std::filesystem::path& path);

  ClaimedFolder(ClaimedFolder&& other) noexcept;
  ClaimedFolder& operator=(ClaimedFolder&& other) noexcept;
  ~ClaimedFolder();  // gives the lock back; the folder stays

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  // Removes the folder. Killed meanwhile, it leaves a ".tmp-" folder beside it.
  void remove();

 private:
  ClaimedFolder(std::filesystem::path path, int lock) : path_(std::move(path)), lock_(lock) {}
  std::filesystem::path path_;
  int lock_ = -1;  // -1: this file system keeps no locks
};

}  // namespace candor
