#include "study/cost_model.h"

#include <algorithm>
#include <utility>

namespace candor {

namespace {

// Operations a second.
constexpr double kPrefillFlops = 9.0e11;    // prompts, up to 256 tokens a product
constexpr double kDecodeFlops = 5.0e11;     // a batch's next tokens
constexpr double kAttentionFlops = 0.5e11;  // decoding: each row reads its own cache
constexpr double kCompareFlops = 3.2e11;    // divergences: a reply's tokens, whole vocabularies
constexpr double kTrainFlops = 5.0e11;      // RLHF: reference and update passes together
constexpr double kTrainAttentionFlops = 0.5e11;
constexpr double kSftFlops = 4.0e11;
constexpr double kEncoderFlops = 1.8e11;  // f32, one length a batch

// Seconds.
constexpr double kStart = 0.3;                 // a worker and its libraries
constexpr double kLoadPerWeight = 2e-9;        // reading and packing
constexpr double kEncoderCall = 0.3;           // batches of few texts, as lengths fall
constexpr double kFitPerText = 3e-4;           // a logistic head
constexpr double kStepPerWeight = 0;           // of RLHF beside its passes: snapshot, optimiser
constexpr double kCheckPerCandidate = 3.0e-9;  // self-tests, for every weight
constexpr double kScoreText = 1e-5;            // a reward without an encoder

// Bytes.
constexpr double kWorker = 250e6;                      // libraries
constexpr double kPackedBf16 = 2.3, kPackedF32 = 4.6;  // of a weight that decodes
constexpr double kReadWeight = 2.5;                    // of a weight while it is loaded
constexpr double kTrainWeight = 8.0;                   // master and rounded copies, the sampler's
constexpr double kSftWeight = 20.0;  // master, gradient, two moments, rounded copies
constexpr double kActivation = 1.4;  // kept and freed memory over what the formula counts
constexpr double kEncoderBatchTokens = 4096;
constexpr double kReplyToken = 40;  // of a bank's line

struct Decoding {
  double prompts = 0;        // read, each once
  double prompt_tokens = 0;  // of one
  double replies = 0;
  double reply_tokens = 0;  // of one
};

class Planner {
 public:
  Planner(const Study& study, const PlanSizes& sizes)
      : study_(study), sizes_(sizes), model_(sizes.model) {}

  void sft(const SftChoice& choice) {
    const double tokens = static_cast<double>(choice.batch) * sizes_.sft_record.mean_tokens;
    const double longest = static_cast<double>(choice.batch * choice.max_length_tokens);
    const double flops =
        3 * (products(tokens, tokens) + attention(tokens, sizes_.sft_record.mean_tokens / 2));
    add("sft", static_cast<double>(choice.steps) * flops / kSftFlops,
        kWorker + kSftWeight * model_.parameters +
            activations(std::min(longest, 2 * tokens), std::min(longest, 2 * tokens)),
        bytes_of_dtype() * model_.parameters);
  }

  void train_reward(const std::string& name, const PlannedReward& reward) {
    if (reward.training_texts == 0) return;
    add("reward " + name,
        encoding(reward, reward.training_tokens) + reward.training_texts * kFitPerText,
        encoder_memory(reward), 16384, false);
  }

  void bank(const std::string& label, double samples) {
    const Decoding work{sizes_.prompts, sizes_.price_prompt.mean_tokens, sizes_.prompts * samples,
                        new_tokens()};
    add(label, decoding(work), decoder_memory(batch_of(work.replies)),
        work.replies * work.reply_tokens * kReplyToken);
  }

  // `models`: of one variant each; a mixture runs one for every expert and the initial one.
  void menu_bank(const std::string& suffix, double candidates, double models) {
    const auto samples = static_cast<double>(study_.bank.samples);
    const Decoding work{models * sizes_.prompts, sizes_.price_prompt.mean_tokens,
                        models * sizes_.prompts * samples, new_tokens()};
    const double adapters = adapter_bytes();
    add("self-tests of the menu" + suffix, candidates * model_.parameters * kCheckPerCandidate,
        decoder_memory(8) + adapters, 4096);
    add("menu bank" + suffix, decoding(work), decoder_memory(batch_of(work.replies)) + adapters,
        candidates * sizes_.prompts * samples * new_tokens() * kReplyToken);
    compare("divergence" + suffix, candidates, models);
  }

  // A group's run, and its judge's scores where it has one that watches.
  void expert(const ExpertRun& run) {
    const ExpertChoice& choice = *study_.menu->experts;
    const auto prompts = static_cast<double>(choice.prompts_per_step);
    const double replies = prompts * static_cast<double>(choice.num_generations);
    const auto reply_tokens = static_cast<double>(choice.max_new_tokens);
    const double prompt_tokens = sizes_.train_prompt.mean_tokens;
    // Replies of one prompt share its tokens, in sampling and in training.
    const double predicted = replies * reply_tokens;
    const double tokens = prompts * prompt_tokens + predicted;
    const double read = attention(prompts * prompt_tokens, prompt_tokens / 2) +
                        attention(predicted, prompt_tokens + reply_tokens / 2);
    double step = decoding({prompts, prompt_tokens, replies, reply_tokens}) +
                  model_.parameters * kStepPerWeight;
    // The reference reads once, the policy forward and backward.
    step += 3 * (products(tokens, predicted) / kTrainFlops + read / kTrainAttentionFlops);
    double encoders = 0;
    for (size_t j = 0; j < run.weights.size(); ++j) {
      if (run.weights[j] != 0) step += scoring(sizes_.rewards[j], replies, prompts, encoders);
    }
    const bool watched = run.role == ExpertRun::Role::kExpert;
    if (watched) step += scoring(sizes_.judges[run.group], replies, prompts, encoders);
    const double pass = static_cast<double>(choice.per_device_train_batch_size);
    const double pass_tokens =
        pass * reply_tokens + std::max(1.0, pass / static_cast<double>(choice.num_generations)) *
                                  sizes_.train_prompt.longest_tokens;
    add(run.name, static_cast<double>(run.steps) * step,
        kWorker + kTrainWeight * model_.parameters + encoders +
            activations(pass_tokens, pass * reply_tokens) +
            cache_bytes(replies, sizes_.train_prompt.longest_tokens + reply_tokens),
        adapter_bytes() / std::max<double>(1, static_cast<double>(study_.groups.size())));
  }

  void scores(const std::string& name, double replies, const PlannedReward& reward) {
    double encoders = kWorker;
    const double seconds = scoring(reward, replies, sizes_.prompts, encoders);
    add("score " + name, seconds, encoders, 8 * replies, false);
  }

  [[nodiscard]] std::vector<StageCost> take() { return std::move(out_); }

 private:
  void add(const std::string& label, double seconds, double memory, double disk,
           bool loads = true) {
    const double load = loads ? model_.parameters * kLoadPerWeight : 0;
    out_.push_back({label, seconds + kStart + load, memory, disk});
  }

  [[nodiscard]] double new_tokens() const {
    return static_cast<double>(study_.bank.max_new_tokens);
  }
  [[nodiscard]] double bytes_of_dtype() const { return study_.dtype == "bf16" ? 2 : 4; }
  [[nodiscard]] double batch_of(double replies) const {
    return std::min(replies, static_cast<double>(study_.bank.batch));
  }

  // Operations of a forward pass over `tokens`, of which some are predicted from.
  [[nodiscard]] double products(double tokens, double predicted) const {
    return 2 * (model_.body() * tokens + model_.embedding * predicted);
  }
  // Operations of `tokens` that read `keys` keys and values each.
  [[nodiscard]] double attention(double tokens, double keys) const {
    return 4 * model_.hidden * model_.layers * tokens * keys;
  }
  [[nodiscard]] double decoding(const Decoding& work) const {
    const double prompt_tokens = work.prompts * work.prompt_tokens;
    const double tokens = work.replies * work.reply_tokens;
    return products(prompt_tokens, work.prompts) / kPrefillFlops +
           products(tokens, tokens) / kDecodeFlops +
           (attention(prompt_tokens, work.prompt_tokens / 2) +
            attention(tokens, work.prompt_tokens + work.reply_tokens / 2)) /
               kAttentionFlops;
  }

  // Teacher forcing of every reply under its models and the initial one; a mixture has that one
  // among its own, and so has the initial candidate.
  void compare(const std::string& label, double candidates, double models) {
    const MenuChoice& menu = study_.menu->menu;
    const double single = candidates - mixtures();
    const double passes = models + single - (menu.initial ? 1 : 0);
    const double tokens =
        passes * sizes_.prompts * static_cast<double>(study_.bank.samples) * new_tokens();
    const double prompt_tokens = passes * sizes_.prompts * sizes_.price_prompt.mean_tokens;
    const double read = attention(prompt_tokens, sizes_.price_prompt.mean_tokens / 2) +
                        attention(tokens, sizes_.price_prompt.mean_tokens + new_tokens() / 2);
    add(label,
        products(prompt_tokens, 0) / kPrefillFlops + products(tokens, tokens) / kCompareFlops +
            read / kAttentionFlops,
        decoder_memory(128) + adapter_bytes(),
        8 * candidates * sizes_.prompts * static_cast<double>(study_.bank.samples));
  }
  [[nodiscard]] double mixtures() const {
    return static_cast<double>(std::ranges::count(
        menu_candidates(study_), MenuCandidate::Kind::kMixture, &MenuCandidate::kind));
  }

  [[nodiscard]] static double encoding(const PlannedReward& reward, double tokens) {
    return kEncoderCall + 2 * reward.encoder_parameters * tokens / kEncoderFlops;
  }
  // Of `replies` to `prompts`; adds the encoder's memory.
  [[nodiscard]] double scoring(const PlannedReward& reward, double replies, double prompts,
                               double& memory) const {
    if (reward.encoder_parameters == 0) return replies * kScoreText;
    memory += encoder_memory(reward) - kWorker;
    const double reply = new_tokens() + 2;
    const double tokens = reward.reads_prompt ? 2 * replies * reply + prompts * reward.prompt_tokens
                                              : replies * reply;
    return encoding(reward, tokens);
  }
  [[nodiscard]] static double encoder_memory(const PlannedReward& reward) {
    const double width = 384;
    return kWorker + reward.encoder_bytes + kEncoderBatchTokens * 4 * width * 24;
  }

  [[nodiscard]] double cache_bytes(double slots, double positions) const {
    return slots * positions * 2 * model_.kv_width * model_.layers * bytes_of_dtype();
  }
  // Weights packed for decoding, `rows` caches and rows of logits.
  [[nodiscard]] double decoder_memory(double rows) const {
    const double packed = study_.dtype == "bf16" ? kPackedBf16 : kPackedF32;
    return kWorker + (packed + kReadWeight) * model_.parameters +
           cache_bytes(rows, sizes_.price_prompt.longest_tokens + new_tokens()) +
           rows * model_.vocabulary * 4;
  }
  // Of all groups' adapters, in f32.
  [[nodiscard]] double adapter_bytes() const {
    if (!study_.menu.has_value() || !study_.menu->experts.has_value()) return 0;
    const LoraChoice& lora = study_.menu->experts->lora;
    const double modules = static_cast<double>(lora.target_modules.size());
    return static_cast<double>(study_.groups.size()) * 4 * static_cast<double>(lora.rank) *
           modules * model_.layers * 2 * model_.hidden;
  }
  // Of a forward pass that is kept for its gradient.
  [[nodiscard]] double activations(double tokens, double predicted) const {
    const double layer = 8 * model_.hidden + 4 * model_.ffn_width + 4 * model_.kv_width;
    return kActivation * (tokens * 4 * layer * model_.layers + 4 * predicted * model_.hidden);
  }

  const Study& study_;
  const PlanSizes& sizes_;
  const PlannedModel& model_;
  std::vector<StageCost> out_;
};

void plan_sampled(const Study& study, const PlanSizes& sizes, Planner& planner) {
  planner.bank("bank", static_cast<double>(study.bank.samples));
  planner.bank("reference bank", static_cast<double>(study.reference_samples));
  for (size_t i = 0; i < study.groups.size(); ++i) {
    const std::string& name = study.groups[i].name;
    planner.train_reward(name, sizes.rewards[i]);
    planner.scores(name + " on the reference bank",
                   sizes.prompts * static_cast<double>(study.reference_samples), sizes.rewards[i]);
    planner.scores(name + " on the bank", sizes.prompts * static_cast<double>(study.bank.samples),
                   sizes.rewards[i]);
  }
}

void plan_scores(const Study& study, const PlanSizes& sizes, const std::string& place,
                 double replies, bool judged, Planner& planner) {
  for (size_t i = 0; i < study.groups.size(); ++i) {
    const std::string& name = study.groups[i].name;
    planner.scores(name + place, replies, sizes.rewards[i]);
    if (judged && study.groups[i].judge.has_value()) {
      planner.scores("judge of " + name + place, replies, sizes.judges[i]);
    }
  }
}

void plan_banks(const Study& study, const PlanSizes& sizes, const std::vector<ExpertRun>& runs,
                const std::string& suffix, Planner& planner) {
  double candidates = 0;
  double models = 0;
  for (const MenuCandidate& candidate : menu_candidates(study)) {
    const bool mixture = candidate.kind == MenuCandidate::Kind::kMixture;
    candidates += 1;
    models += mixture ? static_cast<double>(study.groups.size() + 1) : 1;
  }
  for (const ExpertRun& run : runs) {
    if (run.role == ExpertRun::Role::kExpert) continue;
    candidates += 1;
    models += 1;
  }
  planner.menu_bank(suffix, candidates, models);
  plan_scores(study, sizes, " on the menu bank" + suffix,
              candidates * sizes.prompts * static_cast<double>(study.bank.samples), suffix.empty(),
              planner);
}

void plan_lie(const Study& study, const PlanSizes& sizes, const std::vector<ExpertRun>& runs,
              const MisreportChoice& lie, Planner& planner) {
  const std::vector<ExpertRun> lied = expert_runs(study, reports_under(study, lie));
  for (size_t r = 0; r < lied.size(); ++r) {
    const bool same =
        lied[r].weights == runs[r].weights && lied[r].kl_coefficient == runs[r].kl_coefficient;
    const bool on_menu =
        lied[r].role == ExpertRun::Role::kExpert || lied[r].role == ExpertRun::Role::kTrained;
    if (!same && on_menu) planner.expert(lied[r]);
  }
  plan_banks(study, sizes, runs, misreport_suffix(lie), planner);
}

void plan_menu(const Study& study, const PlanSizes& sizes, Planner& planner) {
  const MenuSettings& menu = *study.menu;
  const std::vector<ExpertRun> runs = expert_runs(study);
  if (menu.sft.has_value()) planner.sft(*menu.sft);
  planner.bank("reference bank", static_cast<double>(study.reference_samples));
  for (size_t i = 0; i < study.groups.size(); ++i) {
    planner.train_reward(study.groups[i].name, sizes.rewards[i]);
    planner.train_reward("judge of " + study.groups[i].name, sizes.judges[i]);
  }
  plan_scores(study, sizes, " on the reference bank",
              sizes.prompts * static_cast<double>(study.reference_samples),
              menu.experts.has_value(), planner);
  for (const ExpertRun& run : runs) planner.expert(run);
  plan_banks(study, sizes, runs, "", planner);
  for (const MisreportChoice& lie : menu.misreports) plan_lie(study, sizes, runs, lie, planner);
}

}  // namespace

std::vector<StageCost> plan_costs(const Study& study, const PlanSizes& sizes) {
  Planner planner(study, sizes);
  if (study.menu.has_value()) {
    plan_menu(study, sizes, planner);
  } else {
    plan_sampled(study, sizes, planner);
  }
  return planner.take();
}

Result<std::vector<StageCost>> plan_costs(const Pipeline& pipeline) {
  CANDOR_TRY(const PlanSizes sizes, plan_sizes(pipeline));
  return plan_costs(pipeline.study, sizes);
}

Result<std::vector<StageCost>> plan_costs(const MenuPipeline& pipeline) {
  CANDOR_TRY(const PlanSizes sizes, plan_sizes(pipeline));
  return plan_costs(pipeline.study(), sizes);
}

}  // namespace candor
