#include "base/strings.h"
#include "lm/menu_check.h"
#include "worker/menu_spec.h"
#include "worker/stage.h"

namespace candor {

namespace {

// An expert's model with its adapter merged, kept alive with its view.
class MergedExpert : public LanguageSlotModel {
 public:
  explicit MergedExpert(std::unique_ptr<LanguageModel> model)
      : LanguageSlotModel(*model), model_(std::move(model)) {}

 private:
  std::unique_ptr<LanguageModel> model_;
};

}  // namespace

Status run_menu_check_stage(const StageRequest& request, const ProgressSink& progress) {
  JsonReader spec(request.spec, request.source, "$.spec");
  CANDOR_TRY(const MenuSpec menu, read_menu_spec(request, spec, false));
  const auto prompt_count = static_cast<size_t>(spec.integer("prompts", 1, 1 << 20));
  MenuCheckOptions options;
  options.positions = spec.integer("positions", 1, 64);
  CANDOR_RETURN_IF_ERROR(spec.finish());
  CANDOR_TRY(const std::filesystem::path model_path, request.path("model"));
  CANDOR_TRY(const std::filesystem::path prompts_path, request.path("prompts"));
  CANDOR_TRY(const LanguageModel model, LanguageModel::load(model_path, menu.load));
  CANDOR_TRY(std::vector<MenuPrompt> prompts, read_menu_prompts(model, prompts_path));
  prompts.resize(std::min(prompts.size(), prompt_count));
  const ExpertSource experts = [&](int64_t expert) -> Result<std::unique_ptr<SlotModel>> {
    if (progress) {
      progress(static_cast<uint64_t>(expert), menu.load.row_adapters.size(), "experts");
    }
    CANDOR_TRY(LanguageModel merged,
               LanguageModel::load(
                   model_path,
                   {.dtype = menu.load.dtype,
                    .threads = menu.load.threads,
                    .adapters = {{menu.load.row_adapters[static_cast<size_t>(expert)], 1.0}}}));
    return std::unique_ptr<SlotModel>(
        std::make_unique<MergedExpert>(std::make_unique<LanguageModel>(std::move(merged))));
  };
  CANDOR_TRY(const std::vector<MenuCheck> checks,
             check_menu(LanguageSlotModel(model), experts, {menu.specs, menu.candidates}, prompts,
                        options));
  Json list = Json::array();
  bool passed = true;
  for (const MenuCheck& check : checks) {
    passed = passed && check.passed;
    list.push_back({{"name", check.name},
                    {"passed", check.passed},
                    {"detail", str_cat("total variation ", check.distance,
                                       check.endpoint ? ", at most " : ", at least ", check.limit)},
                    {"distance", check.distance},
                    {"limit", check.limit}});
  }
  const Json out = {{"candor", "menu-check/1"}, {"passed", passed}, {"checks", std::move(list)}};
  return write_artifact(request, "checks.json", to_text(out));
}

}  // namespace candor
