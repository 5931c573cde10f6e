#include "lm/rlhf_step.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "base/rng.h"
#include "base/strings.h"
#include "lm/learning_rate.h"
#include "lm/policy_loss.h"
#include "lm/rlhf_packing.h"

namespace candor {

namespace {

constexpr uint32_t kShuffleStream = 0x726c7368;  // "rlsh"

std::vector<double> to_doubles(const at::Tensor& tensor) {
  const at::Tensor values = tensor.detach().to(at::kDouble).contiguous();
  const auto* data = values.const_data_ptr<double>();
  return {data, data + values.numel()};
}

at::Tensor to_tensor(const std::vector<double>& values) {
  at::Tensor out = at::empty({static_cast<int64_t>(values.size())}, at::kFloat);
  auto* data = out.mutable_data_ptr<float>();
  for (size_t i = 0; i < values.size(); ++i) data[i] = static_cast<float>(values[i]);
  return out;
}

// Writes the values of some replies' tokens, side by side, to those replies' places.
void scatter(const std::vector<double>& values, std::span<const size_t> replies,
             const std::vector<int64_t>& offsets, std::vector<double>& out) {
  auto from = values.begin();
  for (const size_t reply : replies) {
    const int64_t count = offsets[reply + 1] - offsets[reply];
    std::copy_n(from, count, out.begin() + offsets[reply]);
    from += count;
  }
}

// The other way round.
std::vector<double> gather(const std::vector<double>& values, std::span<const size_t> replies,
                           const std::vector<int64_t>& offsets) {
  std::vector<double> out;
  for (const size_t reply : replies) {
    out.insert(out.end(), values.begin() + offsets[reply], values.begin() + offsets[reply + 1]);
  }
  return out;
}

std::vector<double> pick(const std::vector<double>& values, std::span<const size_t> places) {
  std::vector<double> out;
  out.reserve(places.size());
  for (const size_t place : places) out.push_back(values[place]);
  return out;
}

AdamWOptions adam_options(const RlhfSettings& settings) {
  return {.adam_beta1 = settings.adam_beta1,
          .adam_beta2 = settings.adam_beta2,
          .epsilon = settings.adam_epsilon,
          .weight_decay = settings.weight_decay};
}

// Calls work(first, last) for consecutive ranges of at most `size` of `count` places.
template <typename Work>
void in_ranges(size_t count, int64_t size, const Work& work) {
  for (size_t begin = 0; begin < count; begin += static_cast<size_t>(size)) {
    work(begin, std::min(count, begin + static_cast<size_t>(size)));
  }
}

}  // namespace

Rollout make_rollout(std::vector<RlhfReply> replies) {
  Rollout out;
  out.replies = std::move(replies);
  out.offsets.push_back(0);
  for (const RlhfReply& reply : out.replies) {
    out.offsets.push_back(out.offsets.back() + static_cast<int64_t>(reply.token_ids.size()));
    out.sampler_logprobs.insert(out.sampler_logprobs.end(), reply.sampler_logprobs.begin(),
                                reply.sampler_logprobs.end());
  }
  const auto tokens = static_cast<size_t>(out.token_count());
  CANDOR_CHECK(out.sampler_logprobs.size() == tokens);
  for (std::vector<double>* values : {&out.trainer_logprobs, &out.old_logprobs,
                                      &out.reference_logprobs, &out.entropies, &out.old_values}) {
    values->assign(tokens, 0);
  }
  return out;
}

PolicyTrainer::PolicyTrainer(TrainableDecoder& policy, const TrainableDecoder* reference,
                             std::span<const RlhfPrompt> prompts, const RlhfSettings& settings)
    : policy_(policy),
      reference_(reference),
      prompts_(prompts),
      settings_(settings),
      policy_optimizer_(policy.parameters(), adam_options(settings)) {
  CANDOR_CHECK(settings.use_peft == policy.options().lora.has_value());
  CANDOR_CHECK(settings.use_peft || reference != nullptr);
  if (!ppo()) return;
  value_head_.emplace(policy.config().width);
  value_optimizer_.emplace(value_head_->parameters(), adam_options(settings));
}

PolicyTrainer::Pass PolicyTrainer::forward(const Rollout& rollout, std::span<const size_t> replies,
                                           Purpose purpose, uint64_t dropout_step) const {
  Pass pass;
  pass.replies.assign(replies.begin(), replies.end());
  PackedReplies packed = pack_replies(rollout.replies, prompts_, replies);
  pass.offsets = std::move(packed.offsets);
  const bool reference = purpose == Purpose::kReference;
  const TrainableDecoder& engine =
      reference && reference_ != nullptr ? *reference_ : std::as_const(policy_);
  const c10::AutoGradMode gradients(purpose == Purpose::kUpdate);
  const at::Tensor hidden = engine.hidden(
      packed.sequences,
      {.train = purpose == Purpose::kUpdate, .step = dropout_step, .use_adapter = !reference});
  const at::Tensor chosen = hidden.index_select(0, at::tensor(packed.rows, at::kLong));
  const TokenScores scores = engine.token_scores(chosen, packed.targets, settings_.temperature);
  pass.logprobs = scores.logprobs;
  pass.entropies = scores.entropies;
  if (reference) return pass;
  pass.plain_logprobs = scores.logprobs.detach();
  if (settings_.temperature != 1) {
    const c10::NoGradGuard guard;
    pass.plain_logprobs = engine.token_scores(chosen.detach(), packed.targets).logprobs;
  }
  if (value_head_.has_value()) {
    pass.values = value_head_->values(settings_.value_trains_policy ? chosen : chosen.detach());
  }
  return pass;
}

void PolicyTrainer::measure_reference(Rollout& rollout) const {
  std::vector<size_t> all(rollout.replies.size());
  std::iota(all.begin(), all.end(), 0);
  in_ranges(all.size(), settings_.per_device_train_batch_size, [&](size_t begin, size_t end) {
    const Pass pass =
        forward(rollout, std::span(all).subspan(begin, end - begin), Purpose::kReference, 0);
    scatter(to_doubles(pass.logprobs), pass.replies, rollout.offsets, rollout.reference_logprobs);
  });
}

void PolicyTrainer::keep_old(const Pass& pass, Rollout& rollout) const {
  scatter(to_doubles(pass.logprobs), pass.replies, rollout.offsets, rollout.old_logprobs);
  scatter(to_doubles(pass.plain_logprobs), pass.replies, rollout.offsets, rollout.trainer_logprobs);
  scatter(to_doubles(pass.entropies), pass.replies, rollout.offsets, rollout.entropies);
  if (ppo()) scatter(to_doubles(pass.values), pass.replies, rollout.offsets, rollout.old_values);
}

void PolicyTrainer::measure_old(Rollout& rollout) const {
  std::vector<size_t> all(rollout.replies.size());
  std::iota(all.begin(), all.end(), 0);
  in_ranges(all.size(), settings_.per_device_train_batch_size, [&](size_t begin, size_t end) {
    keep_old(forward(rollout, std::span(all).subspan(begin, end - begin), Purpose::kOldPolicy, 0),
             rollout);
  });
}

// The weights of replies begin..end-1: of whole replies for RLOO, of tokens for PPO. Where the
// policy's temperature is not 1 the sampler's log-probabilities are of another distribution than
// its draws, and there are none.
void PolicyTrainer::make_weights(Rollout& rollout, size_t begin, size_t end) const {
  const bool weigh = settings_.sampler_weight_cap > 0 && settings_.temperature == 1;
  const auto log_ratio = [&](int64_t token) {
    const auto t = static_cast<size_t>(token);
    return weigh ? rollout.trainer_logprobs[t] - rollout.sampler_logprobs[t] : 0;
  };
  const double cap = weigh ? settings_.sampler_weight_cap : 1;
  for (size_t reply = begin; reply < end; ++reply) {
    double sum = 0;
    for (int64_t t = rollout.offsets[reply]; t < rollout.offsets[reply + 1]; ++t) {
      if (ppo()) rollout.weights.push_back(truncated_weight(log_ratio(t), cap));
      sum += log_ratio(t);
    }
    if (!ppo()) rollout.weights.push_back(truncated_weight(sum, cap));
  }
}

void PolicyTrainer::make_ppo_advantages(Rollout& rollout, size_t begin, size_t end,
                                        double kl_coefficient) const {
  std::vector<double> rewards;
  for (size_t reply = begin; reply < end; ++reply) {
    const auto first = static_cast<size_t>(rollout.offsets[reply]);
    const auto size = static_cast<size_t>(rollout.offsets[reply + 1]) - first;
    const std::vector<double> tokens =
        token_rewards(std::span(rollout.old_logprobs).subspan(first, size),
                      std::span(rollout.reference_logprobs).subspan(first, size),
                      {.estimator = settings_.kl_estimator,
                       .kl_coefficient = kl_coefficient,
                       .score = rollout.scores[reply]});
    rewards.insert(rewards.end(), tokens.begin(), tokens.end());
  }
  if (settings_.whiten_rewards) whiten(rewards, Whitening::kKeepMean);
  const auto origin = static_cast<size_t>(rollout.offsets[begin]);
  for (size_t reply = begin; reply < end; ++reply) {
    const auto first = static_cast<size_t>(rollout.offsets[reply]);
    const auto size = static_cast<size_t>(rollout.offsets[reply + 1]) - first;
    const AdvantagesAndReturns out =
        generalised_advantages(std::span(rewards).subspan(first - origin, size),
                               std::span(rollout.old_values).subspan(first, size),
                               {.gamma = settings_.gamma, .lambda = settings_.gae_lambda});
    rollout.advantages.insert(rollout.advantages.end(), out.advantages.begin(),
                              out.advantages.end());
    rollout.returns.insert(rollout.returns.end(), out.returns.begin(), out.returns.end());
  }
  if (settings_.whiten_advantages) {
    whiten(std::span(rollout.advantages).subspan(origin), Whitening::kShiftMean);
  }
}

// Appends the advantages of replies begin..end-1, whole groups of them.
void PolicyTrainer::make_advantages(Rollout& rollout, size_t begin, size_t end,
                                    double kl_coefficient) const {
  make_weights(rollout, begin, end);
  if (ppo()) {
    make_ppo_advantages(rollout, begin, end, kl_coefficient);
    return;
  }
  std::vector<double> rewards;
  for (size_t reply = begin; reply < end; ++reply) {
    double kl = 0;
    for (auto t = static_cast<size_t>(rollout.offsets[reply]);
         t < static_cast<size_t>(rollout.offsets[reply + 1]); ++t) {
      kl += rollout.old_logprobs[t] - rollout.reference_logprobs[t];
    }
    rewards.push_back(rollout.scores[reply] - kl_coefficient * kl);
  }
  std::vector<double> advantages = leave_one_out_advantages(rewards, settings_.num_generations);
  if (settings_.normalize_advantages) standardise(advantages);
  rollout.advantages.insert(rollout.advantages.end(), advantages.begin(), advantages.end());
}

// Whether the forward pass of the only update can serve as the old policy's too: the policy has not
// changed yet, and what a micro-batch needs to know lies within it.
bool PolicyTrainer::one_pass() const {
  const bool one_update = settings_.num_ppo_epochs == 1 && settings_.num_mini_batches == 1;
  const bool own_groups = !ppo() && !settings_.normalize_advantages &&
                          settings_.per_device_train_batch_size % settings_.num_generations == 0;
  const bool dropout = policy_.options().lora.has_value() && policy_.options().lora->dropout > 0;
  return one_update && !dropout && (own_groups || settings_.gradient_accumulation_steps == 1);
}

std::vector<size_t> PolicyTrainer::order_of_epoch(const Rollout& rollout, const StepKey& key,
                                                  int64_t epoch) const {
  std::vector<size_t> order(rollout.replies.size());
  std::iota(order.begin(), order.end(), 0);
  if (settings_.num_mini_batches == 1) return order;
  std::vector<uint64_t> keys;
  for (size_t reply = 0; reply < order.size(); ++reply) {
    keys.push_back(random_bits({.seed = key.seed,
                                .stream = kShuffleStream,
                                .prompt = static_cast<uint32_t>(key.step),
                                .sample = static_cast<uint32_t>(epoch),
                                .position = static_cast<uint32_t>(reply)}));
  }
  std::ranges::sort(order, [&](size_t a, size_t b) { return keys[a] < keys[b]; });
  return order;
}

// Adds the gradients of one micro-batch and what it says about the losses. `normaliser`: replies
// (RLOO) or tokens (PPO) of its mini-batch.
void PolicyTrainer::backward(const Rollout& rollout, const Pass& pass, double normaliser,
                             UpdateReport& report) const {
  const std::vector<double> new_logprobs = to_doubles(pass.logprobs);
  const std::vector<double> old_logprobs =
      gather(rollout.old_logprobs, pass.replies, rollout.offsets);
  const PolicyTokens tokens{new_logprobs, old_logprobs, pass.offsets};
  LossPart policy;
  at::Tensor objective;
  if (ppo()) {
    const std::vector<double> advantages =
        gather(rollout.advantages, pass.replies, rollout.offsets);
    const std::vector<double> weights = gather(rollout.weights, pass.replies, rollout.offsets);
    policy = ppo_loss(tokens, {advantages, weights}, settings_.cliprange, normaliser);
    const LossPart value = value_loss(
        {to_doubles(pass.values), gather(rollout.old_values, pass.replies, rollout.offsets),
         gather(rollout.returns, pass.replies, rollout.offsets)},
        settings_.cliprange_value, normaliser);
    objective = settings_.value_coefficient * (pass.values * to_tensor(value.gradient)).sum();
    report.value_loss += value.loss;
    report.value_clip_fraction += value.clip_fraction;
  } else {
    policy = rloo_loss(
        tokens, {pick(rollout.advantages, pass.replies), pick(rollout.weights, pass.replies)},
        settings_.cliprange, normaliser);
  }
  const at::Tensor policy_objective = (pass.logprobs * to_tensor(policy.gradient)).sum();
  objective = objective.defined() ? objective + policy_objective : policy_objective;
  objective.backward();
  report.policy_loss += policy.loss;
  report.clip_fraction += policy.clip_fraction;
  report.approx_kl += policy.approx_kl;
  report.ratio += policy.ratio;
}

// One optimiser step, unless something is not finite.
Status PolicyTrainer::apply(UpdateReport& report, int64_t step) {
  const double norm = clip_gradients(policy_optimizer_.parameters(), settings_.max_grad_norm);
  double value_norm = 0;
  if (ppo()) value_norm = clip_gradients(value_optimizer_->parameters(), settings_.max_grad_norm);
  for (const auto& [name, value] :
       {std::pair{"loss/policy_avg", report.policy_loss},
        std::pair{"loss/value_avg", report.value_loss}, std::pair{"the policy's gradient", norm},
        std::pair{"the value head's gradient", value_norm}}) {
    if (std::isfinite(value)) continue;
    policy_optimizer_.clear_gradients();
    return invalid_argument(str_cat("step ", step + 1, ": ", name, " is ", value,
                                    "; training stops (a lower learning rate may help)"));
  }
  LearningRate rate{.peak = settings_.learning_rate,
                    .schedule = settings_.lr_scheduler_type,
                    .warmup_steps = settings_.warmup_steps,
                    .total_steps = settings_.total_steps};
  policy_optimizer_.step(rate.at_step(step));
  policy_optimizer_.clear_gradients();
  if (ppo()) {
    rate.peak = settings_.value_learning_rate;
    value_optimizer_->step(rate.at_step(step));
    value_optimizer_->clear_gradients();
  }
  report.gradient_norm += norm;
  return {};
}

Result<UpdateReport> PolicyTrainer::update(Rollout& rollout, double kl_coefficient,
                                           const StepKey& key) {
  measure_reference(rollout);
  const bool single = one_pass();
  if (!single) {
    measure_old(rollout);
    make_advantages(rollout, 0, rollout.replies.size(), kl_coefficient);
  }
  UpdateReport sum;
  int64_t updates = 0;
  for (int64_t epoch = 0; epoch < settings_.num_ppo_epochs; ++epoch) {
    const std::vector<size_t> order = order_of_epoch(rollout, key, epoch);
    for (int64_t mini = 0; mini < settings_.num_mini_batches; ++mini) {
      const auto size = static_cast<size_t>(settings_.mini_batch_size());
      const auto mini_batch = std::span(order).subspan(static_cast<size_t>(mini) * size, size);
      double normaliser = static_cast<double>(size);
      if (ppo()) {
        normaliser = 0;
        for (const size_t reply : mini_batch) {
          normaliser += static_cast<double>(rollout.replies[reply].token_ids.size());
        }
      }
      const auto dropout_step = static_cast<uint64_t>(
          (key.step * settings_.num_ppo_epochs + epoch) * settings_.batch_size() +
          mini * settings_.mini_batch_size());
      in_ranges(size, settings_.per_device_train_batch_size, [&](size_t begin, size_t end) {
        const Pass pass = forward(rollout, mini_batch.subspan(begin, end - begin), Purpose::kUpdate,
                                  dropout_step + begin);
        if (single) {
          keep_old(pass, rollout);
          make_advantages(rollout, begin, end, kl_coefficient);
        }
        backward(rollout, pass, normaliser, sum);
      });
      CANDOR_RETURN_IF_ERROR(apply(sum, key.step));
      ++updates;
    }
  }
  const double share = 1 / static_cast<double>(updates);
  for (double* value : {&sum.policy_loss, &sum.value_loss, &sum.approx_kl, &sum.clip_fraction,
                        &sum.value_clip_fraction, &sum.ratio, &sum.gradient_norm}) {
    *value *= share;
  }
  return sum;
}

}  // namespace candor
