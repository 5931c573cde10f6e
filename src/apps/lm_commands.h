#pragma once

#include "apps/command.h"

namespace candor {

// Everything under `candor lm`: JSONL in, JSONL out (DESIGN section 5). One file a command, but for
// tokenize, score and generate.
void add_lm_commands(CLI::App& lm, CommonOptions& options);

void add_chat_command(CLI::App& lm, CommonOptions& options);
void add_eval_command(CLI::App& lm, CommonOptions& options);
void add_merge_command(CLI::App& lm, CommonOptions& options);
void add_reward_command(CLI::App& lm, CommonOptions& options);
void add_rlhf_command(CLI::App& lm, CommonOptions& options);
void add_sft_command(CLI::App& lm, CommonOptions& options);
void add_soup_command(CLI::App& lm, CommonOptions& options);

}  // namespace candor
