#pragma once

#include <cstddef>
#include <memory>

namespace candor {

struct Unmap {
  size_t size = 0;
  void operator()(char* data) const;
};

// A block of memory that starts as zeros and costs nothing until it is touched; on huge pages where
// the system gives them. Aligned to a page at least. Moves only.
class ZeroedBytes {
 public:
  ZeroedBytes() = default;
  explicit ZeroedBytes(size_t size);  // aborts when the system has no memory left

  [[nodiscard]] char* data() { return data_.get(); }
  [[nodiscard]] const char* data() const { return data_.get(); }
  [[nodiscard]] size_t size() const { return data_.get_deleter().size; }

 private:
  std::unique_ptr<char, Unmap> data_;
};

}  // namespace candor
