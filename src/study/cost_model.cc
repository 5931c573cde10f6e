#include "study/cost_model.h"

#include <algorithm>

#include "formats/gguf.h"
#include "formats/safetensors.h"

namespace candor {

namespace {

// Two cores of a Zen 5 server with avx512_bf16 and SmolLM2-135M: estimates of our own stages that
// the recorded studies were held against (docs/results/studies.md).
constexpr double kDecodeFlops = 4.0e11;      // many rows at once: about 1,500 tokens/s at 135M
constexpr double kTrainFlops = 4.0e11;       // forward and backward in bf16 arithmetic
constexpr double kScoreFlops = 9.0e11;       // teacher forcing, many tokens a product
constexpr double kTextsPerSecond = 400;      // the 22M encoder, texts of a reply's length
constexpr double kFitSecondsPerText = 1e-3;  // a logistic head
constexpr double kStartSeconds = 0.3;        // a worker and its libraries
constexpr double kLoadSecondsPerWeight = 2e-9;
constexpr double kWorkerBytes = 250e6;   // libraries
constexpr double kEncoderBytes = 250e6;  // a 22M encoder in f32 with its activations
constexpr double kReplyBytes = 40;       // of a bank's artifact, per token

double bytes_per_weight(const Study& study) { return study.dtype == "bf16" ? 4.8 : 6.8; }

// A token's key and value in f32, all layers.
double cache_bytes(const PlannedModel& model) { return 2 * 4 * model.hidden * model.layers / 3; }

class Planner {
 public:
  Planner(const Pipeline& base, const PlannedModel& model) : study_(base.study), model_(model) {
    prompts_ = static_cast<double>(base.prompts.size());
  }

  void sft(const SftChoice& choice) {
    const auto tokens = static_cast<double>(choice.batch * choice.max_length_tokens);
    const double flops = 6 * model_.parameters * tokens;
    // Master weights, gradients and two moments in f32.
    add("sft", static_cast<double>(choice.steps) * flops / kTrainFlops,
        weights() + 16 * model_.parameters + activations(tokens), 4 * model_.parameters);
  }

  void reward(const std::string& name, const RewardSource& source) {
    if (!source.trained()) return;
    const double texts = source.max_texts > 0 ? static_cast<double>(source.max_texts) : 20000;
    add(name, texts / kTextsPerSecond + texts * kFitSecondsPerText, kWorkerBytes + kEncoderBytes,
        16384, false);
  }

  void bank(const std::string& name, double candidates, double samples, double experts) {
    const double replies = candidates * prompts_ * samples;
    const double tokens = replies * static_cast<double>(study_.bank.max_new_tokens);
    const double batch = std::min(replies, static_cast<double>(study_.bank.batch));
    add(name, tokens * 2 * model_.parameters * experts / kDecodeFlops,
        weights() + batch * experts * cache_bytes(model_) *
                        static_cast<double>(study_.bank.max_new_tokens + 256),
        tokens * kReplyBytes);
  }

  void expert(const std::string& name, const ExpertChoice& choice, int64_t steps) {
    const auto replies = static_cast<double>(choice.prompts_per_step * choice.num_generations);
    const double tokens = replies * static_cast<double>(choice.max_new_tokens);
    const double read = tokens + replies * kPromptTokens;
    // Sample, score under policy and reference, then one training pass.
    const double seconds = tokens * 2 * model_.parameters / kDecodeFlops +
                           4 * read * model_.parameters / kScoreFlops +
                           4 * read * model_.parameters / kTrainFlops + replies / kTextsPerSecond;
    const double micro = static_cast<double>(choice.per_device_train_batch_size) *
                         (static_cast<double>(choice.max_new_tokens) + kPromptTokens);
    add(name, static_cast<double>(steps) * seconds,
        weights() + 4 * model_.parameters + kEncoderBytes + activations(micro),
        0.05 * 4 * model_.parameters);
  }

  void scores(const std::string& name, double replies, const RewardSource& source) {
    const bool model = !source.encoder.empty();
    add(name, model ? replies / kTextsPerSecond : replies * 1e-5,
        kWorkerBytes + (model ? kEncoderBytes : 0), 8 * replies, false);
  }

  // Teacher forcing of every reply under the initial model and its candidate.
  void divergence(double replies) {
    const double tokens =
        replies * (static_cast<double>(study_.bank.max_new_tokens) + kPromptTokens);
    add("divergence", 2 * tokens * 2 * model_.parameters / kScoreFlops,
        weights() + activations(2048), 8 * replies);
  }

  [[nodiscard]] std::vector<StageCost> take() { return std::move(out_); }

 private:
  static constexpr double kPromptTokens = 48;  // a conversation's opening

  void add(const std::string& name, double seconds, double memory, double disk, bool loads = true) {
    const double load = loads ? model_.parameters * kLoadSecondsPerWeight : 0;
    out_.push_back({name, seconds + kStartSeconds + load, memory, disk});
  }
  [[nodiscard]] double weights() const {
    return kWorkerBytes + model_.parameters * bytes_per_weight(study_);
  }
  // Of a forward pass that is kept for its gradient: about 34 numbers of the model's width per
  // layer and token, and a tile of the logits.
  [[nodiscard]] double activations(double tokens) const {
    return tokens * 4 * (34 * model_.hidden * model_.layers) + 256 * 4 * model_.vocabulary;
  }

  const Study& study_;
  PlannedModel model_;
  double prompts_ = 0;
  std::vector<StageCost> out_;
};

void read_shape(const std::string& name, const std::vector<int64_t>& shape, PlannedModel& out) {
  double count = 1;
  for (const int64_t extent : shape) count *= static_cast<double>(extent);
  out.parameters += count;
  if ((name == "model.embed_tokens.weight" || name == "token_embd.weight") && shape.size() == 2) {
    // Safetensors write [V, D], GGUF [D, V]; the vocabulary is the longer one.
    out.vocabulary = static_cast<double>(std::max(shape[0], shape[1]));
    out.hidden = static_cast<double>(std::min(shape[0], shape[1]));
  }
  if (name.ends_with("q_proj.weight") || name.ends_with("attn_q.weight")) out.layers += 1;
}

}  // namespace

Result<PlannedModel> planned_model(const Pipeline& pipeline) {
  PlannedModel out;
  out.layers = 0;
  if (std::filesystem::is_directory(pipeline.model_path)) {
    CANDOR_TRY(const SafeTensors file, SafeTensors::open_folder(pipeline.model_path));
    for (const auto& [name, tensor] : file.tensors()) read_shape(name, tensor.shape, out);
  } else {
    CANDOR_TRY(const GgufFile file, GgufFile::open(pipeline.model_path));
    for (const auto& [name, tensor] : file.tensors()) read_shape(name, tensor.shape, out);
  }
  out.layers = std::max(out.layers, 1.0);
  return out;
}

Result<std::vector<StageCost>> plan_costs(const Pipeline& pipeline) {
  CANDOR_TRY(const PlannedModel model, planned_model(pipeline));
  const Study& study = pipeline.study;
  Planner planner(pipeline, model);
  const auto samples = static_cast<double>(study.bank.samples);
  const auto reference = static_cast<double>(study.reference_samples);
  planner.bank("bank", 1, samples, 1);
  planner.bank("reference bank", 1, reference, 1);
  const auto prompts = static_cast<double>(pipeline.prompts.size());
  for (const StudyGroup& group : study.groups) {
    planner.reward("reward " + group.name, group.reward);
    planner.scores("score " + group.name, prompts * (samples + reference), group.reward);
  }
  return planner.take();
}

Result<std::vector<StageCost>> plan_costs(const MenuPipeline& pipeline) {
  CANDOR_TRY(const PlannedModel model, planned_model(pipeline.base));
  const Study& study = pipeline.study();
  const MenuSettings& menu = *study.menu;
  Planner planner(pipeline.base, model);
  const auto prompts = static_cast<double>(pipeline.base.prompts.size());
  const auto samples = static_cast<double>(study.bank.samples);
  if (menu.sft.has_value()) planner.sft(*menu.sft);
  planner.bank("reference bank", 1, static_cast<double>(study.reference_samples), 1);
  for (const StudyGroup& group : study.groups) {
    planner.reward("reward " + group.name, group.reward);
    if (group.judge.has_value()) planner.reward("judge of " + group.name, *group.judge);
  }
  for (const ExpertRun& run : pipeline.runs) planner.expert(run.name, *menu.experts, run.steps);
  double one = 0;    // candidates that decode as one model
  double mixed = 0;  // mixtures decode every expert and the initial model
  for (const MenuCandidate& candidate : pipeline.candidates) {
    (candidate.kind == MenuCandidate::Kind::kMixture ? mixed : one) += 1;
  }
  for (const ExpertRun& run : pipeline.runs) {
    one += run.role == ExpertRun::Role::kExpert ? 0 : 1;
  }
  const auto experts = static_cast<double>(study.groups.size() + 1);
  const double banks = 1 + static_cast<double>(menu.misreports.size());
  planner.bank("menu bank", banks * (one + experts * mixed), samples, 1);
  const double replies = banks * (one + mixed) * prompts * samples;
  planner.divergence(replies);
  for (const StudyGroup& group : study.groups) {
    planner.scores("score " + group.name, replies, group.reward);
    if (group.judge.has_value()) {
      planner.scores("score judge of " + group.name, replies, *group.judge);
    }
  }
  for (const MisreportChoice& lie : menu.misreports) {
    TrainingReports reports;
    reports.group = static_cast<size_t>(
        std::ranges::find(study.groups, lie.group, &StudyGroup::name) - study.groups.begin());
    reports.size_inflation = lie.size_inflation.value_or(1);
    reports.preference_mix = lie.preference_mix.value_or(1);
    const std::vector<ExpertRun> runs = expert_runs(study, reports);
    for (size_t r = 0; r < runs.size(); ++r) {
      const bool same = runs[r].weights == pipeline.runs[r].weights &&
                        runs[r].kl_coefficient == pipeline.runs[r].kl_coefficient;
      const bool on_menu =
          runs[r].role == ExpertRun::Role::kExpert || runs[r].role == ExpertRun::Role::kTrained;
      if (!same && on_menu) {
        planner.expert(runs[r].name + " under a lie", *menu.experts, runs[r].steps);
      }
    }
  }
  return planner.take();
}

}  // namespace candor
