#include "lm/zeroed_bytes.h"

#include <sys/mman.h>

#include "base/check.h"

namespace candor {

namespace {

constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

ZeroedBytes::ZeroedBytes(size_t size) {
  if (size == 0) return;
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CANDOR_CHECK(memory != MAP_FAILED);
  // Only advice: without huge pages everything works, a little slower.
  if (size >= kHugePage) (void)::madvise(memory, size, MADV_HUGEPAGE);
  data_ = std::unique_ptr<char, Unmap>(static_cast<char*>(memory), Unmap{size});
}

void Unmap::operator()(char* data) const { ::munmap(data, size); }

}  // namespace candor
