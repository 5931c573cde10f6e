#include "lm/rlhf.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/check.h"
#include "base/crash_point.h"
#include "base/interrupt.h"
#include "base/strings.h"
#include "lm/learning_rate.h"
#include "lm/rlhf_checkpoint.h"
#include "lm/rlhf_metrics.h"
#include "lm/rlhf_step.h"

namespace candor {

namespace {

class Stopwatch {
 public:
  // Seconds since the last lap.
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const std::chrono::duration<double> passed = now - last_;
    last_ = now;
    return passed.count();
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

std::vector<RlhfRewardRequest> requests_of(const RlhfJob& job, const Rollout& rollout) {
  std::vector<RlhfRewardRequest> requests;
  requests.reserve(rollout.replies.size());
  for (const RlhfReply& reply : rollout.replies) {
    requests.push_back({&job.prompts[reply.prompt], &reply});
  }
  return requests;
}

class Run {
 public:
  Run(TrainableDecoder& policy, const RlhfJob& job, const StepSink& on_step)
      : policy_(policy),
        job_(job),
        on_step_(on_step),
        trainer_(policy, job.reference, job.prompts, job.settings),
        identity_("rlhf", policy.options().threads, job.inputs) {
    identity_.add_settings("rlhf", job.settings);
    identity_.add_settings("model", policy.options());
    identity_.add_settings_json("seed", job.seed);
  }

  Result<RlhfResult> run() {
    state_.kl_coefficient = job_.settings.kl_coefficient;
    if (!job_.checkpoints.empty()) {
      CANDOR_CHECK(job_.inputs.contains("model") && job_.inputs.contains("prompts") &&
                   job_.inputs.contains("rewards"));
      CANDOR_TRY(std::optional<RlhfState> state,
                 load_rlhf_checkpoint(job_.checkpoints, identity_, trainer_));
      if (state.has_value()) state_ = std::move(*state);
    }
    while (state_.step < job_.settings.total_steps) {
      CANDOR_RETURN_IF_ERROR(check_interrupted());
      CANDOR_RETURN_IF_ERROR(step());
      const bool due =
          state_.step % job_.settings.save_steps == 0 || state_.step == job_.settings.total_steps;
      if (due && !job_.checkpoints.empty()) {
        CANDOR_RETURN_IF_ERROR(save_rlhf_checkpoint(job_.checkpoints, identity_, state_, trainer_));
      }
    }
    return RlhfResult{std::move(state_.metrics), warnings_of(state_.metrics),
                      state_.kl_coefficient};
  }

 private:
  Status step() {
    Stopwatch watch;
    StepTimes times;
    CANDOR_TRY(Rollout rollout, sample());
    times.sample_s = watch.lap();
    Scores judged;
    CANDOR_TRY(const Scores scores, score(rollout, judged));
    times.reward_s = watch.lap();
    crash_point("rlhf.before_update");
    CANDOR_TRY(const UpdateReport update,
               trainer_.update(rollout, state_.kl_coefficient, {job_.seed, state_.step}));
    times.update_s = watch.lap();
    return finish(rollout, scores, job_.judge.has_value() ? &judged : nullptr, update, times);
  }

  // The policy as it is now. With LoRA the frozen weights are packed once.
  Result<LanguageModel> sampler() {
    const Dtype dtype = job_.settings.sampler_bf16 ? Dtype::kBf16 : Dtype::kF32;
    if (!job_.settings.use_peft) return policy_.sampler_model(dtype);
    if (!frozen_.has_value()) {
      CANDOR_TRY(frozen_, policy_.frozen_model(dtype));
    }
    const LoraAdapter factors = policy_.adapter();
    return frozen_->with_row_adapters(std::span(&factors, 1));
  }

  Result<Rollout> sample() {
    CANDOR_TRY(const LanguageModel sampler, this->sampler());
    CANDOR_TRY(std::vector<RlhfReply> replies,
               sample_replies(sampler, job_.prompts, job_.settings, {job_.seed, state_.step}));
    return make_rollout(std::move(replies));
  }

  Result<Scores> score(Rollout& rollout, Scores& judged) {
    const std::vector<RlhfRewardRequest> requests = requests_of(job_, rollout);
    CANDOR_TRY(Scores scores, score_replies(job_.rewards, requests));
    rollout.scores = scores.totals;
    for (size_t i = 0; i < rollout.replies.size(); ++i) {
      if (!rollout.replies[i].stopped) rollout.scores[i] -= job_.settings.missing_eos_penalty;
    }
    if (job_.judge.has_value()) {
      CANDOR_TRY(judged, score_replies(std::span(&*job_.judge, 1), requests));
    }
    return scores;
  }

  Status finish(const Rollout& rollout, const Scores& scores, const Scores* judged,
                const UpdateReport& update, const StepTimes& times) {
    const RlhfSettings& settings = job_.settings;
    const LearningRate rate{.peak = settings.learning_rate,
                            .schedule = settings.lr_scheduler_type,
                            .warmup_steps = settings.warmup_steps,
                            .total_steps = settings.total_steps};
    StepMetrics metrics = step_metrics({.step = state_.step + 1,
                                        .learning_rate = rate.at_step(state_.step),
                                        .kl_coefficient = state_.kl_coefficient,
                                        .settings = &settings,
                                        .rollout = &rollout,
                                        .scores = &scores,
                                        .judged = judged,
                                        .update = update});
    if (metrics.invalid.has_value()) {
      return invalid_argument(str_cat("step ", state_.step + 1, ": ", *metrics.invalid,
                                      " is not finite; training stops"));
    }
    if (settings.preset == "ziegler2019") {
      state_.kl_coefficient = adapted_coefficient(
          state_.kl_coefficient, metrics.line["objective/kl"].get<double>(), settings.batch_size(),
          {.target = settings.kl_target, .horizon = settings.kl_horizon});
    }
    state_.metrics.push_back(std::move(metrics.line));
    ++state_.step;
    if (!on_step_) return {};
    return on_step_({state_.step, &state_.metrics.back(), times});
  }

  // The first warning of every kind, found by reading the history step by step.
  static std::vector<HealthWarning> warnings_of(const std::vector<Json>& metrics) {
    const std::vector<HealthPoint> points = health_points(metrics);
    std::vector<HealthWarning> first;
    for (size_t steps = 1; steps <= points.size(); ++steps) {
      for (HealthWarning& warning : check_health(std::span(points).first(steps))) {
        const bool known = std::ranges::any_of(
            first, [&](const HealthWarning& other) { return other.kind == warning.kind; });
        if (!known) first.push_back(std::move(warning));
      }
    }
    return first;
  }

  TrainableDecoder& policy_;
  const RlhfJob& job_;
  const StepSink& on_step_;
  PolicyTrainer trainer_;
  TrainIdentity identity_;
  RlhfState state_;
  std::optional<LanguageModel> frozen_;  // LoRA
};

Status check_job(const TrainableDecoder& policy, const RlhfJob& job) {
  CANDOR_RETURN_IF_ERROR(check_rlhf_settings(job.settings));
  CANDOR_RETURN_IF_ERROR(check_rewards(job.rewards));
  if (job.judge.has_value()) {
    CANDOR_RETURN_IF_ERROR(check_rewards(std::span(&*job.judge, 1)));
  }
  if (job.prompts.empty()) return invalid_argument("prompts: there is none; expected one or more");
  for (size_t i = 0; i < job.prompts.size(); ++i) {
    const auto length = static_cast<int64_t>(job.prompts[i].token_ids.size());
    if (length == 0) {
      return invalid_argument(str_cat("prompt ", i + 1, ": has no token"));
    }
    if (length + job.settings.max_new_tokens > policy.config().context_length) {
      return invalid_argument(
          str_cat("prompt ", i + 1, ": ", length, " tokens and ", job.settings.max_new_tokens,
                  " new ones exceed the context of ", policy.config().context_length));
    }
  }
  return {};
}

}  // namespace

Result<RlhfResult> train_rlhf(TrainableDecoder& policy, const RlhfJob& job,
                              const StepSink& on_step) {
  CANDOR_RETURN_IF_ERROR(check_job(policy, job));
  Run run(policy, job, on_step);
  return run.run();
}

}  // namespace candor
