#include "study/cost_model.h"

#include <algorithm>
#include <utility>

#include "base/strings.h"

namespace candor {

namespace {

// Fitted to the runs in docs/results/plan/ (two cores of a Zen 5 server, avx512_bf16). After a
// change of speed, run those studies again and fit what moved.
//
// Operations a second. Those of bf16 products follow the machine (Planner::speed).
// Of the machine of the records: its whole products (bench/decode), for want of the probe there.
constexpr double kRecordedProductRate = 1.0e12;
constexpr double kPrefillFlops = 12.6e11;    // prompts, up to 256 tokens a product
constexpr double kDecodeFlops = 6.2e11;      // a batch's next tokens
constexpr double kAttentionFlops = 0.53e11;  // decoding: each row reads its own cache
constexpr double kCompareFlops = 5.8e11;     // divergences: replies under whole vocabularies
constexpr double kComparePromptFlops = 6.6e11;
constexpr double kCheckFlops = 1.2e11;  // self-tests: prompts in f32, one after the other
constexpr double kTrainFlops = 5.6e11;  // RLHF: reference and update passes together
constexpr double kTrainAttentionFlops = 2.2e11;
constexpr double kSftFlops = 3.8e11;
constexpr double kEncoderFlops = 1.8e11;        // f32, one length a batch
constexpr double kRewardDecoderFlops = 1.8e11;  // f32

// Seconds.
constexpr double kStart = 0.3;              // a worker and its libraries
constexpr double kLoadPerWeight = 2e-9;     // reading and packing
constexpr double kTrainPerWeight = 1e-8;    // the same for training
constexpr double kCheckPerWeight = 7.5e-9;  // merging an adapter and packing it in f32
constexpr double kEncoderCall = 0.3;        // batches of few texts, as lengths fall
constexpr double kFitPerText = 3e-4;        // a logistic head
constexpr double kScoreText = 1e-5;         // a reward without an encoder

// Bytes.
constexpr double kWorker = 130e6;                       // libraries
constexpr double kPackedBf16 = 2.25, kPackedF32 = 4.5;  // of a weight that decodes
constexpr double kCheckWeight = 9.7;                    // packed in f32, twice
constexpr double kCheckAdapterCopies = 2;
constexpr double kTrainWeight = 11.2;     // f32 and bf16 copies, the sampler's
constexpr double kSftWeight = 22;         // with gradient and two moments
constexpr double kProductCaches = 170e6;  // of training, bounded (lm/kernel_setup.h)
constexpr double kActivation = 0.62;      // of what a layer makes: kept for its gradient
constexpr double kAdapterCopies = 1.5;    // f32 and packed
constexpr double kCompareRow = 2.2;       // of a row of logits, with its probabilities
constexpr double kEncoderWork = 110e6;    // a batch
constexpr double kFeatureToken = 550;     // of a reward model's training data
constexpr double kReplyToken = 40;        // of a bank's line
constexpr double kReplyRead = 4e3;        // of a bank, in memory
// An encoder's products stay cached, 64 of them. They grow with batches, and batches with the
// number of replies of one length: half of the most at kHalfFull replies.
constexpr double kEncoderCaches = 190e6;
constexpr double kHalfFull = 3500;

// Replies end before their limit: recorded studies' came to 0.84 to 0.96 of it.
constexpr double kReplyShare = 0.92;
// A reply that is read beside its prompt is embedded whole and by its sentences.
constexpr double kSentences = 1.6;
constexpr double kCheckedPrompts = 4;  // of the self-tests
constexpr double kCompareRows = 128;

double number(int64_t count) { return static_cast<double>(count); }

// Prompts, each read once, and the replies to them, in tokens of whoever reads.
struct Reading {
  double prompts = 0;
  double prompt_tokens = 0;  // of one
  double replies = 0;
  double reply_tokens = 0;  // of one
};

// Candidates of a menu, and how many models decode for them: a mixture runs every expert and the
// initial model.
struct MenuSize {
  double candidates = 0;
  double models = 0;
  double mixtures = 0;
  double adapters = 0;  // of experts and further runs, all loaded at once
};

class Planner {
 public:
  Planner(const Study& study, const PlanSizes& sizes)
      : study_(study), sizes_(sizes), model_(sizes.model) {}

  void sft(const SftChoice& choice) {
    const double mean = sizes_.sft_record.mean_tokens;
    const double tokens = number(choice.batch) * mean;
    const double most = number(choice.batch) * sizes_.sft_record.longest_tokens;
    // Over frozen weights a step has no gradient of theirs to make: 4 operations a weight, not 6.
    const bool factors = choice.lora.has_value();
    const double step = (factors ? 2 : 3) *
                        (products(tokens, tokens) + attention(tokens, mean / 2)) / speed(kSftFlops);
    add("sft", number(choice.steps) * step + model_.parameters * kTrainPerWeight,
        kWorker + (factors ? kTrainWeight : kSftWeight) * model_.parameters +
            activations(std::min(most, 2 * tokens)),
        bytes_of_dtype() * model_.parameters);
  }

  void train_reward(const std::string& name, const PlannedReward& reward) {
    if (reward.training_texts == 0) return;
    add("reward " + name,
        encoding(reward, reward.training_tokens) + reward.training_texts * kFitPerText,
        encoder_memory(reward) + kFeatureToken * reward.training_tokens, 16384);
  }

  void bank(const std::string& label, double samples) {
    const Reading work{sizes_.prompts, sizes_.price_prompt.mean_tokens, sizes_.prompts * samples,
                       reply_tokens()};
    add(label, loading() + decoding(work), decoder_memory(batch_of(work.replies)),
        work.replies * new_tokens() * kReplyToken);
  }

  void menu_bank(const std::string& suffix, const MenuSize& menu) {
    const double replies = sizes_.prompts * number(study_.bank.samples);
    const Reading work{menu.models * sizes_.prompts, sizes_.price_prompt.mean_tokens,
                       menu.models * replies, reply_tokens()};
    const double checked = menu.candidates * kCheckedPrompts * sizes_.price_prompt.mean_tokens;
    add("self-tests of the menu" + suffix,
        loading() + menu.adapters * model_.parameters * kCheckPerWeight +
            products(checked, 0) / kCheckFlops,
        kWorker + kCheckWeight * model_.parameters +
            kCheckAdapterCopies * menu.adapters * adapter_bytes(),
        4096);
    add("menu bank" + suffix, loading() + decoding(work),
        decoder_memory(batch_of(work.replies)) + kAdapterCopies * menu.adapters * adapter_bytes(),
        menu.candidates * replies * new_tokens() * kReplyToken);
    divergence(suffix, menu);
  }

  // A run's steps: sample, score, read under the reference, read and differentiate, update.
  // `suffix` ends the label of a run under a misreport.
  void expert(const ExpertRun& run, const std::string& suffix) {
    const ExpertChoice& choice = *study_.menu->experts;
    const auto prompts = number(choice.prompts_per_step);
    const Reading work{prompts, sizes_.train_prompt.mean_tokens,
                       prompts * number(choice.num_generations),
                       kReplyShare * number(choice.max_new_tokens)};
    double step = decoding(work) + training(work);
    double encoders = 0;
    const auto score = [&](const PlannedReward& reward) {
      step += scoring(reward, work);
      if (reward.model_parameters == 0) return;
      encoders += weights_held(reward) + (encoders > 0 ? 0 : kEncoderWork);
    };
    for (size_t j = 0; j < run.weights.size(); ++j) {
      if (run.weights[j] != 0) score(sizes_.rewards[j]);
    }
    if (run.role == ExpertRun::Role::kExpert) score(sizes_.judges[run.group]);
    const auto pass = number(choice.per_device_train_batch_size);
    const double pass_prompts = std::max(1.0, pass / number(choice.num_generations));
    add(run.name + suffix, number(run.steps) * step + model_.parameters * kTrainPerWeight,
        kWorker + kTrainWeight * model_.parameters + kProductCaches + encoders +
            activations(pass * work.reply_tokens + pass_prompts * work.prompt_tokens),
        adapter_bytes());
  }

  void scores(const std::string& name, double replies, const PlannedReward& reward) {
    add("score " + name,
        scoring(reward, {sizes_.prompts, reward.prompt_tokens, replies, reply_tokens()}),
        encoder_memory(reward) + encoder_caches(reward, replies) + kReplyRead * replies,
        8 * replies);
  }

  [[nodiscard]] std::vector<StageCost> take() { return std::move(out_); }

 private:
  void add(const std::string& label, double seconds, double memory, double disk) {
    out_.push_back({label, kStart + seconds, memory, disk});
  }

  // The share of the time that a product of `recorded` operations a second spends multiplying, on
  // the machine of the records, gets as much longer as this machine multiplies more slowly; the
  // rest (packing, memory, what lies between products) stays.
  [[nodiscard]] double speed(double recorded) const {
    const double share = std::min(1.0, recorded / kRecordedProductRate);
    return recorded / (1 - share + share * kRecordedProductRate / sizes_.product_rate);
  }
  [[nodiscard]] double loading() const { return model_.parameters * kLoadPerWeight; }
  [[nodiscard]] double new_tokens() const { return number(study_.bank.max_new_tokens); }
  [[nodiscard]] double reply_tokens() const { return kReplyShare * new_tokens(); }
  [[nodiscard]] double bytes_of_dtype() const { return study_.dtype == "bf16" ? 2 : 4; }
  [[nodiscard]] double batch_of(double replies) const {
    return std::min(replies, number(study_.bank.batch));
  }

  // Operations of a forward pass over `tokens`, of which some are predicted from.
  [[nodiscard]] double products(double tokens, double predicted) const {
    return 2 * (model_.body() * tokens + model_.embedding * predicted);
  }
  // Operations of `tokens` that read `keys` keys and values each.
  [[nodiscard]] double attention(double tokens, double keys) const {
    return 4 * model_.hidden * model_.layers * tokens * keys;
  }
  [[nodiscard]] double prompt_attention(const Reading& work) const {
    return attention(work.prompts * work.prompt_tokens, work.prompt_tokens / 2);
  }
  // Replies read their prompt and, on average, half of themselves.
  [[nodiscard]] double reply_attention(const Reading& work) const {
    return attention(work.replies * work.reply_tokens, work.prompt_tokens + work.reply_tokens / 2);
  }
  [[nodiscard]] double decoding(const Reading& work) const {
    const double tokens = work.replies * work.reply_tokens;
    const double prompts =
        products(work.prompts * work.prompt_tokens, work.prompts) + prompt_attention(work);
    return prompts / speed(kPrefillFlops) + products(tokens, tokens) / speed(kDecodeFlops) +
           reply_attention(work) / kAttentionFlops;
  }
  // The reference reads once; the policy reads forward and backward over frozen weights, which
  // costs twice that. Replies of one prompt share its tokens:
  //   prompts x prompt_tokens + replies x reply_tokens.
  [[nodiscard]] double training(const Reading& work) const {
    const double predicted = work.replies * work.reply_tokens;
    const double tokens = work.prompts * work.prompt_tokens + predicted;
    const double read = prompt_attention(work) + reply_attention(work);
    return 3 * (products(tokens, predicted) / speed(kTrainFlops) + read / kTrainAttentionFlops);
  }

  // Teacher forcing of every reply under its models and the initial one, which is there already
  // where the candidate is that one or a mixture.
  void divergence(const std::string& suffix, const MenuSize& menu) {
    const double replies = sizes_.prompts * number(study_.bank.samples);
    const double single = menu.candidates - menu.mixtures - (study_.menu->menu.initial ? 1 : 0);
    const double passes = menu.models + single;
    const double tokens = passes * replies * reply_tokens();
    const double prompt_tokens = passes * sizes_.prompts * sizes_.price_prompt.mean_tokens;
    add("divergence" + suffix,
        loading() + products(prompt_tokens, 0) / speed(kComparePromptFlops) +
            products(tokens, tokens) / speed(kCompareFlops),
        decoder_memory(0) + kAdapterCopies * menu.adapters * adapter_bytes() +
            kCompareRow * kCompareRows * model_.vocabulary * 4,
        8 * menu.candidates * replies);
  }

  [[nodiscard]] static double encoding(const PlannedReward& reward, double tokens) {
    return kEncoderCall + 2 * reward.model_parameters * tokens / kEncoderFlops;
  }
  [[nodiscard]] static double scoring(const PlannedReward& reward, const Reading& work) {
    if (reward.model_parameters == 0) return work.replies * kScoreText;
    if (reward.is_decoder) {
      const double text = (reward.reads_prompt ? work.prompt_tokens : 0) + work.reply_tokens;
      return 2 * reward.model_parameters * work.replies * text / kRewardDecoderFlops;
    }
    const double reply = work.reply_tokens + 2;  // with the marks of its ends
    const double tokens =
        reward.reads_prompt ? kSentences * work.replies * reply + work.prompts * work.prompt_tokens
                            : work.replies * reply;
    return encoding(reward, tokens);
  }
  // A decoder's lie in its file and, in the order of the products, once more.
  [[nodiscard]] static double weights_held(const PlannedReward& reward) {
    return (reward.is_decoder ? 2 : 1) * reward.model_bytes;
  }
  [[nodiscard]] static double encoder_memory(const PlannedReward& reward) {
    if (reward.model_parameters == 0) return kWorker;
    return kWorker + kEncoderWork + weights_held(reward);
  }
  [[nodiscard]] static double encoder_caches(const PlannedReward& reward, double texts) {
    if (reward.model_parameters == 0 || reward.is_decoder) return 0;
    return kEncoderCaches * texts / (texts + kHalfFull);
  }
  // Weights packed for decoding, `rows` caches and rows of logits.
  [[nodiscard]] double decoder_memory(double rows) const {
    const double packed = study_.dtype == "bf16" ? kPackedBf16 : kPackedF32;
    const double positions = sizes_.price_prompt.mean_tokens + reply_tokens();
    const double cache = positions * 2 * model_.kv_width * model_.layers * bytes_of_dtype();
    return kWorker + packed * model_.parameters + rows * (cache + model_.vocabulary * 4);
  }
  // Of one adapter, in f32.
  [[nodiscard]] double adapter_bytes() const {
    if (!study_.menu.has_value() || !study_.menu->experts.has_value()) return 0;
    const LoraChoice& lora = study_.menu->experts->lora;
    const auto modules = static_cast<double>(lora.target_modules.size());
    return 4 * number(lora.rank) * modules * model_.layers * 2 * model_.hidden;
  }
  // Of a forward pass that is kept for its gradient.
  [[nodiscard]] double activations(double tokens) const {
    const double layer = 8 * model_.hidden + 4 * model_.ffn_width + 4 * model_.kv_width;
    return kActivation * tokens * 4 * layer * model_.layers;
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
    const std::string where = str_cat(study.groups[i].name, place);
    planner.scores(where, replies, sizes.rewards[i]);
    if (judged && study.groups[i].judge.has_value()) {
      planner.scores(str_cat("judge of ", where), replies, sizes.judges[i]);
    }
  }
}

void plan_banks(const Study& study, const PlanSizes& sizes, const std::vector<ExpertRun>& runs,
                const std::string& suffix, Planner& planner) {
  MenuSize menu;
  const auto experts = static_cast<double>(study.groups.size());
  for (const MenuCandidate& candidate : menu_candidates(study)) {
    const bool mixture = candidate.kind == MenuCandidate::Kind::kMixture;
    menu.candidates += 1;
    menu.mixtures += mixture ? 1 : 0;
    menu.models += mixture ? experts + 1 : 1;
  }
  menu.adapters = experts;
  for (const ExpertRun& run : runs) {
    if (run.role == ExpertRun::Role::kExpert) continue;
    menu.candidates += 1;
    menu.models += 1;
    menu.adapters += 1;
  }
  planner.menu_bank(suffix, menu);
  plan_scores(study, sizes, " on the menu bank" + suffix,
              menu.candidates * sizes.prompts * static_cast<double>(study.bank.samples),
              suffix.empty(), planner);
}

void plan_lie(const Study& study, const PlanSizes& sizes, const std::vector<ExpertRun>& runs,
              const MisreportChoice& lie, Planner& planner) {
  const std::vector<ExpertRun> lied = expert_runs(study, reports_under(study, lie));
  for (size_t r = 0; r < lied.size(); ++r) {
    const bool same =
        lied[r].weights == runs[r].weights && lied[r].kl_coefficient == runs[r].kl_coefficient;
    const bool on_menu =
        lied[r].role == ExpertRun::Role::kExpert || lied[r].role == ExpertRun::Role::kTrained;
    if (!same && on_menu) planner.expert(lied[r], misreport_suffix(lie));
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
  for (const ExpertRun& run : runs) planner.expert(run, "");
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
