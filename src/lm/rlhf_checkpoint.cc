#include "lm/rlhf_checkpoint.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/crash_point.h"
#include "base/file.h"
#include "base/strings.h"
#include "formats/safetensors.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefix = "step-";

// Every tensor that training changes, under a name of its own.
std::vector<NamedTensor> tensors_of(PolicyTrainer& trainer) {
  std::vector<NamedTensor> out;
  const auto add = [&](AdamW& optimizer) {
    for (size_t i = 0; i < optimizer.parameters().size(); ++i) {
      const NamedTensor& parameter = optimizer.parameters()[i];
      out.push_back({parameter.name, parameter.value.detach()});
      out.push_back({parameter.name + ".exp_avg", optimizer.first_moments()[i]});
      out.push_back({parameter.name + ".exp_avg_sq", optimizer.second_moments()[i]});
    }
  };
  add(trainer.policy_optimizer());
  if (trainer.value_optimizer() != nullptr) add(*trainer.value_optimizer());
  return out;
}

std::string step_name(int64_t step) {
  const std::string digits = std::to_string(step);
  return str_cat(kPrefix, std::string(8 - std::min<size_t>(8, digits.size()), '0'), digits);
}

// Names of whole checkpoints, the latest last.
std::vector<std::string> checkpoints_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code code;
  for (fs::directory_iterator entry(folder, code), end; !code && entry != end;
       entry.increment(code)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with(kPrefix)) names.push_back(name);
  }
  std::ranges::sort(names);
  return names;
}

Status load_tensors(const fs::path& file, PolicyTrainer& trainer) {
  CANDOR_TRY(const SafeTensors tensors, SafeTensors::open(file));
  for (const NamedTensor& target : tensors_of(trainer)) {
    CANDOR_TRY(const SafeTensor* found, tensors.find(target.name));
    if (found->dtype != "F32" || found->shape != target.value.sizes().vec()) {
      return invalid_argument(
          str_cat(file.string(), ": ", quote(target.name), " is not of this run's shape"));
    }
    at::Tensor destination = target.value;
    std::memcpy(destination.mutable_data_ptr<float>(), found->bytes.data(), found->bytes.size());
  }
  return {};
}

}  // namespace

Status save_checkpoint(const fs::path& folder, const std::string& identity, const RlhfState& state,
                       PolicyTrainer& trainer) {
  const std::string name = step_name(state.step);
  const fs::path partial = folder / ("." + name);
  std::error_code code;
  fs::remove_all(partial, code);  // what a killed run left
  fs::create_directories(partial, code);
  if (code) return resource_error(str_cat(partial.string(), ": ", code.message()));
  std::vector<NamedFloats> tensors;
  for (const NamedTensor& tensor : tensors_of(trainer)) {
    const auto* data = tensor.value.const_data_ptr<float>();
    tensors.push_back({tensor.name, tensor.value.sizes().vec(),
                       std::vector<float>(data, data + tensor.value.numel())});
  }
  CANDOR_RETURN_IF_ERROR(
      write_new_file(partial / "tensors.safetensors", float_safetensors_bytes(tensors)));
  AdamW* value = trainer.value_optimizer();
  const Json json = {{"candor", "rlhf-checkpoint/1"},
                     {"identity", identity},
                     {"step", state.step},
                     {"optimizer_steps", trainer.policy_optimizer().step_count()},
                     {"value_optimizer_steps", value == nullptr ? 0 : value->step_count()},
                     {"kl_coefficient", state.kl_coefficient},
                     {"metrics", state.metrics}};
  CANDOR_RETURN_IF_ERROR(write_new_file(partial / "state.json", to_text(json)));
  crash_point("rlhf.before_checkpoint");
  CANDOR_RETURN_IF_ERROR(commit_directory(partial, folder / name));
  crash_point("rlhf.after_checkpoint");
  for (const std::string& other : checkpoints_in(folder)) {
    if (other != name) fs::remove_all(folder / other, code);
  }
  return {};
}

Result<std::optional<RlhfState>> load_checkpoint(const fs::path& folder,
                                                 const std::string& identity,
                                                 PolicyTrainer& trainer) {
  const std::vector<std::string> names = checkpoints_in(folder);
  if (names.empty()) return std::optional<RlhfState>();
  const fs::path path = folder / names.back();
  const std::string file = (path / "state.json").string();
  CANDOR_TRY(const Json json, read_json_file(file));
  JsonReader in(json, file);
  static const std::vector<std::string> kFormat = {"rlhf-checkpoint/1"};
  in.choice("candor", kFormat);
  if (in.text("identity") != identity) {
    return in.error_at("identity",
                       "the checkpoint is of another run (settings, prompts, rewards, seed, model "
                       "or machine); give another folder, or remove it");
  }
  RlhfState state;
  state.step = in.integer("step", 1, INT32_MAX);
  const int64_t policy_steps = in.integer("optimizer_steps", 0, INT64_MAX);
  const int64_t value_steps = in.integer("value_optimizer_steps", 0, INT64_MAX);
  state.kl_coefficient = in.number("kl_coefficient", 0, 1e300);
  for (JsonReader& line : in.objects("metrics")) state.metrics.push_back(line.json());
  CANDOR_RETURN_IF_ERROR(in.finish());
  CANDOR_RETURN_IF_ERROR(load_tensors(path / "tensors.safetensors", trainer));
  trainer.policy_optimizer().set_step_count(policy_steps);
  if (trainer.value_optimizer() != nullptr) trainer.value_optimizer()->set_step_count(value_steps);
  return std::optional<RlhfState>(std::move(state));
}

}  // namespace candor
