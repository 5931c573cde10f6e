// A tokenizer.json: read; if it is a tokenizer, it must encode any text and decode its own ids.
#include "formats/pipeline_tokenizer.h"
#include "formats/tokenizer_readers.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const candor::MemoryFile file(candor::text_of(data, size));
  auto parts = candor::parts_from_tokenizer_json(file.path());
  if (!parts.ok()) return 0;
  const auto tokenizer = candor::make_pipeline_tokenizer(std::move(*parts));
  const auto ids =
      tokenizer->encode("ab  Hello \xc3\xa9\xe4\xb8\xad\n12<s>", {.add_special_tokens = true});
  if (ids.ok()) CANDOR_CHECK(tokenizer->decode(*ids, true).ok());
  return 0;
}
