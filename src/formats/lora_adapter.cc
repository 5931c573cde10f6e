#include "formats/lora_adapter.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "base/file.h"
#include "base/json.h"
#include "base/strings.h"
#include "formats/safetensors.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

constexpr const char* kConfigFile = "adapter_config.json";
constexpr const char* kTensorFile = "adapter_model.safetensors";
constexpr const char* kPrefix = "base_model.model.";
constexpr const char* kSuffixA = ".lora_A.weight";
constexpr const char* kSuffixB = ".lora_B.weight";
constexpr int64_t kLargestRank = 1 << 16;
constexpr const char* kScoreTensor = "base_model.model.score.weight";

enum class Task { kLanguageModel, kClassifier };

// The modules that a classifier's adapter saves whole: PEFT names both heads, a Llama has the
// second.
bool are_classifier_heads(const Json& modules) {
  return modules.is_array() && std::ranges::all_of(modules, [](const Json& module) {
           return module == "classifier" || module == "score";
         });
}

// Keys whose presence with another value would change the computation.
Status check_variant(const std::string& where, const Json& json, Task task) {
  const auto refuse = [&](const std::string& key) {
    return invalid_argument(
        str_cat(where, ": $.", key, ": found ", json[key].dump(), ", which is not supported"));
  };
  if (json.contains("bias") && json["bias"] != "none") return refuse("bias");
  for (const char* key : {"use_dora", "fan_in_fan_out", "lora_bias", "use_qalora"}) {
    if (json.contains(key) && json[key] != false) return refuse(key);
  }
  for (const char* key : {"modules_to_save", "layer_replication", "trainable_token_indices",
                          "target_parameters", "alora_invocation_tokens", "arrow_config"}) {
    if (!json.contains(key) || json[key].is_null()) continue;
    const bool heads =
        std::string_view(key) == "modules_to_save" && are_classifier_heads(json[key]);
    if (task != Task::kClassifier || !heads) return refuse(key);
  }
  for (const char* key : {"rank_pattern", "alpha_pattern"}) {
    if (json.contains(key) && !json[key].empty()) return refuse(key);
  }
  // The other ways to begin (pissa, olora, corda, loftq) change the base model's weights too.
  static const std::set<std::string> kHarmless = {"gaussian", "eva", "orthogonal"};
  const Json start = json.value("init_lora_weights", Json(true));
  const bool harmless = start.is_string() && kHarmless.contains(start.get<std::string>());
  if (!start.is_boolean() && !harmless) return refuse("init_lora_weights");
  return {};
}

// "base_model.model.MODULE.lora_A.weight" gives MODULE; nothing for another name.
std::optional<std::string> module_of(std::string_view tensor) {
  const std::string_view prefix = kPrefix;
  const size_t suffix = std::string_view(kSuffixA).size();  // both suffixes have one length
  const bool factor = tensor.ends_with(kSuffixA) || tensor.ends_with(kSuffixB);
  if (!factor || !tensor.starts_with(prefix) || tensor.size() <= prefix.size() + suffix) {
    return std::nullopt;
  }
  return std::string(tensor.substr(prefix.size(), tensor.size() - prefix.size() - suffix));
}

Result<LoraAdapter> read_config(const fs::path& folder, Task task) {
  const std::string where = (folder / kConfigFile).string();
  CANDOR_TRY(const Json json, read_json_file(where));
  JsonReader in(json, where);
  static const std::vector<std::string> kKind = {"LORA"};
  in.choice("peft_type", kKind);
  LoraAdapter out;
  out.rank = in.integer("r", 1, kLargestRank);
  const double alpha = in.number("lora_alpha");
  const bool stabilised = in.boolean_or("use_rslora", false);
  out.dropout = in.number_or("lora_dropout", 0, 0, 1);
  CANDOR_RETURN_IF_ERROR(in.status());
  CANDOR_RETURN_IF_ERROR(check_variant(where, json, task));
  const auto rank = static_cast<double>(out.rank);
  out.scale = alpha / (stabilised ? std::sqrt(rank) : rank);
  if (json.contains("base_model_name_or_path") && json["base_model_name_or_path"].is_string()) {
    out.base_model = json["base_model_name_or_path"].get<std::string>();
  }
  return out;
}

// The values of a factor; `extents` receives its shape.
Result<std::vector<float>> read_factor(const SafeTensors& tensors, const std::string& where,
                                       const std::string& name, std::vector<int64_t>& extents) {
  CANDOR_TRY(const SafeTensor* tensor, tensors.find(name));
  extents = tensor->shape;
  if (extents.size() != 2) {
    return invalid_argument(str_cat(where, ": tensor ", quote(name), " has ", extents.size(),
                                    " dimensions; expected 2"));
  }
  CANDOR_TRY(std::vector<float> values, tensors.floats(name));
  if (!std::ranges::all_of(values, [](float value) { return std::isfinite(value); })) {
    return invalid_argument(
        str_cat(where, ": tensor ", quote(name), " holds a value that is not finite"));
  }
  return values;
}

Result<LoraFactors> read_module(const SafeTensors& tensors, const std::string& where,
                                const std::string& module, int64_t rank) {
  LoraFactors out;
  std::vector<int64_t> a;
  std::vector<int64_t> b;
  CANDOR_TRY(out.a, read_factor(tensors, where, kPrefix + module + kSuffixA, a));
  CANDOR_TRY(out.b, read_factor(tensors, where, kPrefix + module + kSuffixB, b));
  if (a[0] != rank || b[1] != rank) {
    return invalid_argument(str_cat(where, ": ", quote(module), " has factors of rank ", a[0],
                                    " and ", b[1], "; ", kConfigFile, " says ", rank));
  }
  out.inputs = a[1];
  out.outputs = b[0];
  return out;
}

// Copies block [rows, columns] of `from` into `to`, which has `stride` columns, times `factor`.
void place(const std::vector<float>& from, int64_t rows, int64_t columns, double factor, float* to,
           int64_t stride) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      const double value = from[static_cast<size_t>(row * columns + column)];
      to[row * stride + column] = static_cast<float>(factor * value);
    }
  }
}

Status read_factors(const SafeTensors& tensors, const std::string& where, Task task,
                    LoraAdapter& out) {
  for (const auto& item : tensors.tensors()) {
    if (task == Task::kClassifier && item.first == kScoreTensor) continue;
    const std::optional<std::string> module = module_of(item.first);
    if (!module.has_value()) {
      return invalid_argument(str_cat(where, ": tensor ", quote(item.first), ": expected ", kPrefix,
                                      "MODULE", kSuffixA, " or ", kSuffixB));
    }
    if (out.modules.contains(*module)) continue;
    CANDOR_TRY(out.modules[*module], read_module(tensors, where, *module, out.rank));
  }
  if (out.modules.empty()) return invalid_argument(where + ": holds no factors");
  return {};
}

// What both kinds of folders share.
struct Files {
  Json config;
  std::vector<NamedFloats> tensors;
};

Files files_of(const LoraAdapter& adapter) {
  std::vector<NamedFloats> tensors;
  std::set<std::string> targets;
  for (const auto& [module, factors] : adapter.modules) {
    tensors.push_back({kPrefix + module + kSuffixA, {adapter.rank, factors.inputs}, factors.a});
    tensors.push_back({kPrefix + module + kSuffixB, {factors.outputs, adapter.rank}, factors.b});
    targets.insert(module.substr(module.rfind('.') + 1));
  }
  Json config = {{"peft_type", "LORA"},
                 {"task_type", "CAUSAL_LM"},
                 {"base_model_name_or_path", adapter.base_model},
                 {"r", adapter.rank},
                 {"lora_alpha", adapter.scale * static_cast<double>(adapter.rank)},
                 {"lora_dropout", adapter.dropout},
                 {"target_modules", targets},
                 {"bias", "none"},
                 {"use_rslora", false},
                 {"fan_in_fan_out", false},
                 {"inference_mode", true}};
  return {std::move(config), std::move(tensors)};
}

Status write_files(const Files& files, const fs::path& folder) {
  CANDOR_RETURN_IF_ERROR(write_new_file(folder / kConfigFile, to_text(files.config)));
  return write_new_file(folder / kTensorFile, float_safetensors_bytes(files.tensors));
}

}  // namespace

Result<std::string> adapter_base_model(const fs::path& folder) {
  CANDOR_TRY(LoraAdapter config, read_config(folder, Task::kClassifier));
  return std::move(config.base_model);
}

Result<LoraAdapter> load_lora_adapter(const fs::path& folder) {
  CANDOR_TRY(LoraAdapter out, read_config(folder, Task::kLanguageModel));
  const std::string where = (folder / kTensorFile).string();
  CANDOR_TRY(const SafeTensors tensors, SafeTensors::open(where));
  CANDOR_RETURN_IF_ERROR(read_factors(tensors, where, Task::kLanguageModel, out));
  return out;
}

Result<ClassifierAdapter> load_classifier_adapter(const fs::path& folder) {
  ClassifierAdapter out;
  CANDOR_TRY(out.lora, read_config(folder, Task::kClassifier));
  const std::string where = (folder / kTensorFile).string();
  CANDOR_TRY(const SafeTensors tensors, SafeTensors::open(where));
  std::vector<int64_t> shape;
  CANDOR_TRY(out.score, read_factor(tensors, where, kScoreTensor, shape));
  if (shape[0] != 1) {
    return invalid_argument(str_cat(where, ": tensor ", quote(kScoreTensor), " has ", shape[0],
                                    " rows; a reward model has one label"));
  }
  CANDOR_RETURN_IF_ERROR(read_factors(tensors, where, Task::kClassifier, out.lora));
  return out;
}

Status write_lora_adapter(const LoraAdapter& adapter, const fs::path& folder) {
  return write_files(files_of(adapter), folder);
}

Status write_classifier_adapter(const ClassifierAdapter& adapter, const fs::path& folder) {
  Files files = files_of(adapter.lora);
  files.config["task_type"] = "SEQ_CLS";
  files.config["modules_to_save"] = {"score"};
  const auto width = static_cast<int64_t>(adapter.score.size());
  files.tensors.push_back({kScoreTensor, {1, width}, adapter.score});
  return write_files(files, folder);
}

Result<LoraAdapter> soup_of(const std::vector<WeightedAdapter>& parts) {
  LoraAdapter out;
  for (const auto& [adapter, weight] : parts) {
    if (!std::isfinite(weight)) {
      return invalid_argument(str_cat("adapter weight: found ", weight, "; expected a finite one"));
    }
    out.rank += adapter.rank;
    if (out.base_model.empty()) out.base_model = adapter.base_model;
  }
  int64_t begin = 0;  // where this adapter's share of the rank begins
  for (const auto& [adapter, weight] : parts) {
    for (const auto& [module, factors] : adapter.modules) {
      LoraFactors& sum = out.modules[module];
      if (sum.a.empty()) {
        sum.inputs = factors.inputs;
        sum.outputs = factors.outputs;
        sum.a.assign(static_cast<size_t>(out.rank * sum.inputs), 0.0F);
        sum.b.assign(static_cast<size_t>(out.rank * sum.outputs), 0.0F);
      }
      if (sum.inputs != factors.inputs || sum.outputs != factors.outputs) {
        return invalid_argument(str_cat("the adapters disagree about the shape of ", quote(module),
                                        ": [", sum.outputs, ", ", sum.inputs, "] and [",
                                        factors.outputs, ", ", factors.inputs, "]"));
      }
      place(factors.a, adapter.rank, sum.inputs, 1.0, sum.a.data() + begin * sum.inputs,
            sum.inputs);
      place(factors.b, sum.outputs, adapter.rank, weight * adapter.scale, sum.b.data() + begin,
            out.rank);
    }
    begin += adapter.rank;
  }
  return out;
}

}  // namespace candor
