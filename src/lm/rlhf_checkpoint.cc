#include "lm/rlhf_checkpoint.h"

#include <utility>

#include "base/crash_point.h"
#include "base/strings.h"
#include "lm/train_checkpoint.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

constexpr const char* kFile = "rlhf.safetensors";
constexpr const char* kFormat = "rlhf-checkpoint/2";

std::vector<NamedTensor> tensors_of(PolicyTrainer& trainer) {
  std::vector<NamedTensor> out = checkpoint_tensors(trainer.policy_optimizer());
  if (trainer.value_optimizer() == nullptr) return out;
  for (NamedTensor& tensor : checkpoint_tensors(*trainer.value_optimizer())) {
    out.push_back(std::move(tensor));
  }
  return out;
}

}  // namespace

Status save_rlhf_checkpoint(const fs::path& folder, const TrainIdentity& run,
                            const RlhfState& state, PolicyTrainer& trainer) {
  std::error_code code;
  fs::create_directories(folder, code);
  if (code) return resource_error(str_cat(folder.string(), ": ", code.message()));
  AdamW* value = trainer.value_optimizer();
  Json json = new_checkpoint_state({kFormat, run});
  json.update({{"step", state.step},
               {"optimizer_steps", trainer.policy_optimizer().step_count()},
               {"value_optimizer_steps", value == nullptr ? 0 : value->step_count()},
               {"kl_coefficient", state.kl_coefficient},
               {"metrics", state.metrics}});
  crash_point("rlhf.before_checkpoint");
  CANDOR_RETURN_IF_ERROR(save_checkpoint(folder / kFile, json, tensors_of(trainer)));
  crash_point("rlhf.after_checkpoint");
  return {};
}

Result<std::optional<RlhfState>> load_rlhf_checkpoint(const fs::path& folder,
                                                      const TrainIdentity& run,
                                                      PolicyTrainer& trainer) {
  const fs::path file = folder / kFile;
  CANDOR_TRY(const std::optional<Json> json, read_checkpoint_state(file, {kFormat, run}));
  if (!json.has_value()) return std::optional<RlhfState>();
  JsonReader in = checkpoint_reader(*json, file);
  RlhfState state;
  state.step = in.integer("step", 1, INT32_MAX);
  const int64_t policy_steps = in.integer("optimizer_steps", 0, INT64_MAX);
  const int64_t value_steps = in.integer("value_optimizer_steps", 0, INT64_MAX);
  state.kl_coefficient = in.number("kl_coefficient", 0, 1e300);
  const Json& metrics = in.any("metrics");
  if (!metrics.is_array()) in.fail("metrics", "expected an array");
  CANDOR_RETURN_IF_ERROR(in.finish());
  state.metrics.assign(metrics.begin(), metrics.end());
  CANDOR_TRY(const Json again, load_checkpoint(file, tensors_of(trainer)));
  trainer.policy_optimizer().set_step_count(policy_steps);
  if (trainer.value_optimizer() != nullptr) trainer.value_optimizer()->set_step_count(value_steps);
  return std::optional<RlhfState>(std::move(state));
}

}  // namespace candor
