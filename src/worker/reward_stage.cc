#include "worker/reward_training.h"
#include "worker/stage.h"

namespace candor {

// Spec: encoder_digest, data_digest, text_field, label_field, positive_values, max_texts, balance,
// held_out_share, seed, l2, threads; and, where they differ from these values, prompt_field
// (none) and features (completion). What a record is, a pair or a labelled text, it says itself.
Status run_reward_stage(const StageRequest& request, const ProgressSink& progress) {
  static const std::vector<std::string> kFeatures = {"completion", "prompt_completion"};
  JsonReader spec(request.spec, request.source, "$.spec");
  RewardTraining training;
  LabelledTextSource source;
  (void)spec.text("encoder_digest");
  (void)spec.text("data_digest");
  source.text_field = spec.text("text_field");
  source.label_field = spec.text("label_field");
  source.positive_values = spec.texts("positive_values");
  source.prompt_field = spec.text_or("prompt_field", "");
  training.examples.max_texts = spec.integer("max_texts", 0, INT64_MAX);
  training.examples.balance = spec.boolean("balance");
  training.examples.held_out_share = spec.number("held_out_share", 0.01, 0.9);
  training.examples.seed = static_cast<uint64_t>(spec.integer("seed", 0, INT64_MAX));
  training.l2 = spec.number("l2", kHeadL2);
  training.layout = spec.choice_or("features", "completion", kFeatures) == "completion"
                        ? RewardLayout::kCompletion
                        : RewardLayout::kPromptCompletion;
  const int threads = read_machine(spec);
  CANDOR_RETURN_IF_ERROR(spec.finish());
  CANDOR_TRY(source.path, request.path("data"));
  CANDOR_TRY(const std::filesystem::path encoder_path, request.path("encoder"));
  CANDOR_TRY(RewardData data, read_reward_data(source));
  CANDOR_TRY(const TextEncoder encoder, TextEncoder::load(encoder_path, threads));
  CANDOR_TRY(const RewardTrainingResult result,
             train_reward(encoder, std::move(data), std::nullopt, training, progress));
  CANDOR_RETURN_IF_ERROR(
      write_artifact(request, "head.safetensors", reward_head_bytes(result.head)));
  return write_artifact(request, "metrics.json", to_text(reward_metrics_json(result)));
}

}  // namespace candor
