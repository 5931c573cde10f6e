// Gzip data; the limit on what it unpacks to is kept.
#include "formats/gzip.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static constexpr uint64_t kLimit = uint64_t{1} << 20;
  const auto out = candor::gunzip_bytes(candor::text_of(data, size), "fuzz", kLimit);
  CANDOR_CHECK(!out.ok() || out->size() <= kLimit);
  return 0;
}
