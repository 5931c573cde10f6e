// A safetensors file: opened, every tensor read.
#include "formats/safetensors.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const candor::MemoryFile file(candor::text_of(data, size));
  const auto tensors = candor::SafeTensors::open(file.path());
  if (!tensors.ok()) return 0;
  for (const auto& item : tensors->tensors()) {
    (void)tensors->floats(item.first).ok();
    (void)tensors->doubles(item.first).ok();
    (void)tensors->doubles_of_row(item.first, 0).ok();
  }
  return 0;
}
