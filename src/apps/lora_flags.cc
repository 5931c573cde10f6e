#include "apps/lora_flags.h"

#include <algorithm>
#include <vector>

#include "apps/field_options.h"
#include "base/strings.h"

namespace candor {

namespace {

Json sorted(Json value) {
  if (value.is_array()) std::sort(value.begin(), value.end());
  return value;
}

}  // namespace

void add_lora_flags(CLI::App& command, LoraFlags& flags) {
  add_switch(command, "--use-peft,!--full",
             "Train a LoRA adapter, not the whole model; every --lora flag says so too",
             [&flags](bool on) { flags.use_peft = on; });
  add_field_options<LoraSettings>(command, flags.given);
}

Result<std::optional<LoraSettings>> lora_of(const LoraFlags& flags, LoraSettings defaults) {
  if (!flags.wanted()) {
    if (flags.given.empty()) return std::optional<LoraSettings>();
    return usage_error(str_cat(flag_of_field<LoraSettings>(flags.given.begin().key()),
                               ": sets a LoRA adapter; --full trains every weight"));
  }
  CANDOR_TRY(LoraSettings settings, settings_of(flags.given, std::move(defaults)));
  return std::optional(std::move(settings));
}

Status check_same_adapter(const LoraFlags& flags, const LoraSettings& adapter) {
  const Json own = fields_json(adapter);
  for (const auto& item : flags.given.items()) {
    const bool trained_anew = item.key() == "lora_dropout";
    if (trained_anew || sorted(item.value()) == sorted(own[item.key()])) continue;
    return usage_error(
        str_cat(flag_of_field<LoraSettings>(item.key()), ": found ", to_line(item.value()),
                "; the adapter that training goes on from has ", to_line(own[item.key()])));
  }
  return {};
}

}  // namespace candor
