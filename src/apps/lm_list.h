#pragma once

#include <array>
#include <string>

namespace candor {

// The commands under `candor lm`, which candor's help names without LibTorch; candor-worker checks
// that they are the ones it has.
inline constexpr std::array kLmCommands = {"tokenize", "score",  "generate", "soup", "merge",
                                           "sft",      "reward", "chat",     "eval", "rlhf"};

[[nodiscard]] inline std::string lm_summary() {
  std::string out = "Language-model commands:";
  for (const char* name : kLmCommands) out += std::string(out.ends_with(':') ? " " : ", ") + name;
  return out;
}

}  // namespace candor
