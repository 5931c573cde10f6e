#include "lm/menu_score.h"

#include <omp.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/interrupt.h"
#include "base/strings.h"
#include "lm/menu_prompt_cache.h"
#include "lm/mixture_generate.h"
#include "lm/mixture_kernels.h"

namespace candor {

namespace {

// log softmax(logs / temperature).
void temper(std::span<double> logs, double temperature) {
  if (temperature == 1) return;
  for (double& value : logs) value /= temperature;
  const double log_sum = wide_log_sum_exp(logs.data(), static_cast<int64_t>(logs.size()));
  for (double& value : logs) value -= log_sum;
}

class MenuScorer {
 public:
  MenuScorer(const SlotModel& model, std::span<const CandidateModel> candidates,
             const MenuScoreOptions& options, int64_t variants, int64_t positions)
      : model_(model),
        candidates_(candidates),
        options_(options),
        initial_(initial_candidate("initial", model.adapter_count())),
        rows_limit_(std::max(options.rows, variants)),
        decoder_(model.open({.slots = variants + menu_prompt_slots(variants),
                             .positions = positions,
                             .rows = std::max(rows_limit_, kMenuPrefillRows)})),
        cache_(*decoder_, model.vocabulary_size(), variants, menu_prompt_slots(variants)),
        logits_(static_cast<size_t>(rows_limit_ * model.vocabulary_size())) {}

  // All tokens of one reply.
  Result<std::vector<TokenComparison>> run(const MenuReply& reply) {
    const CandidateModel& candidate = candidates_[reply.candidate];
    std::vector<std::vector<float>> variants = candidate.variants;
    // A mixture has the initial model among its variants, in front; the initial model is one.
    const bool extra = options_.compare_to_initial && candidate.variants[0] != initial_.variants[0];
    if (extra) variants.push_back(initial_.variants[0]);
    const size_t initial_row = extra ? variants.size() - 1 : 0;
    std::vector<TokenComparison> out(reply.token_ids.size());
    std::vector<const float*> rows;
    for (size_t v = 0; v < variants.size(); ++v) {
      rows.push_back(cache_.start(reply.prompt_ids, variants[v], static_cast<int64_t>(v)));
    }
    CANDOR_RETURN_IF_ERROR(compare(candidate, rows, initial_row, reply.token_ids[0], out[0]));
    const int64_t block = std::max<int64_t>(1, rows_limit_ / static_cast<int64_t>(variants.size()));
    const auto fed = static_cast<int64_t>(reply.token_ids.size()) - 1;
    for (int64_t begin = 0; begin < fed; begin += block) {
      CANDOR_RETURN_IF_ERROR(check_interrupted());
      CANDOR_RETURN_IF_ERROR(run_block(reply, {begin, std::min(block, fed - begin)},
                                       variants.size(), initial_row, out));
    }
    return out;
  }

 private:
  struct Block {
    int64_t begin;
    int64_t count;
  };

  // Feeds the reply's tokens begin .. begin + count - 1 to every variant, and compares what the
  // models expect after each.
  Status run_block(const MenuReply& reply, const Block& block, size_t variants, size_t initial_row,
                   std::vector<TokenComparison>& out) {
    const auto prompt_length = static_cast<int64_t>(reply.prompt_ids.size());
    std::vector<SlotDecoder::Row> rows;
    for (size_t v = 0; v < variants; ++v) {
      for (int64_t i = 0; i < block.count; ++i) {
        rows.push_back({reply.token_ids[static_cast<size_t>(block.begin + i)],
                        static_cast<int64_t>(v), prompt_length + block.begin + i});
      }
    }
    decoder_->forward(rows);
    decoder_->logits(0, static_cast<int64_t>(rows.size()), logits_.data());
    std::vector<Status> statuses(static_cast<size_t>(block.count));
    const bool large = block.count * model_.vocabulary_size() >= kWorthThreads;
#pragma omp parallel for num_threads(model_.threads()) schedule(dynamic) if (large)
    for (int64_t i = 0; i < block.count; ++i) {
      std::vector<const float*> pointers;
      for (size_t v = 0; v < variants; ++v) {
        const int64_t row = static_cast<int64_t>(v) * block.count + i;
        pointers.push_back(logits_.data() + row * model_.vocabulary_size());
      }
      const auto target = static_cast<size_t>(block.begin + i + 1);
      statuses[static_cast<size_t>(i)] = compare(candidates_[reply.candidate], pointers,
                                                 initial_row, reply.token_ids[target], out[target]);
    }
    for (const Status& status : statuses) CANDOR_RETURN_IF_ERROR(status);
    return {};
  }

  Status compare(const CandidateModel& candidate, const std::vector<const float*>& rows,
                 size_t initial_row, int32_t token, TokenComparison& out) const {
    thread_local std::vector<double> logs;
    thread_local std::vector<double> initial;
    logs.resize(static_cast<size_t>(model_.vocabulary_size()));
    const std::span<const float* const> all(rows);
    CANDOR_TRY(out.clipped,
               candidate_log_probs(candidate, all.first(candidate.variants.size()), logs));
    temper(logs, options_.temperature);
    out.candidate_log = logs[static_cast<size_t>(token)];
    out.most_likely = out.candidate_log >= largest(logs.data(), model_.vocabulary_size());
    if (!options_.compare_to_initial) return {};
    initial.resize(logs.size());
    CANDOR_RETURN_IF_ERROR(
        candidate_log_probs(initial_, all.subspan(initial_row, 1), initial).ok()
            ? Status()
            : Status(invalid_argument("a logit of the initial model is not finite")));
    temper(initial, options_.temperature);
    out.initial_log = initial[static_cast<size_t>(token)];
    out.kl = kl_of_logs(logs.data(), initial.data(), static_cast<int64_t>(logs.size()));
    return {};
  }

  const SlotModel& model_;
  std::span<const CandidateModel> candidates_;
  const MenuScoreOptions& options_;
  CandidateModel initial_;
  int64_t rows_limit_;
  std::unique_ptr<SlotDecoder> decoder_;
  MenuPromptCache cache_;
  std::vector<float> logits_;  // [rows, V]
};

}  // namespace

Result<std::vector<std::vector<TokenComparison>>> score_menu(
    const SlotModel& model, std::span<const CandidateModel> candidates,
    std::span<const MenuReply> replies, const MenuScoreOptions& options,
    const ProgressSink& progress) {
  CANDOR_CHECK(options.temperature > 0 && options.rows > 0);
  size_t longest = 0;
  size_t variants = 1;
  for (size_t r = 0; r < replies.size(); ++r) {
    const MenuReply& reply = replies[r];
    CANDOR_CHECK(reply.candidate < candidates.size());
    const auto length = static_cast<int64_t>(reply.token_ids.size());
    Status status = length == 0 ? Status(invalid_argument("it has no token")) : Status();
    if (status.ok()) status = check_menu_prompt(model, reply.prompt_ids, length);
    if (status.ok()) status = check_menu_prompt(model, reply.token_ids, 0);
    if (!status.ok()) {
      return invalid_argument(str_cat("reply ", r + 1, ": ", status.error().message));
    }
    longest = std::max(longest, reply.prompt_ids.size() + reply.token_ids.size());
    variants = std::max(variants, candidates[reply.candidate].variants.size() + 1);
  }
  std::vector<std::vector<TokenComparison>> results;
  if (replies.empty()) return results;
  MenuScorer scorer(model, candidates, options, static_cast<int64_t>(variants),
                    static_cast<int64_t>(longest));
  for (const MenuReply& reply : replies) {
    CANDOR_TRY(std::vector<TokenComparison> tokens, scorer.run(reply));
    results.push_back(std::move(tokens));
    if (progress) progress(results.size(), replies.size(), "");
  }
  return results;
}

}  // namespace candor
