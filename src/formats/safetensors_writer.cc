#include "formats/safetensors_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>

#include "base/crash_point.h"
#include "base/json.h"
#include "base/strings.h"
#include "formats/half.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

Error cannot_write(const fs::path& path) {
  return resource_error(str_cat(path.string(), ": cannot be written: ", std::strerror(errno)));
}

// A new file that is written from begin to end.
class NewFile {
 public:
  explicit NewFile(fs::path path)
      : path_(std::move(path)),
        file_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) {}
  ~NewFile() {
    if (file_ >= 0) ::close(file_);
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  Status write(const void* data, size_t size) {
    if (file_ < 0) return cannot_write(path_);
    const char* place = static_cast<const char*>(data);
    for (size_t done = 0; done < size;) {
      const ssize_t count = ::write(file_, place + done, size - done);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return cannot_write(path_);
      done += static_cast<size_t>(count);
    }
    size_ += size;
    return {};
  }
  Status sync() {
    if (file_ < 0 || ::fsync(file_) != 0) return cannot_write(path_);
    return {};
  }
  [[nodiscard]] size_t size() const { return size_; }

 private:
  fs::path path_;
  int file_;
  size_t size_ = 0;
};

size_t size_of(const TensorToWrite& tensor) {
  const size_t item = tensor.dtype == "I64" ? 8 : tensor.dtype == "BF16" ? 2 : 4;
  return std::accumulate(tensor.shape.begin(), tensor.shape.end(), item,
                         [](size_t a, int64_t b) { return a * static_cast<size_t>(b); });
}

std::string header_of(const std::vector<TensorToWrite>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  size_t begin = 0;
  for (const TensorToWrite& tensor : tensors) {
    const size_t end = begin + size_of(tensor);
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", Json::array({begin, end})}};
    begin = end;
  }
  std::string text = header.dump();
  while (text.size() % 8 != 0) text += ' ';
  return text;
}

Status write_all(NewFile& file, const std::vector<TensorToWrite>& tensors,
                 const std::map<std::string, std::string>& metadata) {
  const std::string header = header_of(tensors, metadata);
  const uint64_t size = header.size();
  CANDOR_RETURN_IF_ERROR(file.write(&size, sizeof size));
  CANDOR_RETURN_IF_ERROR(file.write(header.data(), header.size()));
  for (const TensorToWrite& tensor : tensors) {
    const size_t end = file.size() + size_of(tensor);
    CANDOR_RETURN_IF_ERROR(
        tensor.write([&](const void* data, size_t count) { return file.write(data, count); }));
    if (file.size() == end) continue;
    return Error{ErrorCode::kInternal,
                 str_cat("tensor ", quote(tensor.name), " wrote another size than its shape's")};
  }
  return file.sync();
}

}  // namespace

Status write_safetensors(const fs::path& path, std::vector<TensorToWrite> tensors,
                         const std::map<std::string, std::string>& metadata) {
  std::ranges::sort(tensors, {}, &TensorToWrite::name);
  const fs::path partial = str_cat(path.string(), ".partial");
  Status status;
  {
    NewFile file(partial);
    status = write_all(file, tensors, metadata);
  }
  std::error_code code;
  crash_point("safetensors.before_rename");
  if (status.ok()) fs::rename(partial, path, code);
  if (status.ok() && code) status = resource_error(str_cat(path.string(), ": ", code.message()));
  if (!status.ok()) fs::remove(partial, code);
  crash_point("safetensors.after_rename");
  return status;
}

TensorToWrite tensor_to_write(std::string name, std::vector<int64_t> shape, const float* values,
                              bool bf16) {
  TensorToWrite out{std::move(name), bf16 ? "BF16" : "F32", std::move(shape), {}};
  const size_t count = size_of(out) / (bf16 ? 2 : 4);
  if (!bf16) {
    out.write = [=](const ByteSink& sink) { return sink(values, count * sizeof(float)); };
    return out;
  }
  out.write = [=](const ByteSink& sink) -> Status {
    constexpr size_t kBlock = 1 << 16;
    std::vector<uint16_t> block;
    for (size_t begin = 0; begin < count; begin += kBlock) {
      block.clear();
      for (size_t i = begin; i < std::min(count, begin + kBlock); ++i) {
        block.push_back(bf16_from_float(values[i]));
      }
      CANDOR_RETURN_IF_ERROR(sink(block.data(), block.size() * sizeof(uint16_t)));
    }
    return {};
  };
  return out;
}

}  // namespace candor
