#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/crash_point.h"
#include "base/strings.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

class FileDescriptor {
 public:
  FileDescriptor(const fs::path& path, int flags)
      : descriptor_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  [[nodiscard]] bool ok() const { return descriptor_ >= 0; }
  [[nodiscard]] int get() const { return descriptor_; }

 private:
  int descriptor_;
};

Error cannot_write(const fs::path& path) {
  return resource_error(str_cat(path.string(), ": could not be written: ", std::strerror(errno)));
}

Error cannot_read(const fs::path& path) {
  return invalid_argument(str_cat(path.string(), ": ", std::strerror(errno)));
}

Status sync_path(const fs::path& path, int flags) {
  const FileDescriptor file(path, flags);
  if (!file.ok() || ::fsync(file.get()) != 0) return cannot_write(path);
  return {};
}

Status write_and_sync(const fs::path& path, std::string_view bytes, int flags) {
  const FileDescriptor file(path, O_WRONLY | O_CREAT | flags);
  if (!file.ok()) return cannot_write(path);
  const size_t half = bytes.size() / 2;
  size_t written = 0;
  while (written < bytes.size()) {
    // Two pieces, so that the kill tests can stop between them.
    const size_t end = written < half ? half : bytes.size();
    const ssize_t count = ::write(file.get(), bytes.data() + written, end - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return cannot_write(path);
    written += static_cast<size_t>(count);
    crash_point("write.partial");
  }
  if (::fsync(file.get()) != 0) return cannot_write(path);
  return {};
}

}  // namespace

Result<std::string> read_file(const fs::path& path, uint64_t max_bytes) {
  const FileDescriptor file(path, O_RDONLY);
  if (!file.ok()) return cannot_read(path);
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return cannot_read(path);
  if (S_ISDIR(info.st_mode)) {
    return invalid_argument(str_cat(path.string(), ": is a folder; expected a file"));
  }
  std::string bytes;
  std::string buffer(size_t{1} << 16, '\0');
  while (true) {
    const ssize_t count = ::read(file.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return cannot_read(path);
    if (count == 0) return bytes;
    bytes.append(buffer, 0, static_cast<size_t>(count));
    if (bytes.size() > max_bytes) {
      return invalid_argument(str_cat(path.string(), ": is larger than the ",
                                      format_bytes(static_cast<double>(max_bytes)),
                                      " allowed here"));
    }
  }
}

std::string random_name() {
  uint64_t value = 0;
  CANDOR_CHECK(::getentropy(&value, sizeof value) == 0);
  std::string out(16, '0');
  for (char& digit : out) {
    digit = "0123456789abcdef"[value & 15U];
    value >>= 4U;
  }
  return out;
}

Status write_file_atomically(const fs::path& path, std::string_view bytes) {
  fs::path temporary = path;
  temporary += str_cat(".tmp-", random_name());  // two processes may write one file
  if (Status status = write_and_sync(temporary, bytes, O_TRUNC); !status.ok()) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    return status;
  }
  crash_point("write.before_rename");
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    Error error = cannot_write(path);
    std::error_code ignored;
    fs::remove(temporary, ignored);
    return error;
  }
  crash_point("write.after_rename");
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  return sync_path(folder, O_RDONLY | O_DIRECTORY);
}

Status write_new_file(const fs::path& path, std::string_view bytes) {
  return write_and_sync(path, bytes, O_TRUNC);
}

Status commit_directory(const fs::path& from, const fs::path& to) {
  std::error_code code;
  for (const auto& entry : fs::recursive_directory_iterator(from, code)) {
    const int flags = entry.is_directory() ? O_RDONLY | O_DIRECTORY : O_RDONLY;
    CANDOR_RETURN_IF_ERROR(sync_path(entry.path(), flags));
  }
  if (code) return resource_error(str_cat(from.string(), ": ", code.message()));
  CANDOR_RETURN_IF_ERROR(sync_path(from, O_RDONLY | O_DIRECTORY));
  crash_point("commit.before_rename");
  if (::rename(from.c_str(), to.c_str()) != 0) return cannot_write(to);
  crash_point("commit.after_rename");
  return sync_path(to.parent_path(), O_RDONLY | O_DIRECTORY);
}

Result<MappedFile> MappedFile::open(const fs::path& path) {
  const FileDescriptor file(path, O_RDONLY);
  if (!file.ok()) return cannot_read(path);
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return cannot_read(path);
  if (!S_ISREG(info.st_mode)) {
    return invalid_argument(str_cat(path.string(), ": is not a regular file"));
  }
  const auto size = static_cast<size_t>(info.st_size);
  if (size == 0) return MappedFile(nullptr, 0);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) {
    return resource_error(str_cat(path.string(), ": could not be mapped: ", std::strerror(errno)));
  }
  return MappedFile(static_cast<const char*>(data), size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  // munmap takes the address it gave out; the view is read-only.
  if (data_ != nullptr) ::munmap(const_cast<char*>(data_), size_);
}

}  // namespace candor
