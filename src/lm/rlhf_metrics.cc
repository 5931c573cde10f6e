#include "lm/rlhf_metrics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/file.h"
#include "base/strings.h"
#include "lm/rlhf.h"

namespace candor {

namespace {

class Line {
 public:
  void add(const std::string& name, double value) {
    if (!std::isfinite(value)) {
      if (!metrics_.invalid.has_value()) metrics_.invalid = name;
      metrics_.line[name] = nullptr;
      return;
    }
    metrics_.line[name] = value;
  }
  void add_count(const std::string& name, int64_t value) { metrics_.line[name] = value; }
  StepMetrics take() { return std::move(metrics_); }

 private:
  StepMetrics metrics_;
};

double mean(const std::vector<double>& values) {
  if (values.empty()) return 0;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// Prompts whose replies all have one score; where a prompt has one reply, all replies together.
double equal_groups(const std::vector<double>& scores, int64_t group_size) {
  const size_t size = group_size > 1 ? static_cast<size_t>(group_size) : scores.size();
  size_t equal = 0;
  for (size_t begin = 0; begin < scores.size(); begin += size) {
    const auto group = std::span(scores).subspan(begin, size);
    equal += std::ranges::all_of(group, [&](double score) { return score == group[0]; }) ? 1 : 0;
  }
  return static_cast<double>(equal * size) / static_cast<double>(scores.size());
}

// Sums over a reply's tokens, averaged over the replies.
void add_objective(const StepFacts& facts, Line& line) {
  const Rollout& rollout = *facts.rollout;
  const auto replies = static_cast<double>(rollout.reply_count());
  double kl = 0;
  double penalty = 0;
  double surprise = 0;
  for (size_t t = 0; t < rollout.old_logprobs.size(); ++t) {
    kl += (rollout.old_logprobs[t] - rollout.reference_logprobs[t]) / replies;
    penalty += kl_estimate(facts.settings->kl_estimator, rollout.old_logprobs[t],
                           rollout.reference_logprobs[t]) /
               replies;
    surprise -= rollout.old_logprobs[t] / replies;
  }
  const double score = mean(rollout.scores);
  line.add("objective/kl", kl);
  line.add("objective/entropy", surprise);
  line.add("objective/non_score_reward", -facts.kl_coefficient * penalty);
  line.add("objective/rlhf_reward", score - facts.kl_coefficient * penalty);
  line.add("objective/scores", score);
  line.add("objective/kl_coefficient", facts.kl_coefficient);
}

void add_update(const StepFacts& facts, Line& line) {
  const UpdateReport& update = facts.update;
  line.add("policy/approxkl_avg", update.approx_kl);
  line.add("policy/clipfrac_avg", update.clip_fraction);
  line.add("policy/entropy_avg", mean(facts.rollout->entropies));
  line.add("loss/policy_avg", update.policy_loss);
  line.add("val/ratio", update.ratio);
  line.add("grad_norm", update.gradient_norm);
  line.add("lr", facts.learning_rate);
  if (facts.settings->algorithm != RlhfAlgorithm::kPpo) return;
  line.add("loss/value_avg", update.value_loss);
  line.add("val/clipfrac_avg", update.value_clip_fraction);
}

void add_replies(const StepFacts& facts, Line& line) {
  const Rollout& rollout = *facts.rollout;
  const int64_t stopped =
      std::ranges::count_if(rollout.replies, [](const RlhfReply& reply) { return reply.stopped; });
  const auto replies = static_cast<double>(rollout.reply_count());
  line.add_count("val/num_eos_tokens", stopped);
  line.add("completions/mean_length", static_cast<double>(rollout.token_count()) / replies);
  line.add("completions/truncated_share", 1 - static_cast<double>(stopped) / replies);
  line.add("frac_reward_zero_std", equal_groups(rollout.scores, facts.settings->num_generations));
  const Disagreement sampler = disagreement(rollout.sampler_logprobs, rollout.trainer_logprobs);
  line.add("sampler/logprob_mean_abs", sampler.mean_abs);
  line.add("sampler/logprob_max_abs", sampler.max_abs);
  line.add("sampler/kl", sampler.kl);
  const auto cut = std::ranges::count_if(
      rollout.weights, [&](double weight) { return weight >= facts.settings->sampler_weight_cap; });
  line.add("sampler/truncated_weight_share",
           facts.settings->sampler_weight_cap == 0
               ? 0
               : static_cast<double>(cut) / static_cast<double>(rollout.weights.size()));
}

void add_rewards(const std::string& prefix, const Scores& scores, Line& line) {
  for (const RewardMeans& reward : scores.per_reward) {
    line.add(str_cat(prefix, reward.name, "/mean"), reward.mean);
    line.add(str_cat(prefix, reward.name, "/clipped_share"), reward.clipped_share);
  }
}

double number(const Json& line, const char* name) {
  const auto found = line.find(name);
  return found != line.end() && found->is_number() ? found->get<double>() : 0;
}

}  // namespace

StepMetrics step_metrics(const StepFacts& facts) {
  Line line;
  line.add_count("step", facts.step);
  line.add_count("episode", facts.step * facts.settings->batch_size());
  add_objective(facts, line);
  add_update(facts, line);
  add_replies(facts, line);
  add_rewards("rewards/", *facts.scores, line);
  if (facts.judged != nullptr) {
    add_rewards("judge/", *facts.judged, line);
    line.add("judge", facts.judged->per_reward[0].mean);
  }
  return line.take();
}

std::string metrics_lines(const std::vector<Json>& metrics) {
  std::string out;
  for (const Json& line : metrics) out += to_line(line) + "\n";
  return out;
}

Json warnings_json(const std::vector<HealthWarning>& warnings) {
  Json out = Json::array();
  for (const HealthWarning& warning : warnings) {
    out.push_back({{"kind", health_name(warning.kind)},
                   {"step", warning.step},
                   {"message", warning.message}});
  }
  return out;
}

std::vector<HealthPoint> health_points(const std::vector<Json>& metrics) {
  std::vector<HealthPoint> points;
  points.reserve(metrics.size());
  for (const Json& line : metrics) {
    HealthPoint point;
    point.step = static_cast<int64_t>(number(line, "step"));
    point.reward = number(line, "objective/scores");
    point.kl = number(line, "objective/kl");
    point.entropy = number(line, "policy/entropy_avg");
    point.equal_groups = number(line, "frac_reward_zero_std");
    point.truncated_share = number(line, "completions/truncated_share");
    point.sampler_disagreement = number(line, "sampler/logprob_mean_abs");
    if (line.contains("judge")) point.judge = number(line, "judge");
    for (const auto& item : line.items()) {
      if (item.value().is_null() && !point.invalid.has_value()) point.invalid = item.key();
    }
    points.push_back(std::move(point));
  }
  return points;
}

}  // namespace candor
