#include "study/menu_stages.h"

#include "base/strings.h"
#include "study/divergence_spec.h"

namespace candor {

namespace {

constexpr uint32_t kMenuStream = 2;  // the bank that prices
constexpr uint32_t kReferenceStream = 1;
constexpr int64_t kCheckedPrompts = 4;
constexpr int64_t kCheckedPositions = 4;

Json candidates_json(const MenuPipeline& pipeline, const MenuBank& bank) {
  Json out = Json::array();
  for (const MenuCandidate& candidate : bank.candidates) {
    out.push_back(candidate_json(candidate, pipeline.study().divergence));
  }
  return out;
}

void add_adapters(const MenuBank& bank, Stage& stage) {
  stage.spec["adapter_digests"] = Json::array();
  for (size_t a = 0; a < bank.adapters.size(); ++a) {
    stage.spec["adapter_digests"].push_back(bank.adapters[a].digest);
    stage.inputs[str_cat("adapter_", a)] = {bank.adapters[a].path, bank.adapters[a].digest};
  }
}

// RlhfSettings of the worker; names are TRL's.
Json rlhf_settings(const Study& study, const ExpertRun& run) {
  const ExpertChoice& experts = *study.menu->experts;
  const int64_t replies = experts.prompts_per_step * experts.num_generations;
  const bool bf16 = study.dtype == "bf16";
  return {{"algorithm", experts.algorithm},
          {"kl_coefficient", run.kl_coefficient},
          {"num_generations", experts.num_generations},
          {"per_device_train_batch_size", experts.per_device_train_batch_size},
          {"gradient_accumulation_steps", replies / experts.per_device_train_batch_size},
          {"total_steps", run.steps},
          {"max_new_tokens", experts.max_new_tokens},
          {"temperature", experts.temperature},
          {"learning_rate", experts.learning_rate},
          {"lr_scheduler_type", experts.lr_scheduler_type},
          {"lora_r", experts.lora.rank},
          {"lora_alpha", experts.lora.lora_alpha},
          {"lora_dropout", experts.lora.dropout},
          {"lora_target_modules", experts.lora.target_modules},
          {"bf16", bf16},
          {"sampler_bf16", bf16}};
}

}  // namespace

Stage sft_stage(const MenuPipeline& pipeline) {
  const SftChoice& sft = *pipeline.study().menu->sft;
  Json settings = {{"max_steps", sft.steps},
                   {"per_device_train_batch_size", sft.batch},
                   {"max_length", sft.max_length_tokens},
                   {"learning_rate", sft.learning_rate}};
  Stage stage{.kind = "sft",
              .label = "sft",
              .spec = {{"model_digest", pipeline.base.model_digest},
                       {"data_digest", pipeline.sft_digest},
                       {"settings", std::move(settings)},
                       {"model_dtype", pipeline.study().dtype},
                       {"seed", pipeline.study().seed}},
              .inputs = {{"model", pipeline.base.model_input()},
                         {"data", {pipeline.sft_path, pipeline.sft_digest}}}};
  if (sft.lora.has_value()) {
    stage.spec["lora"] = {{"r", sft.lora->rank},
                          {"lora_alpha", sft.lora->lora_alpha},
                          {"lora_dropout", sft.lora->dropout},
                          {"target_modules", sft.lora->target_modules}};
    stage.spec["merge"] = true;  // what follows starts from whole models
  }
  stage.spec["dtype"] = pipeline.study().dtype;
  add_libtorch(pipeline.base.machine, stage.spec);
  return stage;
}

Stage reference_bank_stage(const MenuPipeline& pipeline, const StageInput& model) {
  Stage stage = pipeline.base.bank_stage(true);
  stage.spec["model_digest"] = model.digest;
  stage.spec["stream"] = kReferenceStream;
  stage.inputs["model"] = model;
  return stage;
}

Stage expert_stage(const MenuPipeline& pipeline, const StageInput& model, const ExpertRun& run,
                   const std::vector<ScaledReward>& rewards, const ScaledReward* judge) {
  Stage stage{
      .kind = "rlhf",
      .label = run.name,
      .spec = {{"model_digest", model.digest},
               {"prompts_digest", pipeline.train_prompts_digest},
               {"settings", rlhf_settings(pipeline.study(), run)},
               {"seed", pipeline.study().seed}},
      .inputs = {{"model", model},
                 {"prompts", {pipeline.train_prompts_path, pipeline.train_prompts_digest}}}};
  const auto entry_of = [&](const ScaledReward& one, double weight, const std::string& prefix) {
    Json entry = one.reward.spec;
    entry["weight"] = weight;
    entry["low"] = one.normalizer.low;
    entry["high"] = one.normalizer.high;
    for (const auto& [name, input] : one.reward.inputs) stage.inputs[prefix + name] = input;
    return entry;
  };
  Json list = Json::array();
  for (size_t j = 0; j < rewards.size(); ++j) {
    if (run.weights[j] == 0) continue;
    Json entry = entry_of(rewards[j], run.weights[j], str_cat("reward_", list.size(), "_"));
    entry["name"] = pipeline.study().groups[j].name;
    list.push_back(std::move(entry));
  }
  stage.spec["rewards"] = std::move(list);
  if (judge != nullptr) stage.spec["judge"] = entry_of(*judge, 1, "judge_");
  stage.spec["dtype"] = pipeline.study().dtype;
  add_libtorch(pipeline.base.machine, stage.spec);
  return stage;
}

Stage menu_bank_stage(const MenuPipeline& pipeline, const StageInput& model, const MenuBank& bank,
                      const std::string& suffix) {
  const BankSettings& settings = pipeline.study().bank;
  Stage stage{.kind = "menu_bank",
              .label = "menu bank" + suffix,
              .spec = {{"model_digest", model.digest},
                       {"prompts_digest", pipeline.base.prompts_digest},
                       {"candidates", candidates_json(pipeline, bank)},
                       {"samples", settings.samples},
                       {"max_new_tokens", settings.max_new_tokens},
                       {"temperature", settings.temperature},
                       {"top_p", settings.top_p},
                       {"top_k", settings.top_k},
                       {"seed", pipeline.study().seed},
                       {"stream", kMenuStream},
                       {"batch", settings.batch}},
              .inputs = {{"model", model}, {"prompts", pipeline.base.prompts_input()}}};
  pipeline.base.add_prompt_limit(stage.spec);
  add_adapters(bank, stage);
  stage.spec["dtype"] = pipeline.study().dtype;
  add_kernels(pipeline.base.machine, stage.spec);
  return stage;
}

Stage divergence_stage(const MenuPipeline& pipeline, const StageInput& model, const MenuBank& bank,
                       const std::filesystem::path& bank_file, const std::string& suffix) {
  Json divergence = divergence_json(pipeline.study().divergence);
  divergence["lambda"] = 1.0;  // unit strength: the table applies lambda, and banks outlive it
  Stage stage{.kind = "divergence",
              .label = "divergence" + suffix,
              .spec = {{"model_digest", model.digest},
                       {"prompts_digest", pipeline.base.prompts_digest},
                       {"bank_digest", bank.digest},
                       {"candidates", candidates_json(pipeline, bank)},
                       {"divergence", std::move(divergence)},
                       {"temperature", pipeline.study().bank.temperature},
                       {"batch", pipeline.study().bank.batch}},
              .inputs = {{"model", model},
                         {"prompts", pipeline.base.prompts_input()},
                         {"bank", {bank_file, bank.digest}}}};
  add_adapters(bank, stage);
  stage.spec["dtype"] = pipeline.study().dtype;
  add_kernels(pipeline.base.machine, stage.spec);
  return stage;
}

Stage menu_check_stage(const MenuPipeline& pipeline, const StageInput& model, const MenuBank& bank,
                       const std::string& suffix) {
  Stage stage{.kind = "menu_check",
              .label = "self-tests of the menu" + suffix,
              .spec = {{"model_digest", model.digest},
                       {"prompts_digest", pipeline.base.prompts_digest},
                       {"candidates", candidates_json(pipeline, bank)},
                       {"prompts", kCheckedPrompts},
                       {"positions", kCheckedPositions}},
              .inputs = {{"model", model}, {"prompts", pipeline.base.prompts_input()}}};
  add_adapters(bank, stage);
  add_libtorch(pipeline.base.machine, stage.spec);  // experts with their adapters merged
  return stage;
}

}  // namespace candor
