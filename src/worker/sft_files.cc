#include "worker/sft_files.h"

#include <utility>

#include "base/file.h"
#include "base/strings.h"
#include "formats/lora_adapter.h"
#include "lm/model_export.h"

namespace candor {

namespace fs = std::filesystem;

namespace {

template <typename Settings>
Result<Settings> read_settings(JsonReader in) {
  Settings out;
  read_fields(in, out);
  CANDOR_RETURN_IF_ERROR(in.finish());
  return out;
}

}  // namespace

Result<SftSettings> read_sft_settings(JsonReader in) {
  return read_settings<SftSettings>(std::move(in));
}

Result<LoraSettings> read_lora_settings(JsonReader in) {
  return read_settings<LoraSettings>(std::move(in));
}

Status write_trained(const TrainableDecoder& model, const TrainedFiles& files,
                     const fs::path& folder) {
  const bool lora = model.options().lora.has_value() && files.form == TrainedForm::kAsTrained;
  const fs::path target = folder / (lora ? "adapter" : "model");
  const fs::path partial = folder / (lora ? ".adapter.partial" : ".model.partial");
  std::error_code code;
  fs::remove_all(partial, code);  // what a killed run left
  if (!code) fs::create_directories(partial, code);
  if (code) return resource_error(str_cat(partial.string(), ": ", code.message()));
  if (lora) {
    LoraAdapter adapter = model.adapter();
    adapter.base_model = files.base_model;
    CANDOR_RETURN_IF_ERROR(write_lora_adapter(adapter, partial));
  } else {
    const WeightSource weights = [&](const std::string& name,
                                     const std::vector<int64_t>&) -> Result<std::vector<float>> {
      const at::Tensor values = model.weight(name, true).contiguous();
      const auto* data = values.const_data_ptr<float>();
      return std::vector<float>(data, data + values.numel());
    };
    CANDOR_RETURN_IF_ERROR(write_model_folder(model.file(), weights, files.dtype, partial));
  }
  return commit_directory(partial, target);
}

}  // namespace candor
