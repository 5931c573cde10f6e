#include "lm/reward_tuning.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "base/crash_point.h"
#include "base/interrupt.h"
#include "base/rng.h"
#include "base/strings.h"
#include "lm/early_stopping.h"
#include "lm/train_checkpoint.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

constexpr uint32_t kOrderStream = 0x7277746e;  // "rwtn"
constexpr const char* kCheckpointFile = "reward.safetensors";
constexpr const char* kFormat = "reward-checkpoint/2";

at::Tensor tensor_of(const std::vector<float>& values) {
  at::Tensor out = at::empty({static_cast<int64_t>(values.size())}, at::kFloat);
  std::ranges::copy(values, out.mutable_data_ptr<float>());
  return out;
}

// The texts of a batch side by side: first every example's, then the pairs' rejected ones.
PackedSequences sequences_of(const RewardBatch& batch) {
  PackedSequences out = {.token_ids = {}, .offsets = {0}};
  const auto add = [&](const std::vector<int32_t>& ids) {
    out.token_ids.insert(out.token_ids.end(), ids.begin(), ids.end());
    out.offsets.push_back(static_cast<int64_t>(out.token_ids.size()));
  };
  for (const RewardExample* example : batch) add(example->text);
  for (const RewardExample* example : batch) {
    if (example->is_pair()) add(example->rejected);
  }
  return out;
}

// What turns rewards [S] into the arguments of log sigmoid [N]: signs, places and margins.
struct Layout {
  at::Tensor signs;    // [N] +1, or -1 for label 0
  at::Tensor margins;  // [N]
  at::Tensor pairs;    // [P] i64: which examples are pairs
};
Layout layout_of(const RewardBatch& batch) {
  std::vector<float> signs;
  std::vector<float> margins;
  std::vector<int64_t> pairs;
  for (size_t i = 0; i < batch.size(); ++i) {
    signs.push_back(batch[i]->is_pair() || batch[i]->label == 1 ? 1.0F : -1.0F);
    margins.push_back(static_cast<float>(batch[i]->margin));
    if (batch[i]->is_pair()) pairs.push_back(static_cast<int64_t>(i));
  }
  at::Tensor places = at::empty({static_cast<int64_t>(pairs.size())}, at::kLong);
  std::ranges::copy(pairs, places.mutable_data_ptr<int64_t>());
  return {tensor_of(signs), tensor_of(margins), places};
}

struct BatchLoss {
  at::Tensor loss;  // the sum over the batch, with gradient
  RewardSums sums;
};

BatchLoss loss_of(const TrainableReward& model, const RewardBatch& batch,
                  const ForwardOptions& options, double center) {
  const PackedSequences sequences = sequences_of(batch);
  const auto count = static_cast<int64_t>(batch.size());
  const at::Tensor rewards = model.rewards(sequences, options);  // [N + P]
  const Layout layout = layout_of(batch);
  const at::Tensor first = rewards.slice(0, 0, count);  // [N]
  const at::Tensor rejected = rewards.slice(0, count);  // [P]
  const at::Tensor chosen = first.index_select(0, layout.pairs);
  const at::Tensor difference = first.index_add(0, layout.pairs, rejected, -1);  // [N]
  const at::Tensor argument = layout.signs * difference - layout.margins;
  BatchLoss out;
  out.loss = -at::log_sigmoid(argument).sum();
  if (center != 0) out.loss = out.loss + center * (chosen + rejected).square().sum();
  const at::NoGradGuard no_gradient;
  const at::Tensor all = rewards.detach();
  out.sums = {.loss = out.loss.detach().to(at::kDouble).item<double>(),
              .correct = (layout.signs * difference.detach() > 0).sum().item<double>(),
              .margin = (chosen - rejected).detach().sum(at::kDouble).item<double>(),
              .examples = count,
              .pairs = layout.pairs.numel(),
              .min_reward = all.min().item<double>(),
              .mean_reward = all.mean(at::kDouble).item<double>(),
              .max_reward = all.max().item<double>(),
              .batches = 1,
              .tokens = static_cast<int64_t>(sequences.token_ids.size())};
  return out;
}

void add(RewardSums& to, const RewardSums& more) {
  to.loss += more.loss;
  to.correct += more.correct;
  to.margin += more.margin;
  to.examples += more.examples;
  to.pairs += more.pairs;
  to.min_reward += more.min_reward;
  to.mean_reward += more.mean_reward;
  to.max_reward += more.max_reward;
  to.batches += more.batches;
  to.tokens += more.tokens;
}

// TRL's names, with "eval_" for evaluations.
void put_metrics(const RewardSums& sums, const std::string& prefix, Json& line) {
  const auto batches = static_cast<double>(sums.batches);
  line[prefix + "accuracy"] = sums.correct / static_cast<double>(sums.examples);
  if (sums.pairs > 0) line[prefix + "margin"] = sums.margin / static_cast<double>(sums.pairs);
  line[prefix + "min_reward"] = sums.min_reward / batches;
  line[prefix + "mean_reward"] = sums.mean_reward / batches;
  line[prefix + "max_reward"] = sums.max_reward / batches;
}

double mean_loss(const RewardSums& sums) { return sums.loss / static_cast<double>(sums.examples); }

}  // namespace

Result<RewardStep> reward_step(const TrainableReward& model, AdamW& optimizer,
                               std::span<const RewardBatch> batches,
                               const RewardStepOptions& options) {
  double all = 0;
  for (const RewardBatch& batch : batches) all += static_cast<double>(batch.size());
  CANDOR_CHECK(all > 0);
  RewardStep out;
  for (size_t i = 0; i < batches.size(); ++i) {
    BatchLoss batch = loss_of(model, batches[i], {.train = true, .step = options.first_forward + i},
                              options.center_rewards_coefficient);
    (batch.loss / all).backward();
    add(out.sums, batch.sums);
  }
  CANDOR_TRY(out.grad_norm, guarded_step(optimizer, {.learning_rate = options.learning_rate,
                                                     .max_grad_norm = options.max_grad_norm,
                                                     .loss = mean_loss(out.sums)}));
  return out;
}

RewardSums reward_evaluate(const TrainableReward& model, std::span<const RewardBatch> batches,
                           double center_rewards_coefficient) {
  const at::NoGradGuard no_gradient;
  RewardSums out;
  for (const RewardBatch& batch : batches) {
    add(out, loss_of(model, batch, {}, center_rewards_coefficient).sums);
  }
  return out;
}

namespace {

std::vector<RewardBatch> batches_of(std::span<const RewardExample> examples,
                                    const std::vector<size_t>& order, int64_t size) {
  std::vector<RewardBatch> out;
  for (size_t i = 0; i < order.size(); ++i) {
    if (i % static_cast<size_t>(size) == 0) out.emplace_back();
    out.back().push_back(&examples[order[i]]);
  }
  return out;
}

std::vector<size_t> identity(size_t count) {
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  return order;
}

class Tuner {
 public:
  Tuner(const TrainableReward& model, const RewardTuning& tuning,
        std::span<const RewardExample> training, const ProgressSink& progress,
        const std::optional<RewardCheckpoints>& checkpoints)
      : model_(model),
        tuning_(tuning),
        training_(training),
        progress_(progress),
        checkpoints_(checkpoints),
        optimizer_(model.parameters(), {.weight_decay = tuning.weight_decay}),
        early_stopping_(model.parameters(), tuning.early_stopping_patience) {}

  Result<RewardTuningResult> run(std::span<const RewardExample> validation) {
    plan();
    validation_ =
        batches_of(validation, identity(validation.size()), tuning_.per_device_train_batch_size);
    CANDOR_TRY(const bool resumed, resume());
    // The start may be the best there is (a head that was fitted before).
    if (!resumed && tuning_.early_stopping_patience > 0) CANDOR_RETURN_IF_ERROR(evaluate());
    while (step_ < total_steps_ && !early_stopping_.stopped()) {
      if (interrupted()) {
        CANDOR_RETURN_IF_ERROR(save());
        return check_interrupted().error();
      }
      CANDOR_RETURN_IF_ERROR(one_step());
    }
    early_stopping_.restore();
    return RewardTuningResult{summary(), std::move(log_)};
  }

 private:
  void plan() {
    const auto count = static_cast<int64_t>(training_.size());
    const int64_t size = tuning_.per_device_train_batch_size;
    const int64_t accumulate = tuning_.gradient_accumulation_steps;
    const int64_t batches = (count + size - 1) / size;
    steps_per_epoch_ = (batches + accumulate - 1) / accumulate;
    const double planned =
        std::ceil(tuning_.num_train_epochs * static_cast<double>(steps_per_epoch_));
    total_steps_ = tuning_.max_steps > 0 ? tuning_.max_steps : static_cast<int64_t>(planned);
    rate_ = {.peak = tuning_.learning_rate,
             .schedule = tuning_.lr_scheduler_type,
             .warmup_steps = warmup_steps_of(total_steps_, tuning_.warmup_ratio),
             .total_steps = total_steps_};
  }

  // The batches of the epoch, in an order keyed by (seed, epoch).
  void begin_epoch(int64_t epoch) {
    const std::vector<size_t> order = shuffled_order(
        training_.size(),
        {.seed = tuning_.seed, .stream = kOrderStream, .prompt = static_cast<uint32_t>(epoch)});
    batches_ = batches_of(training_, order, tuning_.per_device_train_batch_size);
    epoch_ = epoch;
  }

  Status one_step() {
    const int64_t epoch = step_ / steps_per_epoch_;
    if (epoch != epoch_) begin_epoch(epoch);
    const auto accumulate = static_cast<size_t>(tuning_.gradient_accumulation_steps);
    const size_t begin = static_cast<size_t>(step_ % steps_per_epoch_) * accumulate;
    const std::span<const RewardBatch> batches =
        std::span(batches_).subspan(begin, std::min(accumulate, batches_.size() - begin));
    const double rate = rate_.at_step(step_);
    CANDOR_TRY(const RewardStep done,
               reward_step(model_, optimizer_, batches,
                           {.learning_rate = rate,
                            .max_grad_norm = tuning_.max_grad_norm,
                            .center_rewards_coefficient = tuning_.center_rewards_coefficient,
                            .first_forward = static_cast<uint64_t>(step_) * accumulate}));
    ++step_;
    last_loss_ = mean_loss(done.sums);
    total_tokens_ += done.sums.tokens;
    add(window_, done.sums);
    window_loss_ += last_loss_;
    ++window_steps_;
    if (step_ % tuning_.logging_steps == 0 || step_ == total_steps_) {
      log_step(done.grad_norm, rate);
    }
    CANDOR_RETURN_IF_ERROR(maybe_evaluate());
    if (tuning_.save_steps > 0 && step_ % tuning_.save_steps == 0) {
      CANDOR_RETURN_IF_ERROR(save());
    }
    crash_point("reward.after_step");
    if (progress_) {
      progress_(static_cast<uint64_t>(step_), static_cast<uint64_t>(total_steps_),
                str_cat("loss ", format_short(last_loss_)));
    }
    return {};
  }

  void log_step(double grad_norm, double rate) {
    Json line = {{"step", step_},
                 {"epoch", epoch_now()},
                 {"loss", window_loss_ / static_cast<double>(window_steps_)},
                 {"grad_norm", grad_norm},
                 {"learning_rate", rate},
                 {"num_tokens", total_tokens_}};
    put_metrics(window_, "", line);
    log_.push_back(std::move(line));
    window_ = {};
    window_loss_ = 0;
    window_steps_ = 0;
  }

  Status maybe_evaluate() {
    if (validation_.empty()) return {};
    const int64_t every = tuning_.eval_steps > 0 ? tuning_.eval_steps : steps_per_epoch_;
    if (step_ % every == 0 || step_ == total_steps_) return evaluate();
    return {};
  }

  Status evaluate() {
    const RewardSums sums =
        reward_evaluate(model_, validation_, tuning_.center_rewards_coefficient);
    const double loss = mean_loss(sums);
    CANDOR_RETURN_IF_ERROR(check_eval_loss(step_, loss));
    last_eval_loss_ = loss;
    Json line = {{"step", step_}, {"epoch", epoch_now()}, {"eval_loss", loss}};
    put_metrics(sums, "eval_", line);
    log_.push_back(std::move(line));
    early_stopping_.consider(step_, loss);
    return {};
  }

  [[nodiscard]] double epoch_now() const {
    return static_cast<double>(step_) / static_cast<double>(steps_per_epoch_);
  }

  std::vector<NamedTensor> tensors() {
    std::vector<NamedTensor> out = checkpoint_tensors(optimizer_);
    const std::vector<NamedTensor>& best = early_stopping_.tensors();
    out.insert(out.end(), best.begin(), best.end());
    return out;
  }

  Status save() {
    if (!checkpoints_.has_value()) return {};
    std::error_code code;
    fs::create_directories(checkpoints_->folder, code);
    if (code) return resource_error(str_cat(checkpoints_->folder.string(), ": ", code.message()));
    const TrainIdentity run = run_identity();
    Json state = new_checkpoint_state({kFormat, run});
    state.update({{"step", step_},
                  {"optimizer_steps", optimizer_.step_count()},
                  {"window", fields_json(window_)},
                  {"window_loss", window_loss_},
                  {"window_steps", window_steps_},
                  {"total_tokens", total_tokens_},
                  {"last_loss", last_loss_},
                  {"log", log_}});
    early_stopping_.put(state);
    if (last_eval_loss_.has_value()) state["last_eval_loss"] = *last_eval_loss_;
    crash_point("reward.before_checkpoint");
    CANDOR_RETURN_IF_ERROR(
        save_checkpoint(checkpoints_->folder / kCheckpointFile, state, tensors()));
    crash_point("reward.after_checkpoint");
    return {};
  }

  [[nodiscard]] TrainIdentity run_identity() const {
    CANDOR_CHECK(checkpoints_->inputs.contains("model") && checkpoints_->inputs.contains("data"));
    TrainIdentity out("reward", model_.threads(), checkpoints_->inputs);
    out.add_settings("reward", tuning_);
    out.add_settings_json("model", model_.settings());
    return out;
  }

  // Whether there was a checkpoint.
  Result<bool> resume() {
    if (!checkpoints_.has_value()) return false;
    const fs::path path = checkpoints_->folder / kCheckpointFile;
    const TrainIdentity run = run_identity();
    CANDOR_TRY(const std::optional<Json> state, read_checkpoint_state(path, {kFormat, run}));
    if (!state.has_value()) return false;
    JsonReader in = checkpoint_reader(*state, path);
    early_stopping_.read(in);
    step_ = in.integer("step", 0, INT64_MAX);
    optimizer_.set_step_count(in.integer("optimizer_steps", 0, INT64_MAX));
    JsonReader window = in.object("window");
    read_fields(window, window_);
    in.adopt(window.finish());
    window_loss_ = in.number("window_loss");
    window_steps_ = in.integer("window_steps", 0, INT64_MAX);
    total_tokens_ = in.integer("total_tokens", 0, INT64_MAX);
    last_loss_ = in.number("last_loss");
    const Json& log = in.any("log");
    if (!log.is_array()) in.fail("log", "expected an array");
    if (in.has("last_eval_loss")) last_eval_loss_ = in.number("last_eval_loss");
    CANDOR_RETURN_IF_ERROR(in.finish());
    log_.assign(log.begin(), log.end());
    CANDOR_TRY(const Json again, load_checkpoint(path, tensors()));
    return true;
  }

  [[nodiscard]] Json summary() const {
    Json out = {{"candor", "reward-tuning/1"},   {"settings", fields_json(tuning_)},
                {"examples", training_.size()},  {"steps", step_},
                {"planned_steps", total_steps_}, {"tokens", total_tokens_},
                {"final_loss", last_loss_}};
    if (last_eval_loss_.has_value()) out["eval_loss"] = *last_eval_loss_;
    early_stopping_.put_summary(out);
    return out;
  }

  const TrainableReward& model_;
  const RewardTuning& tuning_;
  std::span<const RewardExample> training_;
  const ProgressSink& progress_;
  const std::optional<RewardCheckpoints>& checkpoints_;
  AdamW optimizer_;
  EarlyStopping early_stopping_;
  LearningRate rate_;
  std::vector<RewardBatch> batches_;  // of the epoch
  std::vector<RewardBatch> validation_;
  int64_t steps_per_epoch_ = 1;
  int64_t total_steps_ = 0;
  int64_t epoch_ = -1;
  // What a checkpoint keeps.
  int64_t step_ = 0;
  RewardSums window_;  // since the last line of the log
  double window_loss_ = 0;
  int64_t window_steps_ = 0;
  int64_t total_tokens_ = 0;
  double last_loss_ = 0;
  std::vector<Json> log_;
  std::optional<double> last_eval_loss_;
};

}  // namespace

Result<RewardTuningResult> tune_reward(const TrainableReward& model, const RewardTuning& tuning,
                                       std::span<const RewardExample> training,
                                       std::span<const RewardExample> validation,
                                       const ProgressSink& progress,
                                       const std::optional<RewardCheckpoints>& checkpoints) {
  CANDOR_RETURN_IF_ERROR(check_fields(tuning));
  if (training.empty()) return invalid_argument("there is no example to train the reward on");
  if (validation.empty() && tuning.early_stopping_patience > 0) {
    return invalid_argument("early_stopping_patience: needs examples to validate on");
  }
  return Tuner(model, tuning, training, progress, checkpoints).run(validation);
}

}  // namespace candor
