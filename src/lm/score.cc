#include "lm/score.h"

#include <algorithm>

#include "base/interrupt.h"
#include "base/strings.h"
#include "lm/decoder.h"

namespace candor {

namespace {

constexpr int64_t kRows = 64;  // positions that run, and whose logits are held, at once

// Runs one sequence through slot 0 and hands out the logits of every position.
template <typename Visit>
Status visit_logits(const LanguageModel& model, Decoder& decoder, std::span<const int32_t> ids,
                    int64_t first_needed, std::vector<float>& buffer, const Visit& visit) {
  const auto vocabulary = static_cast<size_t>(model.config().vocabulary_size);
  const auto length = static_cast<int64_t>(ids.size());
  std::vector<Decoder::Row> rows;
  for (int64_t begin = 0; begin < length; begin += kRows) {
    CANDOR_RETURN_IF_ERROR(check_interrupted());
    rows.clear();
    for (int64_t t = begin; t < std::min(length, begin + kRows); ++t) {
      rows.push_back({ids[static_cast<size_t>(t)], 0, t});
    }
    decoder.forward(rows);
    const int64_t from = std::max(begin, first_needed);
    const int64_t count = begin + static_cast<int64_t>(rows.size()) - from;
    if (count <= 0) continue;
    buffer.resize(static_cast<size_t>(count) * vocabulary);
    decoder.logits(from - begin, count, buffer.data());
    for (int64_t i = 0; i < count; ++i) {
      visit(from + i, std::span<const float>(buffer).subspan(static_cast<size_t>(i) * vocabulary,
                                                             vocabulary));
    }
  }
  return {};
}

Status check_sequence(const LanguageModel& model, std::span<const int32_t> ids) {
  if (static_cast<int64_t>(ids.size()) > model.config().context_length) {
    return invalid_argument(str_cat("a sequence of ", ids.size(), " tokens exceeds the context of ",
                                    model.config().context_length));
  }
  return check_token_ids(model, ids);
}

}  // namespace

Result<std::vector<std::vector<float>>> score(const LanguageModel& model,
                                              std::span<const ScoreRequest> requests,
                                              const ProgressSink& progress) {
  size_t longest = 1;
  for (const ScoreRequest& request : requests) {
    if (request.prompt_ids.empty()) {
      return invalid_argument(
          "a prompt has no token; the first token of its completion has no "
          "condition (add special tokens, or a prompt)");
    }
    if (request.completion_ids.empty()) return invalid_argument("a completion has no token");
    CANDOR_RETURN_IF_ERROR(check_sequence(model, request.prompt_ids));
    CANDOR_RETURN_IF_ERROR(check_adapter_weights(model, request.adapter_weights));
    CANDOR_RETURN_IF_ERROR(check_sequence(model, request.completion_ids));
    longest = std::max(longest, request.prompt_ids.size() + request.completion_ids.size());
  }
  Decoder decoder(model, 1, static_cast<int64_t>(longest), kRows);
  std::vector<float> buffer;
  std::vector<std::vector<float>> results;
  for (const ScoreRequest& request : requests) {
    std::vector<int32_t> ids = request.prompt_ids;
    ids.insert(ids.end(), request.completion_ids.begin(), request.completion_ids.end());
    CANDOR_RETURN_IF_ERROR(check_sequence(model, ids));
    // The last token predicts nothing that is asked for.
    const auto first = static_cast<int64_t>(request.prompt_ids.size()) - 1;
    decoder.set_slot_adapters(0, request.adapter_weights);
    std::vector<float>& out = results.emplace_back();
    CANDOR_RETURN_IF_ERROR(visit_logits(model, decoder, std::span(ids).first(ids.size() - 1), first,
                                        buffer, [&](int64_t position, std::span<const float> row) {
                                          out.push_back(static_cast<float>(log_probability(
                                              row, ids[static_cast<size_t>(position) + 1])));
                                        }));
    if (progress) progress(results.size(), requests.size(), "");
  }
  return results;
}

Result<std::vector<float>> logits(const LanguageModel& model, std::span<const int32_t> token_ids) {
  if (token_ids.empty()) return invalid_argument("a sequence has no token");
  CANDOR_RETURN_IF_ERROR(check_sequence(model, token_ids));
  Decoder decoder(model, 1, static_cast<int64_t>(token_ids.size()), kRows);
  std::vector<float> buffer;
  std::vector<float> out;
  CANDOR_RETURN_IF_ERROR(visit_logits(
      model, decoder, token_ids, 0, buffer,
      [&](int64_t, std::span<const float> row) { out.insert(out.end(), row.begin(), row.end()); }));
  return out;
}

}  // namespace candor
