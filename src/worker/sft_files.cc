#include "worker/sft_files.h"

#include "base/file.h"
#include "base/strings.h"
#include "formats/lora_adapter.h"
#include "lm/model_export.h"

namespace candor {

namespace fs = std::filesystem;

Result<SftSettings> read_sft_settings(JsonReader in) {
  constexpr int64_t kMany = int64_t{1} << 40;
  SftSettings out;
  out.learning_rate = in.number_or("learning_rate", out.learning_rate);
  out.per_device_train_batch_size =
      in.integer_or("per_device_train_batch_size", out.per_device_train_batch_size, 1, kMany);
  out.gradient_accumulation_steps =
      in.integer_or("gradient_accumulation_steps", out.gradient_accumulation_steps, 1, kMany);
  out.num_train_epochs = in.number_or("num_train_epochs", out.num_train_epochs);
  out.max_steps = in.integer_or("max_steps", out.max_steps, 0, kMany);
  out.max_length = in.integer_or("max_length", out.max_length, 2, kMany);
  out.packing = in.boolean_or("packing", out.packing);
  out.lr_scheduler_type =
      *schedule_of(in.choice_or("lr_scheduler_type", "linear", schedule_names()));
  out.warmup_ratio = in.number_or("warmup_ratio", out.warmup_ratio);
  out.weight_decay = in.number_or("weight_decay", out.weight_decay);
  out.max_grad_norm = in.number_or("max_grad_norm", out.max_grad_norm);
  out.logging_steps = in.integer_or("logging_steps", out.logging_steps, 1, kMany);
  out.save_steps = in.integer_or("save_steps", out.save_steps, 0, kMany);
  out.eval_steps = in.integer_or("eval_steps", out.eval_steps, 0, kMany);
  out.early_stopping_patience =
      in.integer_or("early_stopping_patience", out.early_stopping_patience, 0, kMany);
  CANDOR_RETURN_IF_ERROR(in.finish());
  CANDOR_RETURN_IF_ERROR(check_sft_settings(out));
  return out;
}

Result<LoraSettings> read_lora_settings(JsonReader in) {
  LoraSettings out;
  out.rank = in.integer_or("r", out.rank, 1, 1 << 16);
  out.lora_alpha = in.number_or("lora_alpha", out.lora_alpha);
  out.dropout = in.number_or("lora_dropout", out.dropout);
  if (in.has("target_modules")) out.target_modules = in.texts("target_modules");
  CANDOR_RETURN_IF_ERROR(in.finish());
  return out;
}

Status write_trained(const TrainableDecoder& model, Dtype dtype, const fs::path& folder,
                     TrainedForm form) {
  const bool lora = model.options().lora.has_value() && form == TrainedForm::kAsTrained;
  const fs::path target = folder / (lora ? "adapter" : "model");
  const fs::path partial = folder / (lora ? ".adapter.partial" : ".model.partial");
  std::error_code code;
  fs::remove_all(partial, code);  // what a killed run left
  if (!code) fs::create_directories(partial, code);
  if (code) return resource_error(str_cat(partial.string(), ": ", code.message()));
  if (lora) {
    CANDOR_RETURN_IF_ERROR(write_lora_adapter(model.adapter(), partial));
  } else {
    const WeightSource weights = [&](const std::string& name,
                                     const std::vector<int64_t>&) -> Result<std::vector<float>> {
      const at::Tensor values = model.weight(name, true).contiguous();
      const auto* data = values.const_data_ptr<float>();
      return std::vector<float>(data, data + values.numel());
    };
    CANDOR_RETURN_IF_ERROR(write_model_folder(model.file(), weights, dtype, partial));
  }
  return commit_directory(partial, target);
}

}  // namespace candor
