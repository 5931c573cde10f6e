#include "lm/generate.h"

#include <algorithm>
#include <optional>

#include "base/check.h"
#include "base/interrupt.h"
#include "base/rng.h"
#include "base/strings.h"
#include "lm/decoder.h"
#include "lm/sampler.h"

namespace candor {

namespace {

constexpr int64_t kSmallDraws = 1 << 15;  // logits below which one thread draws all tokens
constexpr int64_t kPrefillRows = 256;     // prompt tokens run through the model together

// One run of generate: slots of a batch that are refilled as they finish.
class Batch {
 public:
  Batch(const LanguageModel& model, std::span<const GenerateRequest> requests,
        const GenerateOptions& options, int64_t max_positions)
      : model_(model),
        requests_(requests),
        options_(options),
        slot_count_(std::min<int64_t>(options.batch, static_cast<int64_t>(requests.size()))),
        max_rows_(std::max(slot_count_, kPrefillRows)),
        decoder_(model, slot_count_, max_positions, max_rows_),
        results_(requests.size()),
        prompt_logits_(static_cast<size_t>(model.config().vocabulary_size)) {
    for (int64_t slot = 0; slot < slot_count_; ++slot) {
      free_slots_.push_back(slot_count_ - 1 - slot);
    }
    logits_.resize(static_cast<size_t>(slot_count_ * model.config().vocabulary_size));
  }

  Result<std::vector<Generation>> run(const ProgressSink& progress) {
    while (next_request_ < requests_.size() || !active_.empty()) {
      CANDOR_RETURN_IF_ERROR(check_interrupted());
      while (!free_slots_.empty() && next_request_ < requests_.size()) admit();
      if (!active_.empty()) step();
      if (progress) progress(finished_, requests_.size(), str_cat(token_count_, " tokens"));
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
  // A prompt whose cache lies in `slot`: decoding appends to it, so it stays until the slot is
  // given to a request of another prompt.
  struct Prompt {
    size_t request;
    int64_t slot;
  };
  // Requests of one prompt that begin together.
  struct Group {
    size_t first_request;
    std::vector<int64_t> slots;  // of first_request, first_request + 1, ...; the prompt runs in [0]
  };

  [[nodiscard]] bool same_prompt(size_t a, size_t b) const {
    return requests_[a].prompt_ids == requests_[b].prompt_ids &&
           requests_[a].adapter_weights == requests_[b].adapter_weights;
  }

  int64_t take_slot() {
    const int64_t slot = free_slots_.back();
    free_slots_.pop_back();
    return slot;
  }

  // Gives free slots to the next requests: first to further samples of the latest prompt, then to
  // new prompts, which run through the model together.
  void admit() {
    std::vector<Active> begun;
    while (latest_.has_value() && !free_slots_.empty() && next_request_ < requests_.size() &&
           same_prompt(latest_->request, next_request_)) {
      begun.push_back(begin(next_request_++, take_slot(), latest_->slot));
    }
    draw_all(begun, [this](size_t) { return std::span<const float>(prompt_logits_); });
    std::vector<Group> groups;
    while (!free_slots_.empty() && next_request_ < requests_.size()) {
      if (groups.empty() || !same_prompt(groups.back().first_request, next_request_)) {
        groups.push_back({next_request_, {}});
      }
      groups.back().slots.push_back(take_slot());
      ++next_request_;
    }
    if (!groups.empty()) prefill(groups);
  }

  // Runs the groups' prompts, as many rows at a time as fit, and begins their requests.
  void prefill(const std::vector<Group>& groups) {
    rows_.clear();
    std::vector<const Group*> ended;  // their prompts' last rows are in rows_
    std::vector<int64_t> last_rows;
    const auto flush = [&] {
      decoder_.forward(rows_);
      begin_groups(ended, last_rows);
      rows_.clear();
      ended.clear();
      last_rows.clear();
    };
    for (const Group& group : groups) {
      const GenerateRequest& request = requests_[group.first_request];
      decoder_.set_slot_adapters(group.slots[0], request.adapter_weights);
      for (size_t t = 0; t < request.prompt_ids.size(); ++t) {
        if (static_cast<int64_t>(rows_.size()) == max_rows_) flush();
        rows_.push_back({request.prompt_ids[t], group.slots[0], static_cast<int64_t>(t)});
      }
      ended.push_back(&group);
      last_rows.push_back(static_cast<int64_t>(rows_.size()) - 1);
    }
    flush();
  }

  void begin_groups(const std::vector<const Group*>& groups,
                    const std::vector<int64_t>& last_rows) {
    if (groups.empty()) return;
    decoder_.logits(last_rows, logits_.data());
    std::vector<Active> begun;
    std::vector<size_t> rows;  // of logits_, for each that has begun
    for (size_t g = 0; g < groups.size(); ++g) {
      for (size_t i = 0; i < groups[g]->slots.size(); ++i) {
        begun.push_back(
            begin(groups[g]->first_request + i, groups[g]->slots[i], groups[g]->slots[0]));
        rows.push_back(g);
      }
    }
    latest_ = Prompt{groups.back()->first_request, groups.back()->slots[0]};
    const std::span<const float> last = logits_row(groups.size() - 1);
    prompt_logits_.assign(last.begin(), last.end());
    draw_all(begun, [&](size_t i) { return logits_row(rows[i]); });
  }

  // The request in its slot after its prompt, whose cache lies in `prompt_slot`.
  Active begin(size_t request, int64_t slot, int64_t prompt_slot) {
    const auto length = static_cast<int64_t>(requests_[request].prompt_ids.size());
    decoder_.copy_cache(prompt_slot, slot, length);
    decoder_.set_slot_adapters(slot, requests_[request].adapter_weights);
    return {request, slot, length, 0};
  }

  [[nodiscard]] std::span<const float> logits_row(size_t row) const {
    const auto vocabulary = static_cast<size_t>(model_.config().vocabulary_size);
    return std::span(logits_).subspan(row * vocabulary, vocabulary);
  }

  // Draws the next token of all rows; those that go on are active afterwards.
  template <typename LogitsOf>
  void draw_all(std::vector<Active>& rows, const LogitsOf& logits_of) {
    const bool small = static_cast<int64_t>(rows.size() * prompt_logits_.size()) < kSmallDraws;
#pragma omp parallel for num_threads(small ? 1 : model_.options().threads) schedule(static)
    for (size_t i = 0; i < rows.size(); ++i) draw(rows[i], logits_of(i));
    for (const Active& row : rows) {
      if (keep(row)) active_.push_back(row);
    }
  }

  // Draws the row's next token. Threads: rows of different requests at once.
  void draw(Active& row, std::span<const float> logits) {
    const GenerateRequest& request = requests_[row.request];
    Generation& result = results_[row.request];
    const auto position = static_cast<uint32_t>(result.token_ids.size());
    const RandomKey key{options_.seed, options_.stream, request.prompt_index, request.sample,
                        position};
    row.token = sample_token(logits, sampling_of(options_), key);
    const auto logprob = static_cast<float>(log_probability(logits, row.token));
    result.token_ids.push_back(row.token);
    result.token_logprobs.push_back(logprob);
    result.logprob += logprob;
  }

  // False when the row has finished with the token it drew; its slot is free then.
  bool keep(const Active& row) {
    Generation& result = results_[row.request];
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
    decoder_.logits(0, static_cast<int64_t>(active_.size()), logits_.data());
    stepped_.swap(active_);
    active_.clear();
    draw_all(stepped_, [this](size_t i) { return logits_row(i); });
  }

  const LanguageModel& model_;
  std::span<const GenerateRequest> requests_;
  const GenerateOptions& options_;
  int64_t slot_count_;
  int64_t max_rows_;
  Decoder decoder_;
  std::vector<Generation> results_;
  std::vector<float> logits_;
  std::vector<float> prompt_logits_;  // after the latest prompt
  std::optional<Prompt> latest_;
  std::vector<int64_t> free_slots_;
  std::vector<Active> active_;
  std::vector<Active> stepped_;
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
