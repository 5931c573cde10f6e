#pragma once

#include <CLI/CLI.hpp>
#include <optional>

#include "base/json.h"
#include "base/result.h"
#include "lm/lora_settings.h"

namespace candor {

// LoRA of a training command. Any of its flags asks for it; --use-peft says so, --full says no.
struct LoraFlags {
  std::optional<bool> use_peft;
  Json given;  // fields of LoraSettings, by name

  [[nodiscard]] bool wanted() const { return use_peft.value_or(!given.empty()); }
  // Whether any of these flags was there.
  [[nodiscard]] bool any() const { return use_peft.has_value() || !given.empty(); }
};
void add_lora_flags(CLI::App& command, LoraFlags& flags);

// What is trained: factors, or every weight. Errors: kUsage: LoRA's settings beside --full.
Result<std::optional<LoraSettings>> lora_of(const LoraFlags& flags, LoraSettings defaults = {});

// Where factors are trained on, their adapter says what they are.
// Errors: kUsage for a flag that says otherwise than `adapter`, the settings as they were loaded.
Status check_same_adapter(const LoraFlags& flags, const LoraSettings& adapter);

}  // namespace candor
