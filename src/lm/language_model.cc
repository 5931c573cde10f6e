#include "lm/language_model.h"

#include <algorithm>
#include <cmath>

#include "base/cpu.h"
#include "base/strings.h"
#include "formats/prompt_encoder.h"
#include "lm/model_file.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

// All adapters as one; of rank 0 where there is none.
Result<LoraAdapter> read_soup(const std::vector<AdapterChoice>& choices) {
  std::vector<WeightedAdapter> parts;
  for (const AdapterChoice& choice : choices) {
    CANDOR_TRY(LoraAdapter adapter, load_lora_adapter(choice.folder));
    parts.push_back({std::move(adapter), choice.weight});
  }
  return soup_of(parts);
}

}  // namespace

Result<LanguageModel> LanguageModel::load(const fs::path& path, const LoadOptions& options) {
  CANDOR_TRY(const ModelFile file, ModelFile::open(path));
  CANDOR_TRY(const LoraAdapter soup, read_soup(options.adapters));
  const WeightReader read = [&](const std::string& name, const std::vector<int64_t>& shape,
                                std::vector<float>& scratch) -> Result<std::span<const float>> {
    CANDOR_TRY(scratch, file.weight(name, shape));
    return std::span<const float>(scratch);
  };
  CANDOR_TRY(const LanguageModel model, from_weights(file, options, read, &soup));
  std::vector<LoraAdapter> adapters;
  for (const fs::path& folder : options.row_adapters) {
    CANDOR_TRY(LoraAdapter adapter, load_lora_adapter(folder));
    adapters.push_back(std::move(adapter));
  }
  return model.with_row_adapters(adapters);
}

Result<LanguageModel> LanguageModel::from_weights(const ModelFile& file, const LoadOptions& options,
                                                  const WeightReader& read,
                                                  const LoraAdapter* merged) {
  LanguageModel model;
  model.options_ = options;
  if (model.options_.threads <= 0) model.options_.threads = core_count();
  model.config_ = file.config();
  model.tokenizer_ = file.tokenizer();
  model.chat_template_text_ = file.chat_template_text();
  CANDOR_TRY(DecoderWeights weights, pack_decoder(model.config_, read,
                                                  {.dtype = model.options_.dtype,
                                                   .threads = model.options_.threads,
                                                   .merged = merged}));
  model.weights_ = std::make_shared<const DecoderWeights>(std::move(weights));
  model.row_adapters_ = std::make_shared<const RowAdapters>();
  model.find_stop_ids();
  return model;
}

Result<LanguageModel> LanguageModel::with_row_adapters(
    std::span<const LoraAdapter> adapters) const {
  LanguageModel out = *this;
  CANDOR_TRY(RowAdapters packed,
             pack_row_adapters(config_, adapters, options_.dtype, options_.threads));
  out.row_adapters_ = std::make_shared<const RowAdapters>(std::move(packed));
  return out;
}

Status check_adapter_weights(const LanguageModel& model, std::span<const float> weights) {
  const int64_t count = model.row_adapters().count;
  if (!weights.empty() && static_cast<int64_t>(weights.size()) != count) {
    return invalid_argument(str_cat("adapter_weights: found ", weights.size(),
                                    " coefficients; the model has ", count, " row adapters"));
  }
  for (const float weight : weights) {
    if (!std::isfinite(weight)) {
      return invalid_argument(
          str_cat("adapter_weights: found ", double{weight}, "; expected a finite number"));
    }
  }
  return {};
}

void LanguageModel::find_stop_ids() {
  const auto add = [&](std::optional<int32_t> id) {
    if (id.has_value() && std::ranges::find(stop_ids_, *id) == stop_ids_.end()) {
      stop_ids_.push_back(*id);
    }
  };
  add(tokenizer_->eos_id());
  add(tokenizer_->id_of("<|endoftext|>"));
  if (const Result<ChatTemplate> chat = chat_template(); chat.ok()) {
    add(tokenizer_->id_of(chat->turn_end()));
  }
}

Result<ChatTemplate> LanguageModel::chat_template() const {
  return require_chat_template(chat_template_text_);
}

}  // namespace candor
