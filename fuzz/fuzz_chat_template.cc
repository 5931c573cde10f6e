// A chat template: recognised or refused; one that is recognised renders.
#include "formats/chat_template.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto chat = candor::ChatTemplate::recognise(candor::text_of(data, size));
  if (!chat.ok()) return 0;
  const auto text = chat->render({{.role = "user", .content = "hi"}}, true);
  CANDOR_CHECK(text.ok() && text->find(chat->turn_end()) != std::string::npos);
  return 0;
}
