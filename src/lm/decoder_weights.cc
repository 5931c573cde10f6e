#include "lm/decoder_weights.h"

#include <algorithm>
#include <map>

#include "base/strings.h"
#include "lm/low_rank.h"

namespace candor {

namespace {

// Reads the weights of one decoder into packed matrices.
class Packer {
 public:
  Packer(const DecoderConfig& config, const WeightReader& read, const PackOptions& options)
      : config_(config), read_(read), options_(options) {}

  Result<PackedMatrix> table(const std::string& name) const {
    PackedMatrix out(config_.vocabulary_size, config_.width, options_.dtype);
    std::vector<float> scratch;
    CANDOR_TRY(const std::span<const float> values,
               read_(name, {config_.vocabulary_size, config_.width}, scratch));
    out.set_rows(0, values);
    return out;
  }

  Result<std::vector<float>> vector(const std::string& name) const {
    std::vector<float> scratch;
    CANDOR_TRY(const std::span<const float> values, read_(name, {config_.width}, scratch));
    return std::vector<float>(values.begin(), values.end());
  }

  Result<DecoderLayer> layer(int64_t index) const {
    const int64_t queries = config_.head_count * config_.head_width;
    const int64_t keys = config_.kv_head_count * config_.head_width;
    DecoderLayer out;
    CANDOR_TRY(out.attention_norm, vector(layer_name(index, kAttentionNormName)));
    CANDOR_TRY(out.ffn_norm, vector(layer_name(index, kFfnNormName)));
    out.query_key_value = PackedMatrix(queries + 2 * keys, config_.width, options_.dtype);
    out.attention_output = PackedMatrix(config_.width, queries, options_.dtype);
    out.gate_up = PackedMatrix(gate_up_outputs(config_.ffn_width), config_.width, options_.dtype);
    out.down = PackedMatrix(config_.width, config_.ffn_width, options_.dtype);
    const std::vector<LinearModule> modules = linear_modules(config_);
    const auto whole = [](PackedMatrix& matrix, int64_t first) {
      return [&matrix, first](std::span<const float> values) { matrix.set_rows(first, values); };
    };
    const auto interleaved = [&](int64_t first) {
      return [&out, first, this](std::span<const float> values) {
        interleave(out.gate_up, first, values);
      };
    };
    CANDOR_RETURN_IF_ERROR(pack(index, modules[0], whole(out.query_key_value, 0)));
    CANDOR_RETURN_IF_ERROR(pack(index, modules[1], whole(out.query_key_value, queries)));
    CANDOR_RETURN_IF_ERROR(pack(index, modules[2], whole(out.query_key_value, queries + keys)));
    CANDOR_RETURN_IF_ERROR(pack(index, modules[3], whole(out.attention_output, 0)));
    CANDOR_RETURN_IF_ERROR(pack(index, modules[4], interleaved(gate_row(0))));
    CANDOR_RETURN_IF_ERROR(pack(index, modules[5], interleaved(up_row(0))));
    CANDOR_RETURN_IF_ERROR(pack(index, modules[6], whole(out.down, 0)));
    return out;
  }

 private:
  void interleave(PackedMatrix& matrix, int64_t first, std::span<const float> values) const {
    for (int64_t row = 0; row < config_.ffn_width; row += 16) {
      const int64_t count = std::min<int64_t>(16, config_.ffn_width - row);
      matrix.set_rows(first + 2 * row, values.subspan(static_cast<size_t>(row * config_.width),
                                                      static_cast<size_t>(count * config_.width)));
    }
  }

  template <typename Store>
  Status pack(int64_t layer, const LinearModule& module, const Store& store) const {
    const std::string name = layer_name(layer, module.name);
    const std::string weight_name = name + ".weight";
    std::vector<float> scratch;
    CANDOR_TRY(std::span<const float> values,
               read_(weight_name, {module.outputs, module.inputs}, scratch));
    if (options_.merged != nullptr && options_.merged->modules.contains(name)) {
      if (values.data() != scratch.data()) scratch.assign(values.begin(), values.end());
      const LoraAdapter& adapter = *options_.merged;
      add_low_rank(adapter.modules.at(name), adapter.rank, static_cast<float>(adapter.scale),
                   scratch);
      CANDOR_RETURN_IF_ERROR(check_finite("with its adapters", weight_name, scratch));
      values = scratch;
    }
    store(values);
    return {};
  }

  const DecoderConfig& config_;
  const WeightReader& read_;
  const PackOptions& options_;
};

}  // namespace

Status check_adapter(const DecoderConfig& config, const LoraAdapter& adapter) {
  std::map<std::string, LinearModule> linear;
  for (int64_t layer = 0; layer < config.layer_count; ++layer) {
    for (const LinearModule& module : linear_modules(config)) {
      linear.emplace(layer_name(layer, module.name), module);
    }
  }
  for (const auto& [name, factors] : adapter.modules) {
    const auto found = linear.find(name);
    if (found == linear.end()) {
      return invalid_argument(str_cat("adapter: ", quote(name),
                                      " is none of this model's linear weights between embedding "
                                      "and head"));
    }
    const LinearModule& module = found->second;
    if (factors.outputs != module.outputs || factors.inputs != module.inputs) {
      return invalid_argument(str_cat("adapter: ", quote(name), " changes a weight of shape [",
                                      factors.outputs, ", ", factors.inputs, "]; the model's is [",
                                      module.outputs, ", ", module.inputs, "]"));
    }
  }
  return {};
}

Result<DecoderWeights> pack_decoder(const DecoderConfig& config, const WeightReader& read,
                                    const PackOptions& options) {
  if (options.merged != nullptr) {
    CANDOR_RETURN_IF_ERROR(check_adapter(config, *options.merged));
  }
  const Packer packer(config, read, options);
  DecoderWeights out;
  CANDOR_TRY(out.final_norm, packer.vector(kFinalNormName));
  // The tables first: they are the longest pieces of work.
  const int64_t tables = config.tied_head ? 1 : 2;
  std::vector<Status> statuses(static_cast<size_t>(tables + config.layer_count));
  out.layers.resize(static_cast<size_t>(config.layer_count));
  const auto work = [&](int64_t piece) -> Status {
    if (piece < tables) {
      CANDOR_TRY((piece == 0 ? out.embedding : out.own_head),
                 packer.table(piece == 0 ? kEmbeddingName : kHeadName));
    } else {
      CANDOR_TRY(out.layers[static_cast<size_t>(piece - tables)], packer.layer(piece - tables));
    }
    return {};
  };
#pragma omp parallel for num_threads(options.threads) schedule(dynamic)
  for (int64_t piece = 0; piece < tables + config.layer_count; ++piece) {
    statuses[static_cast<size_t>(piece)] = work(piece);
  }
  for (const Status& status : statuses) CANDOR_RETURN_IF_ERROR(status);
  return out;
}

}  // namespace candor
