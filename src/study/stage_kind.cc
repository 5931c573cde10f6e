#include "study/stage_kind.h"

#include <algorithm>
#include <array>

#include "base/check.h"

namespace candor {

namespace {

constexpr std::array<StageKind, 8> kKinds = {{
    {.name = "bank"},
    {.name = "divergence"},
    {.name = "menu_bank"},
    {.name = "menu_check"},
    {.name = "reward"},
    {.name = "rlhf", .version = 2, .keeps_checkpoints = true},
    {.name = "score"},
    {.name = "sft", .version = 2, .keeps_checkpoints = true},
}};

}  // namespace

bool is_stage_kind(std::string_view name) {
  return std::ranges::find(kKinds, name, &StageKind::name) != kKinds.end();
}

const StageKind& stage_kind(std::string_view name) {
  CANDOR_CHECK(is_stage_kind(name));
  return *std::ranges::find(kKinds, name, &StageKind::name);
}

}  // namespace candor
