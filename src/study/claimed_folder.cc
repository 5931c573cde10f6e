#include "study/claimed_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/file.h"
#include "base/strings.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

constexpr const char* kLock = "lock";
constexpr const char* kLeftover = ".tmp-";

// Another at every start of a kernel, on every machine.
std::string boot_id() {
  const Result<std::string> text = read_file("/proc/sys/kernel/random/boot_id");
  if (!text.ok()) return "noboot";
  std::string out;
  for (const char c : *text) {
    if (c != '-' && c != '\n') out += c;
  }
  return out;
}

std::string host_name() {
  utsname system{};
  ::uname(&system);
  std::string out;
  for (const char c : std::string_view(system.nodename)) out += c == '-' || c == '/' ? '_' : c;
  return out;
}

std::string own_name(const std::string& prefix) {
  return str_cat(prefix, host_name(), "-", boot_id(), "-", ::getpid(), "-", random_name());
}

enum class Locked { kMine, kTaken, kNoLocks, kGone };

// Locks the folder's file; `lock` is its descriptor where it is mine.
Result<Locked> lock_folder(const fs::path& folder, int& lock) {
  const fs::path file = folder / kLock;
  const int opened = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (opened < 0 && errno == ENOENT) return Locked::kGone;
  if (opened < 0) return resource_error(str_cat(file.string(), ": ", std::strerror(errno)));
  if (::flock(opened, LOCK_EX | LOCK_NB) != 0) {
    const bool taken = errno == EWOULDBLOCK;
    ::close(opened);
    return taken ? Locked::kTaken : Locked::kNoLocks;
  }
  // Somebody who took it for left may have removed the folder in between.
  struct stat mine {};
  struct stat there {};
  const bool same = ::fstat(opened, &mine) == 0 && ::stat(file.c_str(), &there) == 0 &&
                    mine.st_dev == there.st_dev && mine.st_ino == there.st_ino;
  if (!same) {
    ::close(opened);
    return Locked::kGone;
  }
  lock = opened;
  return Locked::kMine;
}

constexpr int kTries = 100;

}  // namespace

Result<ClaimedFolder> ClaimedFolder::make(const fs::path& root, const std::string& prefix) {
  for (int tries = 0; tries < kTries; ++tries) {
    const fs::path path = root / own_name(prefix);
    std::error_code code;
    fs::create_directories(path, code);
    if (code) return resource_error(str_cat(path.string(), ": ", code.message()));
    int lock = -1;
    const Result<Locked> locked = lock_folder(path, lock);
    if (!locked.ok()) {
      fs::remove_all(path, code);
      return locked.error();
    }
    if (*locked == Locked::kMine || *locked == Locked::kNoLocks) return ClaimedFolder(path, lock);
  }
  return resource_error(str_cat(root.string(), ": no folder of our own; others remove them"));
}

Result<std::optional<ClaimedFolder>> ClaimedFolder::claim(const fs::path& path) {
  for (int tries = 0; tries < kTries; ++tries) {
    std::error_code code;
    fs::create_directories(path, code);
    if (code) return resource_error(str_cat(path.string(), ": ", code.message()));
    int lock = -1;
    CANDOR_TRY(const Locked locked, lock_folder(path, lock));
    if (locked == Locked::kMine) return std::optional(ClaimedFolder(path, lock));
    if (locked != Locked::kGone) break;
  }
  return std::optional<ClaimedFolder>();
}

bool ClaimedFolder::of_this_machine(const fs::path& path) {
  return path.filename().string().find(str_cat("-", boot_id(), "-")) != std::string::npos;
}

ClaimedFolder::ClaimedFolder(ClaimedFolder&& other) noexcept
    : path_(std::move(other.path_)), lock_(std::exchange(other.lock_, -1)) {}

ClaimedFolder& ClaimedFolder::operator=(ClaimedFolder&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(lock_, other.lock_);
  return *this;
}

ClaimedFolder::~ClaimedFolder() {
  if (lock_ >= 0) ::close(lock_);
}

void ClaimedFolder::remove() {
  // Renamed first: whoever wants the folder meanwhile makes a new one, and loses no file of it.
  const fs::path gone = path_.parent_path() / own_name(kLeftover);
  std::error_code code;
  fs::rename(path_, gone, code);
  fs::remove_all(code ? path_ : gone, code);
}

}  // namespace candor
