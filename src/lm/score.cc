#include "lm/score.h"

#include <algorithm>

#include "base/interrupt.h"
#include "base/strings.h"
#include "lm/decoder.h"

namespace candor {

namespace {

constexpr int64_t kRows = 256;      // positions that run through the model together
constexpr int64_t kLogitRows = 64;  // positions whose logits are held at once

Status check_sequence(const LanguageModel& model, std::span<const int32_t> ids) {
  if (static_cast<int64_t>(ids.size()) > model.config().context_length) {
    return invalid_argument(str_cat("a sequence of ", ids.size(), " tokens exceeds the context of ",
                                    model.config().context_length));
  }
  return check_token_ids(model, ids);
}

Result<std::vector<int32_t>> sequence_of(const LanguageModel& model, const ScoreRequest& request) {
  if (request.prompt_ids.empty()) {
    return invalid_argument(
        "a prompt has no token; the first token of its completion has no "
        "condition (add special tokens, or a prompt)");
  }
  if (request.completion_ids.empty()) return invalid_argument("a completion has no token");
  CANDOR_RETURN_IF_ERROR(check_adapter_weights(model, request.adapter_weights));
  std::vector<int32_t> ids = request.prompt_ids;
  ids.insert(ids.end(), request.completion_ids.begin(), request.completion_ids.end());
  CANDOR_RETURN_IF_ERROR(check_sequence(model, ids));
  return ids;
}

// The most sequences that one forward holds, when each is cut wherever a forward is full. Few
// slots keep the caches small and warm.
int64_t most_together(const std::vector<std::vector<int32_t>>& sequences) {
  int64_t most = 1;
  int64_t together = 0;
  int64_t rows = 0;
  for (const auto& ids : sequences) {
    const auto length = static_cast<int64_t>(ids.size()) - 1;
    most = std::max(most, ++together);
    rows += length;
    if (rows < kRows) continue;
    rows %= kRows;
    together = rows > 0 ? 1 : 0;
  }
  return most;
}

// One run of score: forwards full of rows, of as many sequences as it takes.
class Scoring {
 public:
  Scoring(const LanguageModel& model, std::span<const ScoreRequest> requests,
          std::vector<std::vector<int32_t>> sequences, int64_t longest)
      : requests_(requests),
        sequences_(std::move(sequences)),
        slots_(most_together(sequences_)),
        decoder_(model, slots_, longest, kRows),
        results_(sequences_.size()) {}

  Result<std::vector<std::vector<float>>> run(const ProgressSink& progress) {
    while (request_ < sequences_.size()) {
      CANDOR_RETURN_IF_ERROR(check_interrupted());
      fill_rows();
      decoder_.forward(rows_);
      logprobs_.resize(targets_.size());
      if (!targets_.empty()) decoder_.log_probabilities(targets_, logprobs_.data());
      for (size_t i = 0; i < targets_.size(); ++i) {
        results_[owners_[i]].push_back(static_cast<float>(logprobs_[i]));
      }
      if (progress) progress(request_, sequences_.size(), "");
    }
    return std::move(results_);
  }

 private:
  // The next rows of the sequences in their order; a slot serves one sequence a forward. The
  // last token of a sequence predicts nothing that is asked for, so it does not run.
  void fill_rows() {
    rows_.clear();
    targets_.clear();
    owners_.clear();
    for (int64_t used = 0; used < slots_ && request_ < sequences_.size(); ++used) {
      const std::vector<int32_t>& ids = sequences_[request_];
      const auto slot = static_cast<int64_t>(request_) % slots_;
      decoder_.set_slot_adapters(slot, requests_[request_].adapter_weights);
      const size_t first_needed = requests_[request_].prompt_ids.size() - 1;
      for (; position_ + 1 < ids.size() && ssize(rows_) < kRows; ++position_) {
        if (position_ >= first_needed) {
          targets_.push_back({ssize(rows_), ids[position_ + 1]});
          owners_.push_back(request_);
        }
        rows_.push_back({ids[position_], slot, static_cast<int64_t>(position_)});
      }
      if (position_ + 1 < ids.size()) return;
      position_ = 0;
      ++request_;
    }
  }

  template <typename T>
  static int64_t ssize(const std::vector<T>& values) {
    return static_cast<int64_t>(values.size());
  }

  std::span<const ScoreRequest> requests_;
  std::vector<std::vector<int32_t>> sequences_;
  int64_t slots_;
  Decoder decoder_;
  std::vector<std::vector<float>> results_;
  std::vector<Decoder::Row> rows_;
  std::vector<Decoder::Target> targets_;
  std::vector<size_t> owners_;  // [targets], requests
  std::vector<double> logprobs_;
  size_t request_ = 0;
  size_t position_ = 0;  // of the request
};

}  // namespace

Result<std::vector<std::vector<float>>> score(const LanguageModel& model,
                                              std::span<const ScoreRequest> requests,
                                              const ProgressSink& progress) {
  std::vector<std::vector<int32_t>> sequences;
  size_t longest = 1;
  for (const ScoreRequest& request : requests) {
    CANDOR_TRY(std::vector<int32_t> ids, sequence_of(model, request));
    longest = std::max(longest, ids.size());
    sequences.push_back(std::move(ids));
  }
  if (requests.empty()) return std::vector<std::vector<float>>();
  return Scoring(model, requests, std::move(sequences), static_cast<int64_t>(longest))
      .run(progress);
}

Result<std::vector<float>> logits(const LanguageModel& model, std::span<const int32_t> token_ids) {
  if (token_ids.empty()) return invalid_argument("a sequence has no token");
  CANDOR_RETURN_IF_ERROR(check_sequence(model, token_ids));
  const auto length = static_cast<int64_t>(token_ids.size());
  const int64_t vocabulary = model.config().vocabulary_size;
  Decoder decoder(model, 1, length, std::min(length, kLogitRows));
  std::vector<float> out(static_cast<size_t>(length * vocabulary));
  std::vector<Decoder::Row> rows;
  for (int64_t begin = 0; begin < length; begin += kLogitRows) {
    CANDOR_RETURN_IF_ERROR(check_interrupted());
    rows.clear();
    for (int64_t t = begin; t < std::min(length, begin + kLogitRows); ++t) {
      rows.push_back({token_ids[static_cast<size_t>(t)], 0, t});
    }
    decoder.forward(rows);
    decoder.logits(0, static_cast<int64_t>(rows.size()), out.data() + begin * vocabulary);
  }
  return out;
}

}  // namespace candor
