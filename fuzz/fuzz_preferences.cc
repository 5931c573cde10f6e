// Preference pairs and demonstrations out of JSON lines; a pair that was read must read back from
// TRL's standard form as the same pair.
#include "formats/preferences.h"
#include "formats/records.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto records = candor::parse_jsonl(candor::text_of(data, size), "fuzz");
  if (!records.ok()) return 0;
  for (const candor::Json& record : *records) {
    (void)candor::prompt_completion_of_record(record, "fuzz:1");
    const auto pair = candor::preference_of_record(record, "fuzz:1");
    if (!pair.ok() || pair->prompt.starts_with("\n\n")) continue;  // an HH dialogue as a prompt
    const candor::Json standard = {
        {"prompt", pair->prompt}, {"chosen", pair->chosen}, {"rejected", pair->rejected}};
    const auto again = candor::preference_of_record(standard, "fuzz:1");
    CANDOR_CHECK(again.ok() && again->prompt == pair->prompt && again->chosen == pair->chosen &&
                 again->rejected == pair->rejected);
  }
  return 0;
}
