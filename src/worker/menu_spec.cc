#include "worker/menu_spec.h"

#include <set>

#include "base/strings.h"
#include "formats/records.h"
#include "study/divergence_spec.h"
#include "worker/generation_records.h"

namespace candor {

namespace {

// {"name","kind":"initial"} | {"kind":"soup","weights"} | {"kind":"mixture","weights","divergence"}
// | {"kind":"adapter","index"}
Result<CandidateSpec> read_candidate(JsonReader in) {
  static const std::vector<std::string> kKinds = {"initial", "soup", "mixture", "adapter"};
  CandidateSpec out{.name = in.text("name")};
  const std::string kind = in.choice("kind", kKinds);
  CANDOR_RETURN_IF_ERROR(in.status());
  if (kind == "soup" || kind == "mixture") out.weights = in.numbers("weights");
  if (kind == "soup") out.kind = CandidateKind::kSoup;
  if (kind == "mixture") {
    out.kind = CandidateKind::kMixture;
    out.divergence = read_divergence(in);
  }
  if (kind == "adapter") {
    out.kind = CandidateKind::kAdapter;
    out.adapter = in.integer("index", 0, 1 << 20);
  }
  CANDOR_RETURN_IF_ERROR(in.finish());
  return out;
}

}  // namespace

Result<MenuSpec> read_menu_spec(const StageRequest& request, JsonReader& spec, bool with_dtype) {
  static const std::vector<std::string> kDtypes = {"f32", "bf16"};
  MenuSpec out;
  (void)spec.text("model_digest");
  (void)spec.text("prompts_digest");
  const size_t adapters = spec.texts("adapter_digests").size();
  std::vector<JsonReader> candidates = spec.objects("candidates");
  if (with_dtype && spec.choice("dtype", kDtypes) == "bf16") out.load.dtype = Dtype::kBf16;
  out.load.threads = read_machine(spec);
  if (candidates.empty()) spec.fail("candidates", "found none; expected 1 or more");
  CANDOR_RETURN_IF_ERROR(spec.status());
  std::set<std::string> names;
  for (size_t k = 0; k < candidates.size(); ++k) {
    CANDOR_TRY(CandidateSpec candidate, read_candidate(candidates[k]));
    const std::string where = str_cat(request.source, ": $.spec.candidates[", k, "]");
    if (!names.insert(candidate.name).second) {
      return invalid_argument(
          str_cat(where, ".name: ", quote(candidate.name), " is there already"));
    }
    Result<CandidateModel> model = candidate_of(candidate, static_cast<int64_t>(adapters));
    if (!model.ok()) return invalid_argument(str_cat(where, ": ", model.error().message));
    out.candidates.push_back(std::move(model).value());
    out.specs.push_back(std::move(candidate));
  }
  for (size_t i = 0; i < adapters; ++i) {
    CANDOR_TRY(std::filesystem::path folder, request.path(str_cat("adapter_", i)));
    out.load.row_adapters.push_back(std::move(folder));
  }
  return out;
}

Result<std::vector<MenuPrompt>> read_menu_prompts(const LanguageModel& model,
                                                  const std::filesystem::path& file) {
  CANDOR_TRY(const std::vector<Json> records, read_jsonl(file));
  if (records.empty()) return invalid_argument(str_cat(file.string(), ": holds no prompt"));
  CANDOR_TRY(std::vector<std::vector<int32_t>> prompts,
             encode_prompts(model, records, file.string(), {}));
  std::vector<MenuPrompt> out;
  for (size_t i = 0; i < prompts.size(); ++i) {
    out.push_back({std::move(prompts[i]), static_cast<uint32_t>(i)});
  }
  return out;
}

}  // namespace candor
