#pragma once

#include "apps/command.h"

namespace candor {

// tokenize, score, generate, reward: JSONL in, JSONL out (DESIGN section 5).
void add_lm_commands(CLI::App& lm, CommonOptions& options);

}  // namespace candor
