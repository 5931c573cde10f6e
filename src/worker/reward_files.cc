#include <algorithm>
#include <cmath>

#include "base/strings.h"
#include "formats/safetensors.h"
#include "worker/reward_training.h"

// What a reward model leaves behind: reward-metrics/1 and head.safetensors.
namespace candor {

namespace {

Json judgement_json(const Judgement& judgement) {
  return {{"count", judgement.count},       {"positive_share", judgement.positive_share},
          {"accuracy", judgement.accuracy}, {"auc", judgement.auc ? Json(*judgement.auc) : Json()},
          {"log_loss", judgement.log_loss}, {"calibration_error", judgement.calibration_error}};
}

Json pairs_json(const RewardTrainingResult& result) {
  const PairJudgement& pairs = *result.judged.pairs;
  return {{"train_count", result.train_pair_count},
          {"equal_count", result.equal_count},
          {"held_out", judgement_json(pairs.judgement)},
          {"length_baseline", judgement_json(*result.judged.pair_length_baseline)},
          {"longer_wins", pairs.longer_wins},
          {"reward_auc", pairs.reward_auc ? Json(*pairs.reward_auc) : Json()},
          {"margin",
           {{"mean", pairs.margin_mean},
            {"sd", pairs.margin_sd},
            {"p10", pairs.margin_p10},
            {"p50", pairs.margin_p50},
            {"p90", pairs.margin_p90}}}};
}

}  // namespace

Json reward_metrics_json(const RewardTrainingResult& result) {
  Json calibration = Json::array();
  for (size_t bin = 0; bin < result.judged.calibration.size(); ++bin) {
    const CalibrationBin& entry = result.judged.calibration[bin];
    calibration.push_back({{"bin", bin},
                           {"count", entry.count},
                           {"mean_probability", entry.mean_probability},
                           {"positive_share", entry.positive_share}});
  }
  Json metrics = {{"candor", "reward-metrics/1"},
                  {"train_count", result.train_count},
                  {"blank_count", result.blank_count},
                  {"held_out", judgement_json(result.judged.held_out)},
                  {"length_baseline", judgement_json(result.judged.length_baseline)},
                  {"calibration", std::move(calibration)}};
  if (result.judged.pairs.has_value()) metrics["pairs"] = pairs_json(result);
  for (const auto& [source, judged] : result.judged.by_source) {
    metrics["by_source"][source] = {{"kind", judged.kind},
                                    {"held_out", judgement_json(judged.model)},
                                    {"length_baseline", judgement_json(judged.length_baseline)}};
  }
  if (!result.tuning.is_null()) metrics["training"] = result.tuning;
  return metrics;
}

std::string reward_head_bytes(const RewardHead& head) {
  std::vector<NamedDoubles> tensors = {{"weight", head.weight}, {"bias", {head.bias}}};
  if (head.layout == RewardLayout::kPromptCompletion) tensors.push_back({"layout", {1.0}});
  return safetensors_bytes(tensors);
}

Result<RewardHead> load_reward_head(const std::filesystem::path& file, int64_t width) {
  CANDOR_TRY(const SafeTensors tensors, SafeTensors::open(file));
  RewardHead head;
  CANDOR_TRY(head.weight, tensors.doubles("weight"));
  CANDOR_TRY(const std::vector<double> bias, tensors.doubles("bias"));
  if (tensors.tensors().contains("layout")) {
    CANDOR_TRY(const std::vector<double> layout, tensors.doubles("layout"));
    if (layout != std::vector<double>{1.0}) {
      return invalid_argument(str_cat(file.string(), ": layout: expected one value, 1"));
    }
    head.layout = RewardLayout::kPromptCompletion;
  }
  const bool finite = std::ranges::all_of(head.weight, [](double w) { return std::isfinite(w); });
  if (static_cast<int64_t>(head.weight.size()) != reward_feature_count(head.layout, width) ||
      bias.size() != 1 || !finite || !std::isfinite(bias[0])) {
    return invalid_argument(
        str_cat(file.string(), ": not a finite head for an encoder of width ", width));
  }
  head.bias = bias[0];
  return head;
}

}  // namespace candor
