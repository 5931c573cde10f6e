// JSON lines; what was read must print and read back as the same values.
#include "formats/records.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto records = candor::parse_jsonl(candor::text_of(data, size), "fuzz");
  if (!records.ok()) return 0;
  std::string printed;
  for (const candor::Json& record : *records) printed += candor::to_line(record) + "\n";
  const auto again = candor::parse_jsonl(printed, "fuzz");
  CANDOR_CHECK(again.ok() && *again == *records);
  return 0;
}
