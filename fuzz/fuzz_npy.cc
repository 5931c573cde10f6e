// A .npy file: opened, its first and last row read.
#include "formats/npy.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const candor::MemoryFile file(candor::text_of(data, size));
  const auto npy = candor::NpyFile::open(file.path());
  if (!npy.ok()) return 0;
  for (const int64_t row : {int64_t{0}, npy->row_count() - 1, npy->row_count()}) {
    (void)npy->doubles(row).ok();
    (void)npy->integers(row).ok();
  }
  return 0;
}
