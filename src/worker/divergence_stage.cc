#include <algorithm>
#include <cmath>
#include <map>

#include "base/strings.h"
#include "formats/npy.h"
#include "formats/records.h"
#include "lm/divergence_estimate.h"
#include "study/divergence_spec.h"
#include "worker/menu_spec.h"
#include "worker/stage.h"

namespace candor {

namespace {

// A line of a menu's bank, as far as a divergence needs it.
struct BankReply {
  size_t candidate = 0;
  size_t prompt = 0;
  std::vector<int32_t> token_ids;
  double logprob = 0;
};

struct Bank {
  std::string name;  // of the file
  std::vector<BankReply> replies;
};

Result<Bank> read_bank(const std::filesystem::path& file,
                       const std::vector<CandidateModel>& candidates, size_t prompt_count) {
  std::map<std::string, size_t> index;
  for (size_t k = 0; k < candidates.size(); ++k) index[candidates[k].name] = k;
  Bank out{file.string(), {}};
  CANDOR_TRY(const std::vector<Json> lines, read_jsonl(file));
  for (size_t i = 0; i < lines.size(); ++i) {
    JsonReader in(lines[i], str_cat(file.string(), ":", i + 1));
    BankReply reply;
    const std::string name = in.text("candidate");
    const std::vector<double> ids = in.numbers("token_ids");
    reply.prompt =
        static_cast<size_t>(in.integer("prompt_index", 0, static_cast<int64_t>(prompt_count) - 1));
    reply.logprob = in.number("logprob");
    CANDOR_RETURN_IF_ERROR(in.status());
    const auto found = index.find(name);
    if (found == index.end()) {
      return in.error_at("candidate",
                         str_cat("found ", quote(name), "; the stage's candidates lack it"));
    }
    reply.candidate = found->second;
    for (const double id : ids) {
      if (!(id >= 0 && id < (1 << 30) && id == std::floor(id))) {
        return in.error_at("token_ids", str_cat("found ", id, "; expected token ids"));
      }
      reply.token_ids.push_back(static_cast<int32_t>(id));
    }
    out.replies.push_back(std::move(reply));
  }
  if (out.replies.empty()) return invalid_argument(str_cat(file.string(), ": holds no reply"));
  return out;
}

// Positions that run together at least; their number changes no bit of the result.
constexpr int64_t kRows = 128;

// What a log-probability computed anew may differ by: kernels and batches move the last digits.
constexpr double kLogprobSlack = 1e-2;

// The reply's contribution; an error where bank and candidates do not belong together.
Result<ReplyDivergence> contribution(const Divergence& divergence, const BankReply& reply,
                                     const std::vector<TokenComparison>& tokens,
                                     double temperature) {
  double logprob = 0;
  bool clipped = false;
  for (const TokenComparison& token : tokens) {
    logprob += token.candidate_log;
    clipped = clipped || token.clipped;
  }
  if (!std::isfinite(logprob)) {
    return invalid_argument("the candidate gives this reply probability 0; it is not its own");
  }
  const double slack = kLogprobSlack * (1 + static_cast<double>(tokens.size()));
  if (temperature == 1 && std::abs(logprob - reply.logprob) > slack) {
    return invalid_argument(str_cat("$.logprob: found ", reply.logprob, "; the candidate gives ",
                                    logprob, ": bank and candidates do not belong together"));
  }
  const ReplyDivergence out = reply_divergence(divergence, tokens);
  if (std::isfinite(out.value) || (clipped && out.value > 0)) return out;
  return invalid_argument(str_cat("the reply's log-ratio is ", out.log_ratio, ": its ",
                                  divergence_name(divergence.kind),
                                  " contribution is beyond what a double holds"));
}

Json number_or_infinite(double value) {
  return std::isfinite(value) ? Json(value) : Json("infinite");
}

Json summary_json(const std::string& name, std::span<const ReplyDivergence> replies) {
  const DivergenceSummary summary = summarize(replies);
  Json out = {{"name", name},
              {"replies", replies.size()},
              {"mean", number_or_infinite(summary.mean)},
              {"mean_log_ratio", summary.mean_log_ratio},
              {"log_ratio_standard_error", summary.log_ratio_error},
              {"smallest_log_ratio", summary.smallest_log_ratio},
              {"largest_log_ratio", summary.largest_log_ratio}};
  if (std::isfinite(summary.mean)) {
    out["standard_error"] = summary.standard_error;
    out["largest_share"] = summary.largest_share;
  }
  return out;
}

}  // namespace

Status run_divergence_stage(const StageRequest& request, const ProgressSink& progress) {
  JsonReader spec(request.spec, request.source, "$.spec");
  CANDOR_TRY(const MenuSpec menu, read_menu_spec(request, spec, true));
  (void)spec.text("bank_digest");
  const Divergence divergence = read_divergence(spec);
  MenuScoreOptions options;
  options.temperature = spec.number("temperature", 1e-3, 100.0);
  options.rows = std::max<int64_t>(kRows, spec.integer("batch", 1, 4096));
  CANDOR_RETURN_IF_ERROR(spec.finish());
  CANDOR_TRY(const std::filesystem::path model_path, request.path("model"));
  CANDOR_TRY(const std::filesystem::path prompts_path, request.path("prompts"));
  CANDOR_TRY(const std::filesystem::path bank_path, request.path("bank"));
  CANDOR_TRY(const LanguageModel model, LanguageModel::load(model_path, menu.load));
  CANDOR_TRY(const std::vector<MenuPrompt> prompts, read_menu_prompts(model, prompts_path));
  CANDOR_TRY(const Bank bank, read_bank(bank_path, menu.candidates, prompts.size()));
  std::vector<MenuReply> replies;
  for (const BankReply& reply : bank.replies) {
    replies.push_back({reply.candidate, prompts[reply.prompt].ids, reply.token_ids});
  }
  const auto scored =
      score_menu(LanguageSlotModel(model), menu.candidates, replies, options, progress);
  if (!scored.ok()) {
    return Error{scored.error().code, str_cat(bank.name, ": ", scored.error().message)};
  }
  std::vector<double> values;
  std::vector<std::vector<ReplyDivergence>> by_candidate(menu.candidates.size());
  for (size_t r = 0; r < replies.size(); ++r) {
    const Result<ReplyDivergence> one =
        contribution(divergence, bank.replies[r], (*scored)[r], options.temperature);
    if (!one.ok()) {
      return invalid_argument(str_cat(bank.name, ":", r + 1, ": ", one.error().message));
    }
    values.push_back(one->value);
    by_candidate[bank.replies[r].candidate].push_back(*one);
  }
  Json candidates = Json::array();
  for (size_t k = 0; k < menu.candidates.size(); ++k) {
    if (by_candidate[k].empty()) continue;
    candidates.push_back(summary_json(menu.candidates[k].name, by_candidate[k]));
  }
  const Json metrics = {{"candor", "divergence-metrics/1"}, {"candidates", std::move(candidates)}};
  CANDOR_RETURN_IF_ERROR(write_artifact(request, "divergence.npy", npy_bytes(values)));
  return write_artifact(request, "metrics.json", to_text(metrics));
}

}  // namespace candor
