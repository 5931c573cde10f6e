#pragma once

#include <string_view>

namespace candor {

// What a kind of stage is to the store.
struct StageKind {
  std::string_view name;
  // Part of every key. Raised with any change that gives other bytes for the same spec: artifacts
  // of another version are made anew.
  int version = 1;
  bool keeps_checkpoints = false;  // it trains: it goes on from where a killed run left it
};

// REQUIRES: one of the kinds that candor-worker knows.
[[nodiscard]] const StageKind& stage_kind(std::string_view name);
[[nodiscard]] bool is_stage_kind(std::string_view name);

}  // namespace candor
