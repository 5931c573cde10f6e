#include "lm/generate.h"

#include <algorithm>

#include "base/check.h"
#include "base/interrupt.h"
#include "base/rng.h"
#include "base/strings.h"
#include "lm/decoder.h"
#include "lm/sampler.h"

namespace candor {

namespace {

constexpr int64_t kPrefillRows = 128;  // prompt tokens run through the model together

// One run of generate: rows of a batch that are refilled as they finish.
class Batch {
 public:
  Batch(const LanguageModel& model, std::span<const GenerateRequest> requests,
        const GenerateOptions& options, int64_t max_positions)
      : model_(model),
        requests_(requests),
        options_(options),
        row_limit_(std::min<int64_t>(options.batch, static_cast<int64_t>(requests.size()))),
        // One slot more than rows: it keeps the latest prompt, whose cache its samples copy.
        decoder_(model, row_limit_ + 1, max_positions, std::max(row_limit_, kPrefillRows)),
        results_(requests.size()),
        logits_(static_cast<size_t>(std::max<int64_t>(row_limit_, 1) *
                                    model.config().vocabulary_size)) {
    for (int64_t slot = 0; slot < row_limit_; ++slot) free_slots_.push_back(row_limit_ - 1 - slot);
  }

  Result<std::vector<Generation>> run(const ProgressSink& progress) {
    while (next_request_ < requests_.size() || !active_.empty()) {
      CANDOR_RETURN_IF_ERROR(check_interrupted());
      while (!free_slots_.empty() && next_request_ < requests_.size()) admit(next_request_++);
      if (!active_.empty()) step();
      if (progress) {
        progress(finished_, requests_.size(), str_cat(token_count_, " tokens"));
      }
    }
    return std::move(results_);
  }

 private:
  struct Active {
    size_t request;
    int64_t slot;
    int64_t position;  // of the next token to feed
    int32_t token;     // to feed
  };

  // Prefills the request's prompt unless it is the latest one, and samples its first token.
  void admit(size_t request) {
    const std::vector<int32_t>& prompt = requests_[request].prompt_ids;
    const int64_t prompt_slot = row_limit_;
    const std::vector<float>& adapters = requests_[request].adapter_weights;
    if (prompt_ == nullptr || *prompt_ != prompt || *prompt_adapters_ != adapters) {
      decoder_.set_slot_adapters(prompt_slot, adapters);
      std::vector<Decoder::Row> rows;
      for (size_t begin = 0; begin < prompt.size(); begin += kPrefillRows) {
        rows.clear();
        for (size_t t = begin; t < std::min(prompt.size(), begin + kPrefillRows); ++t) {
          rows.push_back({prompt[t], prompt_slot, static_cast<int64_t>(t)});
        }
        decoder_.forward(rows);
      }
      prompt_logits_.resize(static_cast<size_t>(model_.config().vocabulary_size));
      decoder_.logits(static_cast<int64_t>(rows.size()) - 1, 1, prompt_logits_.data());
      prompt_ = &prompt;
      prompt_adapters_ = &adapters;
    }
    const int64_t slot = free_slots_.back();
    free_slots_.pop_back();
    const auto length = static_cast<int64_t>(prompt.size());
    decoder_.copy_cache(prompt_slot, slot, length);
    decoder_.set_slot_adapters(slot, adapters);
    Active row{request, slot, length, 0};
    if (take_token(row, prompt_logits_)) active_.push_back(row);
  }

  // Samples the row's next token; false when the row has finished with it.
  bool take_token(Active& row, std::span<const float> logits) {
    const GenerateRequest& request = requests_[row.request];
    Generation& result = results_[row.request];
    const auto position = static_cast<uint32_t>(result.token_ids.size());
    const RandomKey key{options_.seed, options_.stream, request.prompt_index, request.sample,
                        position};
    row.token = sample_token(logits, sampling_of(options_), key);
    const double logprob = log_probability(logits, row.token);
    result.token_ids.push_back(row.token);
    result.token_logprobs.push_back(static_cast<float>(logprob));
    result.logprob += static_cast<float>(logprob);
    ++token_count_;
    const bool stopped = !options_.ignore_stop &&
                         std::ranges::find(model_.stop_ids(), row.token) != model_.stop_ids().end();
    const bool full = static_cast<int64_t>(result.token_ids.size()) >= options_.max_new_tokens;
    if (stopped) result.finish_reason = FinishReason::kStop;
    if (!stopped && !full) return true;
    free_slots_.push_back(row.slot);
    ++finished_;
    return false;
  }

  void step() {
    rows_.clear();
    for (Active& row : active_) rows_.push_back({row.token, row.slot, row.position++});
    decoder_.forward(rows_);
    decoder_.logits(0, static_cast<int64_t>(rows_.size()), logits_.data());
    const auto vocabulary = static_cast<size_t>(model_.config().vocabulary_size);
    std::vector<Active> still;
    still.reserve(active_.size());
    for (size_t i = 0; i < active_.size(); ++i) {
      if (take_token(active_[i], std::span(logits_).subspan(i * vocabulary, vocabulary))) {
        still.push_back(active_[i]);
      }
    }
    active_ = std::move(still);
  }

  const LanguageModel& model_;
  std::span<const GenerateRequest> requests_;
  const GenerateOptions& options_;
  int64_t row_limit_;
  Decoder decoder_;
  std::vector<Generation> results_;
  std::vector<float> logits_;
  std::vector<float> prompt_logits_;
  const std::vector<int32_t>* prompt_ = nullptr;
  const std::vector<float>* prompt_adapters_ = nullptr;
  std::vector<int64_t> free_slots_;
  std::vector<Active> active_;
  std::vector<Decoder::Row> rows_;
  size_t next_request_ = 0;
  size_t finished_ = 0;
  size_t token_count_ = 0;
};

}  // namespace

Status check_token_ids(const LanguageModel& model, std::span<const int32_t> ids) {
  for (const int32_t id : ids) {
    if (id < 0 || id >= model.config().vocabulary_size) {
      return invalid_argument(
          str_cat("token id: found ", id, "; expected 0 to ", model.config().vocabulary_size - 1));
    }
  }
  return {};
}

Result<std::vector<Generation>> generate(const LanguageModel& model,
                                         std::span<const GenerateRequest> requests,
                                         const GenerateOptions& options,
                                         const ProgressSink& progress) {
  CANDOR_CHECK(options.max_new_tokens > 0 && options.batch > 0 && options.temperature >= 0 &&
               options.top_p > 0 && options.top_p <= 1 && options.top_k >= 0);
  int64_t longest = 0;
  for (const GenerateRequest& request : requests) {
    const auto length = static_cast<int64_t>(request.prompt_ids.size());
    if (length == 0) return invalid_argument("a prompt is empty; it needs at least one token");
    if (length + options.max_new_tokens > model.config().context_length) {
      return invalid_argument(str_cat("a prompt of ", length, " tokens and ",
                                      options.max_new_tokens, " new ones exceed the context of ",
                                      model.config().context_length));
    }
    CANDOR_RETURN_IF_ERROR(check_token_ids(model, request.prompt_ids));
    CANDOR_RETURN_IF_ERROR(check_adapter_weights(model, request.adapter_weights));
    longest = std::max(longest, length);
  }
  if (requests.empty()) return std::vector<Generation>();
  Batch batch(model, requests, options, longest + options.max_new_tokens);
  return batch.run(progress);
}

}  // namespace candor
