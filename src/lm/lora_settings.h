#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/fields.h"

namespace candor {

// What every LoRA training allows.
inline constexpr NumberRange kLoraRank = {1, 1 << 16};
inline constexpr NumberRange kLoraAlpha = {1e-6, 1e6};
inline constexpr NumberRange kLoraDropout = {0, 0.999};

// Low-rank adapters as PEFT trains them: y = W x + lora_alpha / rank * B A dropout(x), A uniform on
// (-1/sqrt(inputs), 1/sqrt(inputs)) (Kaiming with a = sqrt 5), B zero. Names in files are PEFT's.
struct LoraSettings {
  int64_t rank = 64;
  double lora_alpha = 128;
  double dropout = 0.05;
  // Last parts of the modules' names: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj,
  // down_proj; "all-linear" for all of them.
  std::vector<std::string> target_modules = {"q_proj", "v_proj"};

  static constexpr auto fields() {
    return std::tuple(
        field(&LoraSettings::rank, {.name = "r", .range = kLoraRank, .flag = "--lora-r"}),
        field(&LoraSettings::lora_alpha, {.name = "lora_alpha", .range = kLoraAlpha}),
        field(&LoraSettings::dropout, {.name = "lora_dropout", .range = kLoraDropout}),
        field(&LoraSettings::target_modules,
              {.name = "target_modules",
               .help = "Last parts of the modules' names (q_proj,v_proj ..; of an encoder "
                       "query,value ..), or all-linear",
               .flag = "--lora-target-modules"}));
  }
};
static_assert(lists_every_member<LoraSettings>());

// Errors: kInvalidArgument for a setting out of its range, by name.
inline Status check_lora(const LoraSettings& lora) {
  const Status status = check_fields(lora);
  return status.ok() ? status : invalid_argument("LoRA: " + status.error().message);
}

}  // namespace candor
