#include "base/strings.h"
#include "lm/mixture_generate.h"
#include "worker/generation_records.h"
#include "worker/menu_spec.h"
#include "worker/stage.h"

namespace candor {

namespace {

// Replies of one candidate, for metrics.json.
struct Tally {
  size_t replies = 0;
  size_t tokens = 0;
  size_t stopped = 0;
  double logprob = 0;

  void add(const Generation& generation) {
    ++replies;
    tokens += generation.token_ids.size();
    stopped += generation.finish_reason == FinishReason::kStop ? 1 : 0;
    logprob += generation.logprob;
  }
  [[nodiscard]] Json json(const std::string& name) const {
    const auto count = static_cast<double>(replies);
    return {{"name", name},
            {"replies", replies},
            {"tokens", tokens},
            {"mean_tokens", static_cast<double>(tokens) / count},
            {"stopped_share", static_cast<double>(stopped) / count},
            {"mean_logprob", logprob / count}};
  }
};

}  // namespace

Status run_menu_bank_stage(const StageRequest& request, const ProgressSink& progress) {
  JsonReader spec(request.spec, request.source, "$.spec");
  CANDOR_TRY(const MenuSpec menu, read_menu_spec(request, spec, true));
  const int64_t samples = spec.integer("samples", 1, 1 << 20);
  const GenerateOptions options = read_generate_options(spec);
  const size_t max_prompts = read_max_prompts(spec);
  CANDOR_RETURN_IF_ERROR(spec.finish());
  CANDOR_TRY(const std::filesystem::path model_path, request.path("model"));
  CANDOR_TRY(const std::filesystem::path prompts_path, request.path("prompts"));
  CANDOR_TRY(const LanguageModel model, LanguageModel::load(model_path, menu.load));
  CANDOR_TRY(std::vector<MenuPrompt> prompts, read_menu_prompts(model, prompts_path));
  if (prompts.size() > max_prompts) prompts.resize(max_prompts);
  CANDOR_TRY(const std::vector<Generation> generations,
             generate_menu(LanguageSlotModel(model), menu.candidates, prompts, samples, options,
                           progress));
  std::string bank;
  Json candidates = Json::array();
  size_t next = 0;
  for (const CandidateModel& candidate : menu.candidates) {
    Tally tally;
    for (const MenuPrompt& prompt : prompts) {
      for (int64_t sample = 0; sample < samples; ++sample, ++next) {
        CANDOR_TRY(Json line, generation_line(model, generations[next]));
        line["candidate"] = candidate.name;
        line["prompt_index"] = prompt.index;
        line["sample"] = sample;
        bank += to_line(line) + "\n";
        tally.add(generations[next]);
      }
    }
    candidates.push_back(tally.json(candidate.name));
  }
  const Json metrics = {{"candor", "menu-bank-metrics/1"}, {"candidates", std::move(candidates)}};
  CANDOR_RETURN_IF_ERROR(write_artifact(request, "bank.jsonl", bank));
  return write_artifact(request, "metrics.json", to_text(metrics));
}

}  // namespace candor
