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
#include "lm/sft_data.h"
#include "lm/sft_settings.h"
#include "lm/train_identity.h"
#include "lm/trainable_decoder.h"

namespace candor {

// Sums over the learnt tokens of some batches.
struct SftSums {
  double loss = 0;  // - sum log p
  double correct = 0;
  double entropy = 0;
  int64_t learnt_tokens = 0;
  int64_t tokens = 0;

  static constexpr auto fields() {
    using S = SftSums;
    return std::tuple(field(&S::loss, {.name = "loss"}), field(&S::correct, {.name = "correct"}),
                      field(&S::entropy, {.name = "entropy"}),
                      field(&S::learnt_tokens, {.name = "learnt_tokens", .range = {0, 0x1.0p53}}),
                      field(&S::tokens, {.name = "tokens", .range = {0, 0x1.0p53}}));
  }
};
static_assert(lists_every_member<SftSums>());

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
  // Digests of what is read: "model", "data", "eval_data"?, "adapter"?; and whatever else a
  // checkpoint must share.
  TrainInputs inputs = {};
};
// Trains `model` in place. Returns what happened (docs/formats.md, sft-summary/1).
// Resumed or not, the same settings, data and threads end in the same bytes.
// Errors: data (see sft_data.h); a checkpoint of another run; kInterrupted, after a checkpoint.
Result<Json> run_sft(const TrainableDecoder& model, const SftSettings& settings, const SftRun& run,
                     const ProgressSink& progress);

}  // namespace candor
