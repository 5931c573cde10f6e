#include "base/strings.h"
#include "formats/records.h"
#include "worker/generation_records.h"
#include "worker/stage.h"

namespace candor {

namespace {

struct BankSpec {
  LoadOptions load;
  SampleOptions sampling;
  size_t max_prompts = SIZE_MAX;
};

Result<BankSpec> read_spec(const StageRequest& request) {
  static const std::vector<std::string> kDtypes = {"f32", "bf16"};
  JsonReader spec(request.spec, request.source, "$.spec");
  BankSpec out;
  (void)spec.text("model_digest");
  (void)spec.text("prompts_digest");
  out.sampling.samples = spec.integer("samples", 1, 1 << 20);
  out.sampling.generate = read_generate_options(spec);
  out.load.dtype = spec.choice("dtype", kDtypes) == "bf16" ? Dtype::kBf16 : Dtype::kF32;
  out.load.threads = read_machine(spec);
  out.max_prompts = read_max_prompts(spec);
  CANDOR_RETURN_IF_ERROR(spec.finish());
  return out;
}

}  // namespace

Status run_bank_stage(const StageRequest& request, const ProgressSink& progress) {
  CANDOR_TRY(const BankSpec spec, read_spec(request));
  CANDOR_TRY(const std::filesystem::path model_path, request.path("model"));
  CANDOR_TRY(const std::filesystem::path prompts_path, request.path("prompts"));
  CANDOR_TRY(std::vector<Json> prompts, read_jsonl(prompts_path));
  if (prompts.empty()) return invalid_argument(str_cat(prompts_path.string(), ": holds no prompt"));
  if (prompts.size() > spec.max_prompts) prompts.resize(spec.max_prompts);
  CANDOR_TRY(const LanguageModel model, LanguageModel::load(model_path, spec.load));
  CANDOR_TRY(const std::vector<Json> lines,
             sample_records(model, prompts, prompts_path.string(), spec.sampling, progress));
  std::string bank;
  int64_t tokens = 0;
  int64_t stopped = 0;
  double logprob = 0;
  for (const Json& line : lines) {
    bank += to_line(line) + "\n";
    tokens += static_cast<int64_t>(line["token_ids"].size());
    stopped += line["finish_reason"] == "stop" ? 1 : 0;
    logprob += line["logprob"].get<double>();
  }
  const auto count = static_cast<double>(lines.size());
  const Json metrics = {{"candor", "bank-metrics/1"},
                        {"replies", lines.size()},
                        {"tokens", tokens},
                        {"mean_tokens", static_cast<double>(tokens) / count},
                        {"stopped_share", static_cast<double>(stopped) / count},
                        {"mean_logprob", logprob / count}};
  CANDOR_RETURN_IF_ERROR(write_artifact(request, "bank.jsonl", bank));
  return write_artifact(request, "metrics.json", to_text(metrics));
}

}  // namespace candor
