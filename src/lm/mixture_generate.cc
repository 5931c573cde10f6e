#include "lm/mixture_generate.h"

#include <omp.h>

#include <algorithm>
#include <optional>

#include "base/check.h"
#include "base/interrupt.h"
#include "base/strings.h"
#include "lm/menu_prompt_cache.h"
#include "lm/sampler.h"

namespace candor {

namespace {

int64_t most_variants(std::span<const CandidateModel> candidates) {
  size_t most = 1;
  for (const CandidateModel& candidate : candidates) {
    most = std::max(most, candidate.variants.size());
  }
  return static_cast<int64_t>(most);
}

// What is sampled, in the order in which it is admitted: by prompt, so that a prompt's caches serve
// all that needs them.
struct Job {
  size_t candidate;
  size_t prompt;
  int64_t sample;
};

struct Plan {
  std::span<const CandidateModel> candidates;
  std::span<const MenuPrompt> prompts;
  int64_t samples;
  int64_t rows;          // of a step
  int64_t prompt_slots;  // after the rows' slots
  int64_t positions;     // of a slot
};

// Sequences under way, refilled as they end.
class MenuBatch {
 public:
  MenuBatch(const SlotModel& model, const Plan& plan, const GenerateOptions& options,
            const TokenSink& on_token)
      : model_(model),
        plan_(plan),
        options_(options),
        on_token_(on_token),
        decoder_(model.open({.slots = plan.rows + plan.prompt_slots,
                             .positions = plan.positions,
                             .rows = std::max(plan.rows, kMenuPrefillRows)})),
        cache_(*decoder_, model.vocabulary_size(), plan.rows, plan.prompt_slots),
        results_(plan.candidates.size() * plan.prompts.size() * static_cast<size_t>(plan.samples)),
        logits_(static_cast<size_t>(plan.rows * model.vocabulary_size())) {
    for (int64_t slot = plan.rows - 1; slot >= 0; --slot) free_slots_.push_back(slot);
  }

  Result<std::vector<Generation>> run(const ProgressSink& progress) {
    while (next_job_ < results_.size() || !active_.empty()) {
      CANDOR_RETURN_IF_ERROR(check_interrupted());
      while (next_job_ < results_.size() && fits(job_at(next_job_))) {
        CANDOR_RETURN_IF_ERROR(admit(job_at(next_job_++)));
      }
      if (!active_.empty()) CANDOR_RETURN_IF_ERROR(step());
      if (progress) progress(finished_, results_.size(), str_cat(token_count_, " tokens"));
    }
    return std::move(results_);
  }

 private:
  struct Active {
    Job job{};
    std::vector<int64_t> slots;  // one per variant
    int64_t position = 0;        // of the next token to feed
    int32_t token = 0;           // to feed
    bool done = false;
    Status status;
  };

  [[nodiscard]] Job job_at(size_t number) const {
    const auto samples = static_cast<size_t>(plan_.samples);
    return {number / samples % plan_.candidates.size(), number / samples / plan_.candidates.size(),
            static_cast<int64_t>(number % samples)};
  }
  [[nodiscard]] const CandidateModel& candidate_of(const Job& job) const {
    return plan_.candidates[job.candidate];
  }
  [[nodiscard]] bool fits(const Job& job) const {
    return free_slots_.size() >= candidate_of(job).variants.size();
  }
  [[nodiscard]] size_t place_of(const Job& job) const {
    return (job.candidate * plan_.prompts.size() + job.prompt) *
               static_cast<size_t>(plan_.samples) +
           static_cast<size_t>(job.sample);
  }
  Generation& result_of(const Job& job) { return results_[place_of(job)]; }

  Status admit(const Job& job) {
    const std::vector<int32_t>& prompt = plan_.prompts[job.prompt].ids;
    Active sequence;
    sequence.job = job;
    sequence.position = static_cast<int64_t>(prompt.size());
    std::vector<const float*> rows;
    for (const std::vector<float>& variant : candidate_of(job).variants) {
      sequence.slots.push_back(free_slots_.back());
      free_slots_.pop_back();
      rows.push_back(cache_.start(prompt, variant, sequence.slots.back()));
    }
    take_token(sequence, rows);
    CANDOR_RETURN_IF_ERROR(sequence.status);
    settle(std::move(sequence));
    return {};
  }

  struct Draw {
    int32_t token = 0;
    double logprob = 0;  // of the untempered, untruncated candidate
  };

  // One token from a candidate's variants. A candidate of one variant is sampled from its logits as
  // they are: bit for bit what `generate` does.
  Result<Draw> draw(const CandidateModel& candidate, std::span<const float* const> rows,
                    const RandomKey& key) const {
    const auto vocabulary = static_cast<size_t>(model_.vocabulary_size());
    Draw out;
    if (!candidate.mixer.has_value()) {
      const std::span<const float> logits(rows[0], vocabulary);
      out.token = sample_token(logits, sampling_of(options_), key);
      out.logprob = log_probability(logits, out.token);
      return out;
    }
    thread_local std::vector<double> logs;
    thread_local std::vector<float> narrow;
    logs.resize(vocabulary);
    const Result<bool> clipped = candidate_log_probs(candidate, rows, logs);
    if (!clipped.ok()) return clipped.error();
    narrow.assign(logs.begin(), logs.end());
    out.token = sample_token(narrow, sampling_of(options_), key);
    out.logprob = logs[static_cast<size_t>(out.token)];
    return out;
  }

  // Draws the sequence's next token; threads: one per sequence.
  void take_token(Active& sequence, std::span<const float* const> rows) {
    Generation& result = result_of(sequence.job);
    const RandomKey key{options_.seed, options_.stream, plan_.prompts[sequence.job.prompt].index,
                        static_cast<uint32_t>(sequence.job.sample),
                        static_cast<uint32_t>(result.token_ids.size())};
    const Result<Draw> drawn = draw(candidate_of(sequence.job), rows, key);
    if (!drawn.ok()) {
      sequence.status = drawn.error();
      return;
    }
    sequence.token = drawn->token;
    const auto logprob = static_cast<float>(drawn->logprob);
    result.token_ids.push_back(sequence.token);
    result.token_logprobs.push_back(logprob);
    result.logprob += logprob;
    const std::vector<int32_t>& stops = model_.stop_ids();
    const bool stopped = std::ranges::find(stops, sequence.token) != stops.end();
    if (stopped) result.finish_reason = FinishReason::kStop;
    sequence.done =
        stopped || static_cast<int64_t>(result.token_ids.size()) >= options_.max_new_tokens;
  }

  // Keeps a sequence that goes on, frees the slots of one that has ended.
  void settle(Active sequence) {
    ++token_count_;
    if (on_token_) on_token_(place_of(sequence.job), sequence.token);
    if (!sequence.done) {
      active_.push_back(std::move(sequence));
      return;
    }
    free_slots_.insert(free_slots_.end(), sequence.slots.rbegin(), sequence.slots.rend());
    ++finished_;
  }

  Status step() {
    rows_.clear();
    std::vector<size_t> first_rows;
    for (Active& sequence : active_) {
      first_rows.push_back(rows_.size());
      for (const int64_t slot : sequence.slots) {
        rows_.push_back({sequence.token, slot, sequence.position});
      }
      ++sequence.position;
    }
    decoder_->forward(rows_);
    decoder_->logits(0, static_cast<int64_t>(rows_.size()), logits_.data());
    const auto vocabulary = static_cast<size_t>(model_.vocabulary_size());
    const auto count = static_cast<int64_t>(active_.size());
    const bool large = count * model_.vocabulary_size() >= kWorthThreads;
#pragma omp parallel for num_threads(model_.threads()) schedule(dynamic) if (large)
    for (int64_t i = 0; i < count; ++i) {
      Active& sequence = active_[static_cast<size_t>(i)];
      std::vector<const float*> rows;
      for (size_t variant = 0; variant < sequence.slots.size(); ++variant) {
        rows.push_back(logits_.data() +
                       (first_rows[static_cast<size_t>(i)] + variant) * vocabulary);
      }
      take_token(sequence, rows);
    }
    std::vector<Active> before = std::move(active_);
    active_.clear();
    for (Active& sequence : before) {
      CANDOR_RETURN_IF_ERROR(sequence.status);
      settle(std::move(sequence));
    }
    return {};
  }

  const SlotModel& model_;
  const Plan& plan_;
  const GenerateOptions& options_;
  const TokenSink& on_token_;
  std::unique_ptr<SlotDecoder> decoder_;
  MenuPromptCache cache_;
  std::vector<Generation> results_;
  std::vector<float> logits_;  // [rows, V]
  std::vector<int64_t> free_slots_;
  std::vector<Active> active_;
  std::vector<SlotDecoder::Row> rows_;
  size_t next_job_ = 0;
  size_t finished_ = 0;
  size_t token_count_ = 0;
};

}  // namespace

Status check_menu_prompt(const SlotModel& model, std::span<const int32_t> ids, int64_t new_tokens) {
  const auto length = static_cast<int64_t>(ids.size());
  if (length == 0) return invalid_argument("a prompt is empty; it needs at least one token");
  if (length + new_tokens > model.context_length()) {
    return invalid_argument(str_cat("a prompt of ", length, " tokens and ", new_tokens,
                                    " new ones exceed the context of ", model.context_length()));
  }
  for (const int32_t id : ids) {
    if (id >= 0 && id < model.vocabulary_size()) continue;
    return invalid_argument(
        str_cat("token id: found ", id, "; expected 0 to ", model.vocabulary_size() - 1));
  }
  return {};
}

Result<std::vector<Generation>> generate_menu(const SlotModel& model,
                                              std::span<const CandidateModel> candidates,
                                              std::span<const MenuPrompt> prompts, int64_t samples,
                                              const GenerateOptions& options,
                                              const ProgressSink& progress,
                                              const TokenSink& on_token) {
  CANDOR_CHECK(options.max_new_tokens > 0 && options.batch > 0 && samples > 0);
  size_t longest = 0;
  for (const MenuPrompt& prompt : prompts) {
    CANDOR_RETURN_IF_ERROR(check_menu_prompt(model, prompt.ids, options.max_new_tokens));
    longest = std::max(longest, prompt.ids.size());
  }
  if (candidates.empty() || prompts.empty()) return std::vector<Generation>();
  const int64_t variants = most_variants(candidates);
  int64_t all_rows = 0;  // of everything at once
  for (const CandidateModel& candidate : candidates) {
    all_rows += static_cast<int64_t>(candidate.variants.size() * prompts.size()) * samples;
  }
  const Plan plan{.candidates = candidates,
                  .prompts = prompts,
                  .samples = samples,
                  .rows = std::max(variants, std::min(options.batch, all_rows)),
                  .prompt_slots = menu_prompt_slots(variants),
                  .positions = static_cast<int64_t>(longest) + options.max_new_tokens};
  MenuBatch batch(model, plan, options, on_token);
  return batch.run(progress);
}

}  // namespace candor
