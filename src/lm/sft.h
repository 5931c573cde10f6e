#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/progress.h"
#include "base/result.h"
#include "lm/adamw.h"
#include "lm/learning_rate.h"
#include "lm/sft_data.h"
#include "lm/trainable_decoder.h"

namespace candor {

// Supervised fine-tuning. Names and meanings are TRL's SFTConfig's.
struct SftSettings {
  double learning_rate = 2e-5;
  int64_t per_device_train_batch_size = 8;  // bins where packed, else examples
  int64_t gradient_accumulation_steps = 1;
  double num_train_epochs = 3;
  int64_t max_steps = 0;  // 0: as the epochs say
  int64_t max_length = 1024;
  bool packing = true;
  Schedule lr_scheduler_type = Schedule::kLinear;
  double warmup_ratio = 0;
  double weight_decay = 0;
  double max_grad_norm = 1;  // 0: no clipping
  int64_t logging_steps = 10;
  int64_t save_steps = 0;  // 0: no checkpoints
  int64_t eval_steps = 0;  // 0: after every epoch, where there is evaluation data
  // Evaluations without a lower loss before training ends, with the best parameters; 0: all steps
  // are made and the last parameters stay.
  int64_t early_stopping_patience = 0;
  uint64_t seed = 1;
};
// Errors: kInvalidArgument for a value out of range, by name.
Status check_sft_settings(const SftSettings& settings);
[[nodiscard]] Json json_of(const SftSettings& settings);

// Sums over the learnt tokens of some batches.
struct SftSums {
  double loss = 0;  // - sum log p
  double correct = 0;
  double entropy = 0;
  int64_t learnt_tokens = 0;
  int64_t tokens = 0;
};

struct SftStep {
  SftSums sums;
  double grad_norm = 0;  // before clipping
};
struct SftStepOptions {
  double learning_rate = 0;
  double max_grad_norm = 1;
  uint64_t first_forward = 0;  // ForwardOptions::step of the first batch; one more for each
};
// One optimiser step over the accumulated batches: the loss is the mean over all their learnt
// tokens together. Errors: kInvalidArgument where loss or gradient stop being finite; parameters
// are left as they were.
Result<SftStep> sft_step(const TrainableDecoder& model, AdamW& optimizer,
                         std::span<const MicroBatch> batches, const SftStepOptions& options);

// Sums without gradient or dropout.
[[nodiscard]] SftSums sft_evaluate(const TrainableDecoder& model,
                                   std::span<const MicroBatch> batches);

struct SftRun {
  std::filesystem::path data;
  std::optional<std::filesystem::path> eval_data;
  std::filesystem::path folder;  // exists; gets metrics.jsonl and checkpoint.safetensors
  bool resume = false;           // go on from the folder's checkpoint, where there is one
};
// Trains `model` in place. Returns what happened (docs/formats.md, sft-summary/1).
// Resumed or not, the same settings, data and threads end in the same bytes.
// Errors: data (see sft_data.h); a checkpoint of another run; kInterrupted, after a checkpoint.
Result<Json> run_sft(const TrainableDecoder& model, const SftSettings& settings, const SftRun& run,
                     const ProgressSink& progress);

}  // namespace candor
