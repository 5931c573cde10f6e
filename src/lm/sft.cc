#include "lm/sft.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <numeric>

#include "base/check.h"
#include "base/crash_point.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/rng.h"
#include "base/strings.h"
#include "lm/early_stopping.h"
#include "lm/packing.h"
#include "lm/train_checkpoint.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

constexpr uint32_t kOrderStream = 0x73667473;  // "sfts"
constexpr const char* kMetricsFile = "metrics.jsonl";
constexpr const char* kCheckpointFile = "checkpoint.safetensors";

// The rows that predict learnt tokens, and those tokens.
struct Learnt {
  at::Tensor rows;  // [M] i64
  std::vector<int32_t> targets;
};

Learnt learnt_of(const MicroBatch& batch) {
  std::vector<int64_t> rows;
  Learnt out;
  for (size_t t = 1; t < batch.in_loss.size(); ++t) {
    if (batch.in_loss[t] == 0) continue;
    rows.push_back(static_cast<int64_t>(t) - 1);
    out.targets.push_back(batch.sequences.token_ids[t]);
  }
  out.rows = at::empty({static_cast<int64_t>(rows.size())}, at::kLong);
  std::ranges::copy(rows, out.rows.mutable_data_ptr<int64_t>());
  return out;
}

int64_t learnt_tokens(const MicroBatch& batch) {
  return std::accumulate(batch.in_loss.begin(), batch.in_loss.end(), int64_t{0});
}

SftSums sums_of(const TokenScores& scores, int64_t tokens) {
  SftSums out;
  out.loss = -scores.logprobs.detach().sum(at::kDouble).item<double>();
  out.correct = scores.correct.sum(at::kDouble).item<double>();
  out.entropy = scores.entropies.sum(at::kDouble).item<double>();
  out.learnt_tokens = scores.logprobs.numel();
  out.tokens = tokens;
  return out;
}

void add(SftSums& to, const SftSums& more) {
  to.loss += more.loss;
  to.correct += more.correct;
  to.entropy += more.entropy;
  to.learnt_tokens += more.learnt_tokens;
  to.tokens += more.tokens;
}

}  // namespace

Result<SftStep> sft_step(const TrainableDecoder& model, AdamW& optimizer,
                         std::span<const MicroBatch> batches, const SftStepOptions& options) {
  int64_t all = 0;
  for (const MicroBatch& batch : batches) all += learnt_tokens(batch);
  CANDOR_CHECK(all > 0, "a step needs a token to learn");
  SftStep out;
  for (size_t i = 0; i < batches.size(); ++i) {
    const Learnt learnt = learnt_of(batches[i]);
    if (learnt.targets.empty()) continue;
    const at::Tensor hidden =
        model.hidden(batches[i].sequences, {.train = true, .step = options.first_forward + i});
    const auto [loss, scores] = model.mean_loss(hidden.index_select(0, learnt.rows), learnt.targets,
                                                static_cast<double>(all));
    add(out.sums, sums_of(scores, static_cast<int64_t>(batches[i].sequences.token_ids.size())));
    loss.backward();
  }
  CANDOR_TRY(out.grad_norm,
             guarded_step(optimizer, {.learning_rate = options.learning_rate,
                                      .max_grad_norm = options.max_grad_norm,
                                      .loss = out.sums.loss / static_cast<double>(all)}));
  return out;
}

SftSums sft_evaluate(const TrainableDecoder& model, std::span<const MicroBatch> batches) {
  const at::NoGradGuard no_gradient;
  SftSums out;
  for (const MicroBatch& batch : batches) {
    const Learnt learnt = learnt_of(batch);
    if (learnt.targets.empty()) continue;
    const at::Tensor hidden = model.hidden(batch.sequences, {});
    add(out, sums_of(model.token_scores(hidden.index_select(0, learnt.rows), learnt.targets),
                     static_cast<int64_t>(batch.sequences.token_ids.size())));
  }
  return out;
}

namespace {

// Bins of examples: packed, or one example each.
std::vector<std::vector<size_t>> bins_of(const SftData& data, const SftSettings& settings) {
  if (settings.packing) {
    std::vector<int64_t> lengths;
    for (const SftExample& example : data.examples) {
      lengths.push_back(static_cast<int64_t>(example.token_ids.size()));
    }
    return pack_best_fit(lengths, settings.max_length);
  }
  std::vector<std::vector<size_t>> out;
  for (size_t i = 0; i < data.examples.size(); ++i) out.push_back({i});
  return out;
}

// Batches of `size` bins in the given order.
std::vector<MicroBatch> batches_of(const SftData& data,
                                   const std::vector<std::vector<size_t>>& bins,
                                   const std::vector<size_t>& order, size_t size) {
  std::vector<MicroBatch> out;
  for (size_t begin = 0; begin < order.size(); begin += size) {
    std::vector<size_t> chosen;
    for (size_t i = begin; i < std::min(order.size(), begin + size); ++i) {
      chosen.insert(chosen.end(), bins[order[i]].begin(), bins[order[i]].end());
    }
    out.push_back(batch_of(data.examples, chosen));
  }
  return out;
}

std::vector<size_t> identity(size_t count) {
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  return order;
}

class SftTrainer {
 public:
  SftTrainer(const TrainableDecoder& model, const SftSettings& settings, const SftRun& run,
             const ProgressSink& progress)
      : model_(model),
        settings_(settings),
        run_(run),
        progress_(progress),
        optimizer_(model.parameters(), {.weight_decay = settings.weight_decay}),
        early_stopping_(model.parameters(), settings.early_stopping_patience),
        identity_("sft", model.options().threads, run.inputs) {
    CANDOR_CHECK(run.inputs.contains("model") && run.inputs.contains("data"));
    identity_.add_settings("sft", settings);
    identity_.add_settings("model", model.options());
  }

  Result<Json> train() {
    CANDOR_RETURN_IF_ERROR(prepare());
    if (run_.resume) CANDOR_RETURN_IF_ERROR(resume());
    CANDOR_RETURN_IF_ERROR(begin_metrics());
    while (step_ < total_steps_ && !early_stopping_.stopped()) {
      if (interrupted()) {
        CANDOR_RETURN_IF_ERROR(save());
        return check_interrupted().error();
      }
      CANDOR_RETURN_IF_ERROR(one_step());
    }
    early_stopping_.restore();
    return summary();
  }

 private:
  Status prepare() {
    CANDOR_RETURN_IF_ERROR(check_fields(settings_));
    if (settings_.max_length > model_.config().context_length) {
      return invalid_argument(str_cat("max_length: found ", settings_.max_length,
                                      "; the model's context has ", model_.config().context_length,
                                      " tokens"));
    }
    CANDOR_TRY(data_, read_sft_data(run_.data, model_.file(), settings_.max_length));
    bins_ = bins_of(data_, settings_);
    const auto size = static_cast<size_t>(settings_.per_device_train_batch_size);
    const auto batches = static_cast<int64_t>((bins_.size() + size - 1) / size);
    const int64_t accumulate = settings_.gradient_accumulation_steps;
    steps_per_epoch_ = (batches + accumulate - 1) / accumulate;
    const auto planned =
        std::ceil(settings_.num_train_epochs * static_cast<double>(steps_per_epoch_));
    total_steps_ = settings_.max_steps > 0 ? settings_.max_steps : static_cast<int64_t>(planned);
    rate_ = {.peak = settings_.learning_rate,
             .schedule = settings_.lr_scheduler_type,
             .warmup_steps = warmup_steps_of(total_steps_, settings_.warmup_ratio),
             .total_steps = total_steps_};
    if (!run_.eval_data.has_value()) {
      if (settings_.early_stopping_patience == 0) return {};
      return invalid_argument("early_stopping_patience: needs evaluation data");
    }
    CANDOR_TRY(const SftData data,
               read_sft_data(*run_.eval_data, model_.file(), settings_.max_length));
    const auto bins = bins_of(data, settings_);
    eval_batches_ = batches_of(data, bins, identity(bins.size()), size);
    return {};
  }

  // The batches of the epoch, in an order keyed by (seed, epoch).
  void begin_epoch(int64_t epoch) {
    const std::vector<size_t> order = shuffled_order(
        bins_.size(),
        {.seed = settings_.seed, .stream = kOrderStream, .prompt = static_cast<uint32_t>(epoch)});
    batches_ =
        batches_of(data_, bins_, order, static_cast<size_t>(settings_.per_device_train_batch_size));
    epoch_ = epoch;
  }

  Status one_step() {
    const int64_t epoch = step_ / steps_per_epoch_;
    if (epoch != epoch_) begin_epoch(epoch);
    const auto accumulate = static_cast<size_t>(settings_.gradient_accumulation_steps);
    const size_t begin = static_cast<size_t>(step_ % steps_per_epoch_) * accumulate;
    const std::span<const MicroBatch> batches =
        std::span(batches_).subspan(begin, std::min(accumulate, batches_.size() - begin));
    const double rate = rate_.at_step(step_);
    CANDOR_TRY(const SftStep done,
               sft_step(model_, optimizer_, batches,
                        {.learning_rate = rate,
                         .max_grad_norm = settings_.max_grad_norm,
                         .first_forward = static_cast<uint64_t>(step_) * accumulate}));
    ++step_;
    add(window_, done.sums);
    ++window_steps_;
    window_loss_ += done.sums.loss / static_cast<double>(done.sums.learnt_tokens);
    total_tokens_ += done.sums.tokens;
    last_loss_ = done.sums.loss / static_cast<double>(done.sums.learnt_tokens);
    if (step_ % settings_.logging_steps == 0 || step_ == total_steps_) {
      CANDOR_RETURN_IF_ERROR(log_step(done.grad_norm, rate));
    }
    CANDOR_RETURN_IF_ERROR(maybe_evaluate());
    if (settings_.save_steps > 0 && step_ % settings_.save_steps == 0) {
      CANDOR_RETURN_IF_ERROR(save());
    }
    crash_point("sft.after_step");
    progress_(static_cast<uint64_t>(step_), static_cast<uint64_t>(total_steps_),
              str_cat("loss ", format_short(last_loss_)));
    return {};
  }

  Status log_step(double grad_norm, double rate) {
    const auto learnt = static_cast<double>(window_.learnt_tokens);
    const Json line = {{"step", step_},
                       {"epoch", epoch_now()},
                       {"loss", window_loss_ / static_cast<double>(window_steps_)},
                       {"mean_token_accuracy", window_.correct / learnt},
                       {"entropy", window_.entropy / learnt},
                       {"num_tokens", total_tokens_},
                       {"grad_norm", grad_norm},
                       {"learning_rate", rate}};
    window_ = {};
    window_steps_ = 0;
    window_loss_ = 0;
    return append_metrics(line);
  }

  Status maybe_evaluate() {
    if (eval_batches_.empty()) return {};
    const int64_t every = settings_.eval_steps > 0 ? settings_.eval_steps : steps_per_epoch_;
    if (step_ % every != 0 && step_ != total_steps_) return {};
    const SftSums sums = sft_evaluate(model_, eval_batches_);
    const auto learnt = static_cast<double>(sums.learnt_tokens);
    const double loss = sums.loss / learnt;
    CANDOR_RETURN_IF_ERROR(check_eval_loss(step_, loss));
    last_eval_loss_ = loss;
    CANDOR_RETURN_IF_ERROR(append_metrics({{"step", step_},
                                           {"epoch", epoch_now()},
                                           {"eval_loss", loss},
                                           {"eval_mean_token_accuracy", sums.correct / learnt},
                                           {"eval_entropy", sums.entropy / learnt},
                                           {"eval_num_tokens", sums.tokens}}));
    early_stopping_.consider(step_, loss);
    return {};
  }

  [[nodiscard]] double epoch_now() const {
    return static_cast<double>(step_) / static_cast<double>(steps_per_epoch_);
  }

  // ---- files

  [[nodiscard]] CheckpointKind kind() const { return {"sft-checkpoint/2", identity_}; }

  [[nodiscard]] fs::path metrics_path() const { return run_.folder / kMetricsFile; }

  Status begin_metrics() {
    // Lines after the checkpoint are made again, the same.
    if (metrics_.empty()) return write_file_atomically(metrics_path(), "");
    return write_file_atomically(metrics_path(), metrics_);
  }
  Status append_metrics(const Json& line) {
    metrics_ += to_line(line) + "\n";
    std::ofstream out(metrics_path(), std::ios::app | std::ios::binary);
    out << to_line(line) << "\n" << std::flush;
    if (out) return {};
    return resource_error(str_cat(metrics_path().string(), ": cannot be written"));
  }

  std::vector<NamedTensor> tensors() {
    std::vector<NamedTensor> out = checkpoint_tensors(optimizer_);
    const std::vector<NamedTensor>& best = early_stopping_.tensors();
    out.insert(out.end(), best.begin(), best.end());
    return out;
  }

  Status save() {
    Json state = new_checkpoint_state(kind());
    state.update({{"step", step_},
                  {"optimizer_steps", optimizer_.step_count()},
                  {"window", fields_json(window_)},
                  {"window_steps", window_steps_},
                  {"window_loss", window_loss_},
                  {"total_tokens", total_tokens_},
                  {"last_loss", last_loss_},
                  {"metrics", metrics_}});
    early_stopping_.put(state);
    if (last_eval_loss_.has_value()) state["last_eval_loss"] = *last_eval_loss_;
    crash_point("sft.before_checkpoint");
    CANDOR_RETURN_IF_ERROR(save_checkpoint(run_.folder / kCheckpointFile, state, tensors()));
    crash_point("sft.after_checkpoint");
    return {};
  }

  // Before anything is written: a checkpoint of another run leaves all as it is.
  Status resume() {
    const fs::path path = run_.folder / kCheckpointFile;
    CANDOR_TRY(const std::optional<Json> state, read_checkpoint_state(path, kind()));
    if (!state.has_value()) return {};
    JsonReader in = checkpoint_reader(*state, path);
    early_stopping_.read(in);
    step_ = in.integer("step", 0, INT64_MAX);
    optimizer_.set_step_count(in.integer("optimizer_steps", 0, INT64_MAX));
    JsonReader window = in.object("window");
    read_fields(window, window_);
    in.adopt(window.finish());
    window_steps_ = in.integer("window_steps", 0, INT64_MAX);
    window_loss_ = in.number("window_loss");
    total_tokens_ = in.integer("total_tokens", 0, INT64_MAX);
    last_loss_ = in.number("last_loss");
    if (const Json& metrics = in.any("metrics"); metrics.is_string()) {
      metrics_ = metrics.get<std::string>();
    } else {
      in.fail("metrics", "expected a text");
    }
    if (in.has("last_eval_loss")) last_eval_loss_ = in.number("last_eval_loss");
    CANDOR_RETURN_IF_ERROR(in.finish());
    CANDOR_TRY(const Json again, load_checkpoint(path, tensors()));
    return {};
  }

  [[nodiscard]] Json summary() const {
    Json out = {{"candor", "sft-summary/1"},     {"examples", data_.examples.size()},
                {"truncated", data_.truncated},  {"dropped", data_.dropped},
                {"bins", bins_.size()},          {"steps", step_},
                {"planned_steps", total_steps_}, {"tokens", total_tokens_},
                {"final_loss", last_loss_}};
    if (last_eval_loss_.has_value()) out["eval_loss"] = *last_eval_loss_;
    early_stopping_.put_summary(out);
    return out;
  }

  const TrainableDecoder& model_;
  const SftSettings& settings_;
  const SftRun& run_;
  const ProgressSink& progress_;
  AdamW optimizer_;
  EarlyStopping early_stopping_;
  TrainIdentity identity_;
  LearningRate rate_;
  SftData data_;
  std::vector<std::vector<size_t>> bins_;
  std::vector<MicroBatch> batches_;  // of the epoch
  std::vector<MicroBatch> eval_batches_;
  int64_t steps_per_epoch_ = 1;
  int64_t total_steps_ = 0;
  int64_t epoch_ = -1;
  // What a checkpoint keeps.
  int64_t step_ = 0;
  SftSums window_;  // since the last line of metrics
  int64_t window_steps_ = 0;
  double window_loss_ = 0;
  int64_t total_tokens_ = 0;
  double last_loss_ = 0;
  std::string metrics_;
  std::optional<double> last_eval_loss_;
};

}  // namespace

Result<Json> run_sft(const TrainableDecoder& model, const SftSettings& settings, const SftRun& run,
                     const ProgressSink& progress) {
  return SftTrainer(model, settings, run, progress).train();
}

}  // namespace candor
