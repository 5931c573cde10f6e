#include "base/strings.h"
#include "formats/npy.h"
#include "formats/records.h"
#include "worker/reward_function.h"
#include "worker/stage.h"

namespace candor {

namespace {

// The prompt that each line of the bank answers, by its prompt_index.
Status add_prompts(const StageRequest& request, const std::vector<Json>& bank,
                   const std::string& bank_name, std::vector<RewardRequest>& requests) {
  CANDOR_TRY(const std::filesystem::path prompts_path, request.path("prompts"));
  CANDOR_TRY(const std::vector<Json> records, read_jsonl(prompts_path));
  std::vector<std::string> prompts;
  for (size_t i = 0; i < records.size(); ++i) {
    CANDOR_TRY(std::string prompt,
               reward_prompt_text(records[i], str_cat(prompts_path.string(), ":", i + 1)));
    prompts.push_back(std::move(prompt));
  }
  for (size_t i = 0; i < bank.size(); ++i) {
    JsonReader line(bank[i], str_cat(bank_name, ":", i + 1));
    const int64_t prompt =
        line.integer("prompt_index", 0, static_cast<int64_t>(prompts.size()) - 1);
    CANDOR_RETURN_IF_ERROR(line.status());
    requests[i].prompt = prompts[static_cast<size_t>(prompt)];
  }
  return {};
}

}  // namespace

Status run_score_stage(const StageRequest& request, const ProgressSink& progress) {
  JsonReader spec(request.spec, request.source, "$.spec");
  (void)spec.text("bank_digest");
  const int threads = read_machine(spec);
  JsonReader reward = spec.object("reward");
  CANDOR_RETURN_IF_ERROR(spec.status());
  CANDOR_TRY(const std::filesystem::path bank_path, request.path("bank"));
  CANDOR_TRY(const std::vector<Json> bank, read_jsonl(bank_path));
  std::vector<RewardRequest> requests;
  for (size_t i = 0; i < bank.size(); ++i) {
    JsonReader line(bank[i], str_cat(bank_path.string(), ":", i + 1));
    const Json& text = line.any("text");
    if (!text.is_string()) return line.error_at("text", "expected a text");
    requests.push_back({.prompt = {}, .completion = text.get<std::string>()});
  }
  CANDOR_TRY(const RewardFunction function,
             RewardFunction::load(
                 reward, [&](const std::string& name) { return request.path(name); }, threads));
  CANDOR_RETURN_IF_ERROR(reward.finish());
  const std::string prompts_digest = spec.text_or("prompts_digest", "");
  CANDOR_RETURN_IF_ERROR(spec.status());
  if (function.needs_prompt()) {
    if (prompts_digest.empty()) {
      return spec.error_at("prompts_digest", "expected the prompts' digest: the reward reads them");
    }
    CANDOR_RETURN_IF_ERROR(add_prompts(request, bank, bank_path.string(), requests));
  }
  CANDOR_RETURN_IF_ERROR(spec.finish());
  Result<std::vector<double>> scores = function.score(requests, progress);
  if (!scores.ok()) {
    return Error{scores.error().code, str_cat(bank_path.string(), ": ", scores.error().message)};
  }
  return write_artifact(request, "scores.npy", npy_bytes(*scores));
}

}  // namespace candor
