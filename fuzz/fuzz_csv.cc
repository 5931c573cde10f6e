// CSV; every row that was read is as long as the header.
#include "formats/records.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto table = candor::parse_csv(candor::text_of(data, size), "fuzz");
  if (!table.ok()) return 0;
  CANDOR_CHECK(!table->header.empty() && table->lines.size() == table->rows.size());
  for (const auto& row : table->rows) CANDOR_CHECK(row.size() == table->header.size());
  return 0;
}
