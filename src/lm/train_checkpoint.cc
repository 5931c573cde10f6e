#include "lm/train_checkpoint.h"

#include <cstring>
#include <utility>

#include "base/strings.h"
#include "formats/safetensors.h"
#include "formats/safetensors_writer.h"

namespace candor {

namespace {

constexpr const char* kState = "state";  // in the file's metadata
constexpr const char* kFormat = "candor";
constexpr const char* kRun = "run";

Result<Json> state_of(const SafeTensors& file, const std::filesystem::path& path) {
  const auto state = file.metadata().find(kState);
  if (state == file.metadata().end()) {
    return invalid_argument(str_cat(path.string(), ": holds no training state"));
  }
  return parse_json(state->second, path.string());
}

}  // namespace

Status save_checkpoint(const std::filesystem::path& path, const Json& state,
                       const std::vector<NamedTensor>& tensors) {
  std::vector<TensorToWrite> out;
  for (const NamedTensor& tensor : tensors) {
    out.push_back(tensor_to_write(tensor.name, tensor.value.sizes().vec(),
                                  tensor.value.const_data_ptr<float>(), false));
  }
  return write_safetensors(path, std::move(out), {{kState, to_line(state)}});
}

Result<Json> load_checkpoint(const std::filesystem::path& path,
                             const std::vector<NamedTensor>& tensors) {
  CANDOR_TRY(const SafeTensors file, SafeTensors::open(path));
  CANDOR_TRY(Json state, state_of(file, path));
  if (file.tensors().size() != tensors.size()) {
    return invalid_argument(str_cat(path.string(), ": holds ", file.tensors().size(),
                                    " tensors; this run has ", tensors.size()));
  }
  for (const NamedTensor& tensor : tensors) {
    CANDOR_TRY(const SafeTensor* stored, file.find(tensor.name));
    if (stored->dtype != "F32" || stored->shape != tensor.value.sizes().vec()) {
      return invalid_argument(str_cat(path.string(), ": tensor ", quote(tensor.name),
                                      " has another type or shape than this run's"));
    }
    std::memcpy(tensor.value.mutable_data_ptr<float>(), stored->bytes.data(), stored->bytes.size());
    tensor.value.unsafeGetTensorImpl()->bump_version();
  }
  return state;
}

Json new_checkpoint_state(const CheckpointKind& kind) {
  return {{kFormat, kind.format}, {kRun, kind.run.json()}};
}

Result<std::optional<Json>> read_checkpoint_state(const std::filesystem::path& path,
                                                  const CheckpointKind& kind) {
  if (!std::filesystem::exists(path)) return std::optional<Json>();
  CANDOR_TRY(const SafeTensors file, SafeTensors::open(path));
  CANDOR_TRY(Json state, state_of(file, path));
  JsonReader in(state, path.string());
  const std::vector<std::string> formats = {kind.format};
  in.choice(kFormat, formats);
  const Json& run = in.any(kRun);
  CANDOR_RETURN_IF_ERROR(in.status());
  CANDOR_RETURN_IF_ERROR(kind.run.check(run, path));
  return std::optional<Json>(std::move(state));
}

JsonReader checkpoint_reader(const Json& state, const std::filesystem::path& path) {
  JsonReader in(state, path.string());
  (void)in.any(kFormat);
  (void)in.any(kRun);
  return in;
}

std::vector<NamedTensor> checkpoint_tensors(AdamW& optimizer) {
  std::vector<NamedTensor> out;
  const std::vector<NamedTensor>& parameters = optimizer.parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    out.push_back({"parameter." + parameters[i].name, parameters[i].value.detach()});
    out.push_back({"first." + parameters[i].name, optimizer.first_moments()[i]});
    out.push_back({"second." + parameters[i].name, optimizer.second_moments()[i]});
  }
  return out;
}

}  // namespace candor
