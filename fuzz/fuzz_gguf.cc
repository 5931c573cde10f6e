// A GGUF file: opened, every tensor read, its tokenizer built and used.
#include "formats/gguf.h"
#include "formats/tokenizer.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const candor::MemoryFile file(candor::text_of(data, size));
  const auto gguf = candor::GgufFile::open(file.path());
  if (!gguf.ok()) return 0;
  for (const auto& item : gguf->tensors()) {
    const auto values = gguf->floats(item.first);
    CANDOR_CHECK(!values.ok() ||
                 static_cast<int64_t>(values->size()) == item.second.element_count());
  }
  const auto tokenizer = candor::tokenizer_from_gguf(*gguf);
  if (!tokenizer.ok()) return 0;
  const auto ids = (*tokenizer)->encode("ab \xc3\xa9<s> 12", {.add_special_tokens = true});
  if (ids.ok()) CANDOR_CHECK((*tokenizer)->decode(*ids).ok());
  return 0;
}
