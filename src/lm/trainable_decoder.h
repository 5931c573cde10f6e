#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "formats/lora_adapter.h"
#include "lm/language_model.h"
#include "lm/lora_settings.h"
#include "lm/model_file.h"
#include "lm/packed_sequences.h"
#include "lm/train_ops.h"

namespace candor {

struct TrainableOptions {
  // Of the products. Master weights, residual stream, norms, softmax and losses are f32; bf16
  // rounds the factors of every product and sums in f32.
  Dtype arithmetic = Dtype::kF32;
  int threads = 0;                        // 0: all cores of this process
  std::optional<LoraSettings> lora = {};  // absent: every weight is trained
  bool gradient_checkpointing = false;
  uint64_t seed = 1;
  // kScore: no language head is read or trained, an adapter is a classifier's (its own head is the
  // caller's to read), and token_scores, mean_loss and sampler_model mean nothing.
  ModelHead head = ModelHead::kLanguage;

  static constexpr auto fields() {
    using S = TrainableOptions;
    return std::tuple(
        field(&S::arithmetic, {.name = "arithmetic", .choices = dtype_names}),
        field(&S::threads, {.name = "threads", .of_run = true}), field(&S::lora, {.name = "lora"}),
        field(&S::gradient_checkpointing,
              {.name = "gradient_checkpointing",
               .help = "Less memory: layers are computed again in the backward pass"}),
        field(&S::seed, {.name = "seed", .of_run = true}),
        field(&S::head, {.name = "head", .choices = model_head_names}));
  }
};
static_assert(lists_every_member<TrainableOptions>());

struct ForwardOptions {
  bool train = false;       // dropout
  uint64_t step = 0;        // with the seed: which dropout masks; another number for every forward
  bool use_adapter = true;  // false: the model without its LoRA factors (the reference)
};

struct NamedTensor {
  std::string name;  // as in Hugging Face or PEFT files
  at::Tensor value;
};

struct TokenScores {
  at::Tensor logprobs;   // [M] f32, with gradient
  at::Tensor entropies;  // [M] f32, without
  at::Tensor correct;    // [M] f32: 1 where the target is the likeliest token
};

struct MeanLoss {
  at::Tensor loss;     // one f32, with gradient
  TokenScores scores;  // without gradient
};

// A Llama-family decoder under LibTorch's autograd: full fine-tuning, or LoRA factors over frozen
// weights.
//
// Determinism: every function gives the same bytes for the same inputs, weights and threads on one
// instruction set; random numbers are keyed by (seed, step, module, element).
// Threads: one at a time. LibTorch's thread count is set to options.threads by `load`.
// Exceptions: LibTorch's pass through; stages and commands catch them in one place.
class TrainableDecoder {
 public:
  // `model`: a GGUF file or Hugging Face folder. `adapter`: a PEFT folder; with options.lora its
  // factors are trained on (its rank, scale and modules count, the settings' dropout applies),
  // without it they are added to the weights first.
  // Errors: kInvalidArgument: as LanguageModel::load; settings out of range or of unknown modules.
  static Result<TrainableDecoder> load(const std::filesystem::path& model,
                                       const TrainableOptions& options,
                                       const std::optional<std::filesystem::path>& adapter = {});

  [[nodiscard]] const DecoderConfig& config() const { return file_->config(); }
  [[nodiscard]] const TrainableOptions& options() const { return options_; }
  [[nodiscard]] const Tokenizer& tokenizer() const { return *file_->tokenizer(); }
  [[nodiscard]] const ModelFile& file() const { return *file_; }

  // The leaves of training only, in a fixed order: LoRA factors
  // ("base_model.model.MODULE.lora_A.weight"), or all weights ("MODULE.weight"; a tied head is the
  // embedding). They may be changed in place between a backward and the next forward.
  [[nodiscard]] std::vector<NamedTensor> parameters() const;

  // [T, D] f32 after the final norm.
  // REQUIRES: well-formed sequences of ids inside the vocabulary, positions inside the context.
  // With branches, attention costs the square of a whole sequence in memory (4 bytes per head and
  // pair).
  [[nodiscard]] at::Tensor hidden(const PackedSequences& sequences,
                                  const ForwardOptions& options) const;

  // Natural-log probability of targets[i] after hidden_rows[i] under softmax(logits / temperature),
  // and that distribution's entropy. Cost: logits are made in tiles of rows and never held whole;
  // where the head is trained, they are made again in the backward pass.
  // Shapes: hidden_rows [M, D], M targets.
  [[nodiscard]] TokenScores token_scores(const at::Tensor& hidden_rows,
                                         std::span<const int32_t> targets,
                                         double temperature = 1) const;

  // - sum(log-probabilities) / divisor at temperature 1, with the gradient of its inputs made in
  // the same tiles: with a trained head a third cheaper than token_scores and a backward pass.
  [[nodiscard]] MeanLoss mean_loss(const at::Tensor& hidden_rows, std::span<const int32_t> targets,
                                   double divisor) const;

  // A packed snapshot for generation and scoring: the model as it is now, factors merged in f32.
  [[nodiscard]] Result<LanguageModel> sampler_model(Dtype dtype) const;
  // The frozen weights alone: with adapter() as a row adapter on top, the policy as it is now, for
  // a fraction of a snapshot's cost. REQUIRES: options().lora.
  [[nodiscard]] Result<LanguageModel> frozen_model(Dtype dtype) const;
  // The factors as they are now. REQUIRES: options().lora.
  [[nodiscard]] LoraAdapter adapter() const;

  // One weight as it is now, in f32, with the factors added where `merge` says so.
  [[nodiscard]] at::Tensor weight(const std::string& name, bool merge) const;

 private:
  struct Factors {
    at::Tensor a;  // [rank, inputs]
    at::Tensor b;  // [outputs, rank]
    RoundedCopy rounded_a = {};
    RoundedCopy rounded_b = {};
  };
  struct Linear {
    std::string name;  // "model.layers.0.self_attn.q_proj"
    uint32_t index = 0;
    at::Tensor weight;  // [outputs, inputs]
    RoundedCopy rounded;
    std::shared_ptr<const FrozenWeight> frozen;  // with LoRA in bf16
    std::optional<Factors> factors;
  };
  struct Layer {
    at::Tensor attention_norm, ffn_norm;
    std::vector<Linear> linears;  // in the order of linear_modules()
  };
  struct Pass;  // what all layers of one forward share
  [[nodiscard]] Result<LanguageModel> packed_model(Dtype dtype, const LoraAdapter* merged) const;

  TrainableDecoder() = default;
  Status read_weights();
  Status merge_adapter(const LoraAdapter& adapter);
  Status attach_new_factors();
  Status attach_factors(const LoraAdapter& adapter);
  void pack_frozen_weights();
  Linear* find_linear(const std::string& name);
  [[nodiscard]] const Linear* find_linear(const std::string& name) const;
  [[nodiscard]] at::Tensor layer_forward(const Layer& layer, const at::Tensor& x,
                                         const Pass& pass) const;
  [[nodiscard]] at::Tensor checkpointed(const Layer& layer, const at::Tensor& x,
                                        const Pass& pass) const;
  [[nodiscard]] at::Tensor attention(const Layer& layer, const at::Tensor& x,
                                     const Pass& pass) const;
  [[nodiscard]] at::Tensor linear(const Linear& linear, const at::Tensor& x,
                                  const Pass& pass) const;
  // The copy to multiply by: undefined in f32.
  [[nodiscard]] at::Tensor rounded(const RoundedCopy& copy, const at::Tensor& weight) const;
  [[nodiscard]] HeadScores scores(const at::Tensor& hidden_rows, std::span<const int32_t> targets,
                                  HeadOptions options) const;
  [[nodiscard]] const at::Tensor& head() const { return head_.defined() ? head_ : embedding_; }

  TrainableOptions options_;
  std::shared_ptr<const ModelFile> file_;
  int64_t rank_ = 0;
  double scale_ = 0;      // lora_alpha / rank
  at::Tensor embedding_;  // [V, D]
  std::vector<Layer> layers_;
  at::Tensor final_norm_;  // [D]
  at::Tensor head_;        // [V, D]; undefined where tied
  RoundedCopy rounded_head_;
  std::shared_ptr<const FrozenWeight> frozen_head_;  // with LoRA in bf16
};

}  // namespace candor
