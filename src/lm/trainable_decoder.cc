#include "lm/trainable_decoder.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "base/check.h"
#include "base/cpu.h"
#include "base/rng.h"
#include "base/strings.h"
#include "lm/train_ops.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

constexpr uint32_t kFactorStream = 0x6c6f7261;  // "lora"
constexpr const char* kPeftPrefix = "base_model.model.";
constexpr const char* kAllLinear = "all-linear";

at::Tensor tensor_of(const std::vector<float>& values, const std::vector<int64_t>& shape) {
  return at::from_blob(const_cast<float*>(values.data()), shape, at::kFloat).clone();
}

std::vector<float> floats_of(const at::Tensor& tensor) {
  const at::Tensor plain = tensor.detach().to(at::kFloat).contiguous();
  const auto* data = plain.const_data_ptr<float>();
  return {data, data + plain.numel()};
}

std::string last_part(const std::string& name) { return name.substr(name.rfind('.') + 1); }

// The last parts of the names of the modules to adapt.
Result<std::set<std::string>> target_set(const DecoderConfig& config,
                                         const std::vector<std::string>& targets) {
  std::vector<std::string> known;
  for (const LinearModule& module : linear_modules(config)) known.push_back(last_part(module.name));
  std::set<std::string> out;
  for (const std::string& target : targets) {
    if (target == kAllLinear) {
      out.insert(known.begin(), known.end());
    } else if (std::ranges::find(known, target) != known.end()) {
      out.insert(target);
    } else {
      return invalid_argument(str_cat("LoRA target modules: found ", quote(target), "; expected ",
                                      join(known, ", "), " or ", kAllLinear,
                                      did_you_mean(target, known)));
    }
  }
  if (out.empty()) return invalid_argument("LoRA target modules: there is none");
  return out;
}

// Every step takes and frees the same hundreds of megabytes. Where freed memory goes back to the
// system, a quarter of a step is spent on clearing fresh pages.
void keep_freed_memory() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}

// Positions that a sequence takes: those of its longest branch, where it has branches.
int64_t positions_of(const PackedSequences& sequences, size_t s) {
  const int64_t length = sequences.offsets[s + 1] - sequences.offsets[s];
  if (!sequences.branched(s)) return length;
  int64_t before = 0;
  for (const int64_t start : sequences.branches[s]) {
    CANDOR_CHECK(start > before && start < length, "start of a branch");
    before = start;
  }
  int64_t positions = 0;
  for (int64_t token = 0;
       const VisibleTokens& visible : visible_tokens(length, sequences.branches[s])) {
    positions = std::max(positions, visible.position(token++) + 1);
  }
  return positions;
}

void check_sequences(const PackedSequences& sequences, const DecoderConfig& config) {
  const auto count = static_cast<int64_t>(sequences.token_ids.size());
  const std::vector<int64_t>& offsets = sequences.offsets;
  CANDOR_CHECK(count > 0 && offsets.size() >= 2 && offsets.front() == 0 && offsets.back() == count);
  CANDOR_CHECK(sequences.branches.empty() || sequences.branches.size() + 1 == offsets.size());
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    CANDOR_CHECK(offsets[s + 1] > offsets[s], "an empty sequence");
    CANDOR_CHECK(positions_of(sequences, s) <= config.context_length,
                 "length of a packed sequence");
  }
  for (const int32_t id : sequences.token_ids) {
    CANDOR_CHECK(id >= 0 && id < config.vocabulary_size, "token id outside the vocabulary");
  }
}

Result<LoraAdapter> adapter_of(const fs::path& folder, ModelHead head) {
  if (head == ModelHead::kLanguage) return load_lora_adapter(folder);
  CANDOR_TRY(ClassifierAdapter classifier, load_classifier_adapter(folder));
  return std::move(classifier.lora);
}

}  // namespace

struct TrainableDecoder::Pass {
  ForwardOptions options;
  RotaryTable rotary;
  AttentionLayout layout;
};

Status TrainableDecoder::read_weights() {
  const DecoderConfig& config = file_->config();
  const auto read = [&](const std::string& name,
                        const std::vector<int64_t>& shape) -> Result<at::Tensor> {
    CANDOR_TRY(const std::vector<float> values, file_->weight(name, shape));
    return tensor_of(values, shape);
  };
  CANDOR_TRY(embedding_, read(kEmbeddingName, {config.vocabulary_size, config.width}));
  CANDOR_TRY(final_norm_, read(kFinalNormName, {config.width}));
  if (!config.tied_head) {
    CANDOR_TRY(head_, read(kHeadName, {config.vocabulary_size, config.width}));
  }
  const std::vector<LinearModule> modules = linear_modules(config);
  for (int64_t index = 0; index < config.layer_count; ++index) {
    Layer layer;
    CANDOR_TRY(layer.attention_norm, read(layer_name(index, kAttentionNormName), {config.width}));
    CANDOR_TRY(layer.ffn_norm, read(layer_name(index, kFfnNormName), {config.width}));
    for (const LinearModule& module : modules) {
      Linear linear;
      linear.name = layer_name(index, module.name);
      linear.index = static_cast<uint32_t>(index * static_cast<int64_t>(modules.size()) +
                                           static_cast<int64_t>(layer.linears.size()));
      CANDOR_TRY(linear.weight, read(linear.name + ".weight", {module.outputs, module.inputs}));
      layer.linears.push_back(std::move(linear));
    }
    layers_.push_back(std::move(layer));
  }
  return {};
}

const TrainableDecoder::Linear* TrainableDecoder::find_linear(const std::string& name) const {
  for (const Layer& layer : layers_) {
    for (const Linear& linear : layer.linears) {
      if (linear.name == name) return &linear;
    }
  }
  return nullptr;
}

TrainableDecoder::Linear* TrainableDecoder::find_linear(const std::string& name) {
  return const_cast<Linear*>(std::as_const(*this).find_linear(name));
}

// The adapter's factors, over the weights they belong to.
Status TrainableDecoder::attach_factors(const LoraAdapter& adapter) {
  for (const auto& [module, factors] : adapter.modules) {
    Linear* linear = find_linear(module);
    if (linear == nullptr) {
      return invalid_argument(str_cat("adapter: ", quote(module),
                                      " is none of this model's linear weights between embedding "
                                      "and head"));
    }
    if (linear->weight.size(0) != factors.outputs || linear->weight.size(1) != factors.inputs) {
      return invalid_argument(str_cat("adapter: ", quote(module), " changes a weight of shape [",
                                      factors.outputs, ", ", factors.inputs, "]; the model's is [",
                                      linear->weight.size(0), ", ", linear->weight.size(1), "]"));
    }
    linear->factors = Factors{tensor_of(factors.a, {adapter.rank, factors.inputs}),
                              tensor_of(factors.b, {factors.outputs, adapter.rank})};
  }
  rank_ = adapter.rank;
  scale_ = adapter.scale;
  if (!options_.lora.has_value()) return {};
  // The settings say what is trained: the adapter's own, not those given beside it.
  std::set<std::string> targets;
  for (const auto& item : adapter.modules) targets.insert(last_part(item.first));
  options_.lora->rank = rank_;
  options_.lora->lora_alpha = scale_ * static_cast<double>(rank_);
  options_.lora->target_modules.assign(targets.begin(), targets.end());
  return {};
}

Status TrainableDecoder::merge_adapter(const LoraAdapter& adapter) {
  CANDOR_RETURN_IF_ERROR(attach_factors(adapter));
  for (Layer& layer : layers_) {
    for (Linear& linear : layer.linears) {
      if (!linear.factors.has_value()) continue;
      linear.weight.addmm_(linear.factors->b, linear.factors->a, 1, scale_);
      CANDOR_RETURN_IF_ERROR(
          check_finite("with its adapter", linear.name, floats_of(linear.weight)));
      linear.factors.reset();
    }
  }
  rank_ = 0;
  return {};
}

Status TrainableDecoder::attach_new_factors() {
  const LoraSettings& lora = *options_.lora;
  CANDOR_TRY(const std::set<std::string> targets, target_set(config(), lora.target_modules));
  rank_ = lora.rank;
  scale_ = lora.lora_alpha / static_cast<double>(lora.rank);
  for (Layer& layer : layers_) {
    for (Linear& linear : layer.linears) {
      if (!targets.contains(last_part(linear.name))) continue;
      const int64_t inputs = linear.weight.size(1);
      RandomStream random({.seed = options_.seed, .stream = kFactorStream, .prompt = linear.index});
      const double bound = 1 / std::sqrt(static_cast<double>(inputs));
      std::vector<float> values(static_cast<size_t>(rank_ * inputs));
      for (float& value : values) {
        value = static_cast<float>(bound * (2 * random.uniform() - 1));
      }
      linear.factors = Factors{tensor_of(values, {rank_, inputs}),
                               at::zeros({linear.weight.size(0), rank_}, at::kFloat)};
    }
  }
  return {};
}

void TrainableDecoder::pack_frozen_weights() {
  for (Layer& layer : layers_) {
    for (Linear& linear : layer.linears) {
      linear.frozen = std::make_shared<const FrozenWeight>(linear.weight);
    }
  }
  if (options_.head == ModelHead::kLanguage) {
    frozen_head_ = std::make_shared<const FrozenWeight>(head());
  }
}

Result<TrainableDecoder> TrainableDecoder::load(const fs::path& model,
                                                const TrainableOptions& options,
                                                const std::optional<fs::path>& adapter) {
  TrainableDecoder out;
  out.options_ = options;
  if (out.options_.threads <= 0) out.options_.threads = core_count();
  if (options.lora.has_value()) CANDOR_RETURN_IF_ERROR(check_lora(*options.lora));
  at::set_num_threads(out.options_.threads);
  keep_freed_memory();
  CANDOR_TRY(ModelFile file, ModelFile::open(model, options.head));
  out.file_ = std::make_shared<const ModelFile>(std::move(file));
  CANDOR_RETURN_IF_ERROR(out.read_weights());
  if (adapter.has_value()) {
    CANDOR_TRY(const LoraAdapter given, adapter_of(*adapter, options.head));
    CANDOR_RETURN_IF_ERROR(options.lora.has_value() ? out.attach_factors(given)
                                                    : out.merge_adapter(given));
  } else if (options.lora.has_value()) {
    CANDOR_RETURN_IF_ERROR(out.attach_new_factors());
  }
  if (options.lora.has_value() && options.arithmetic == Dtype::kBf16) out.pack_frozen_weights();
  for (const NamedTensor& parameter : out.parameters()) parameter.value.requires_grad_(true);
  return out;
}

std::vector<NamedTensor> TrainableDecoder::parameters() const {
  std::vector<NamedTensor> out;
  const bool full = !options_.lora.has_value();
  if (full) out.push_back({kEmbeddingName, embedding_});
  for (size_t index = 0; index < layers_.size(); ++index) {
    const Layer& layer = layers_[index];
    const auto layer_index = static_cast<int64_t>(index);
    if (full) out.push_back({layer_name(layer_index, kAttentionNormName), layer.attention_norm});
    for (const Linear& linear : layer.linears) {
      if (full) out.push_back({linear.name + ".weight", linear.weight});
      if (!linear.factors.has_value()) continue;
      out.push_back({kPeftPrefix + linear.name + ".lora_A.weight", linear.factors->a});
      out.push_back({kPeftPrefix + linear.name + ".lora_B.weight", linear.factors->b});
    }
    if (full) out.push_back({layer_name(layer_index, kFfnNormName), layer.ffn_norm});
  }
  if (full) out.push_back({kFinalNormName, final_norm_});
  if (full && head_.defined()) out.push_back({kHeadName, head_});
  return out;
}

at::Tensor TrainableDecoder::linear(const Linear& linear, const at::Tensor& x,
                                    const Pass& pass) const {
  at::Tensor y = linear.frozen != nullptr
                     ? linear_product(x, linear.frozen)
                     : linear_product(x, linear.weight, rounded(linear.rounded, linear.weight));
  if (!linear.factors.has_value() || !pass.options.use_adapter) return y;
  at::Tensor input = x;
  const double rate = options_.lora.has_value() ? options_.lora->dropout : 0;
  if (pass.options.train && rate > 0) {
    input = keyed_dropout(
        x, rate, {.seed = options_.seed, .step = pass.options.step, .place = linear.index});
  }
  const Factors& factors = *linear.factors;
  const at::Tensor low = linear_product(input, factors.a, rounded(factors.rounded_a, factors.a));
  return at::add(y, linear_product(low, factors.b, rounded(factors.rounded_b, factors.b)), scale_);
}

at::Tensor TrainableDecoder::rounded(const RoundedCopy& copy, const at::Tensor& weight) const {
  return options_.arithmetic == Dtype::kBf16 ? copy.of(weight) : at::Tensor();
}

at::Tensor TrainableDecoder::attention(const Layer& layer, const at::Tensor& x,
                                       const Pass& pass) const {
  const DecoderConfig& config = file_->config();
  const int64_t count = x.size(0);
  const at::Tensor q = linear(layer.linears[0], x, pass);
  const at::Tensor k = linear(layer.linears[1], x, pass);
  const at::Tensor v = linear(layer.linears[2], x, pass);
  const at::Tensor query =
      rotate_half(q.view({count, config.head_count, config.head_width}), pass.rotary);
  const at::Tensor key =
      rotate_half(k.view({count, config.kv_head_count, config.head_width}), pass.rotary);
  const at::Tensor value = v.view({count, config.kv_head_count, config.head_width});
  const at::Tensor mixed = packed_attention(query, key, value, pass.layout);
  return linear(layer.linears[3], mixed, pass);
}

at::Tensor TrainableDecoder::layer_forward(const Layer& layer, const at::Tensor& x,
                                           const Pass& pass) const {
  const double epsilon = config().norm_epsilon;
  const at::Tensor middle =
      x + attention(layer, rms_norm(x, layer.attention_norm, epsilon, options_.arithmetic), pass);
  const at::Tensor normed = rms_norm(middle, layer.ffn_norm, epsilon, options_.arithmetic);
  const at::Tensor gate = linear(layer.linears[4], normed, pass);
  const at::Tensor up = linear(layer.linears[5], normed, pass);
  return middle + linear(layer.linears[6], silu_product(gate, up), pass);
}

at::Tensor TrainableDecoder::checkpointed(const Layer& layer, const at::Tensor& x,
                                          const Pass& pass) const {
  std::vector<at::Tensor> inputs = {x};
  const auto add = [&](const at::Tensor& parameter) {
    if (parameter.requires_grad()) inputs.push_back(parameter);
  };
  add(layer.attention_norm);
  add(layer.ffn_norm);
  for (const Linear& linear : layer.linears) {
    add(linear.weight);
    if (!linear.factors.has_value()) continue;
    add(linear.factors->a);
    add(linear.factors->b);
  }
  // The copy outlives this forward: the backward pass computes the layer again.
  return checkpoint([this, &layer, copy = pass](
                        const at::Tensor& input) { return layer_forward(layer, input, copy); },
                    inputs);
}

at::Tensor TrainableDecoder::hidden(const PackedSequences& sequences,
                                    const ForwardOptions& options) const {
  check_sequences(sequences, config());
  const Pass pass = {options, rotary_table(sequences, config().head_width, config().rope_base),
                     attention_layout(sequences)};
  const auto count = static_cast<int64_t>(sequences.token_ids.size());
  const at::Tensor ids =
      at::from_blob(const_cast<int32_t*>(sequences.token_ids.data()), {count}, at::kInt)
          .to(at::kLong);
  at::Tensor x = embedding_rows(embedding_, ids);
  const bool again = options_.gradient_checkpointing && at::GradMode::is_enabled();
  for (const Layer& layer : layers_) {
    x = again ? checkpointed(layer, x, pass) : layer_forward(layer, x, pass);
  }
  return rms_norm(x, final_norm_, config().norm_epsilon, Dtype::kF32);
}

HeadScores TrainableDecoder::scores(const at::Tensor& hidden_rows, std::span<const int32_t> targets,
                                    HeadOptions options) const {
  CANDOR_CHECK(hidden_rows.dim() == 2 &&
               hidden_rows.size(0) == static_cast<int64_t>(targets.size()));
  CANDOR_CHECK(options.temperature > 0);
  for (const int32_t id : targets) {
    CANDOR_CHECK(id >= 0 && id < config().vocabulary_size, "target outside the vocabulary");
  }
  options.targets.assign(targets.begin(), targets.end());
  options.frozen = frozen_head_;
  if (options.frozen == nullptr) options.rounded = rounded(rounded_head_, head());
  return head_scores(hidden_rows, head(), options);
}

TokenScores TrainableDecoder::token_scores(const at::Tensor& hidden_rows,
                                           std::span<const int32_t> targets,
                                           double temperature) const {
  HeadOptions options;
  options.temperature = temperature;
  const HeadScores found = scores(hidden_rows, targets, std::move(options));
  return {found.logprobs, found.entropies, found.correct};
}

MeanLoss TrainableDecoder::mean_loss(const at::Tensor& hidden_rows,
                                     std::span<const int32_t> targets, double divisor) const {
  CANDOR_CHECK(divisor > 0);
  HeadOptions options;
  options.uniform_gradient = -1 / divisor;
  const HeadScores found = scores(hidden_rows, targets, std::move(options));
  return {-found.logprobs.sum() / divisor,
          {found.logprobs.detach(), found.entropies, found.correct}};
}

Result<LanguageModel> TrainableDecoder::packed_model(Dtype dtype, const LoraAdapter* merged) const {
  const WeightReader read = [&](const std::string& name, const std::vector<int64_t>& shape,
                                std::vector<float>& scratch) -> Result<std::span<const float>> {
    const at::Tensor values = weight(name, false);
    CANDOR_CHECK(values.is_contiguous() && values.sizes().vec() == shape && scratch.empty());
    if (!std::isfinite(values.sum().item<float>())) {
      return invalid_argument(str_cat("training: ", quote(name), " is no longer finite"));
    }
    return std::span<const float>(values.const_data_ptr<float>(),
                                  static_cast<size_t>(values.numel()));
  };
  const LoadOptions options = {.dtype = dtype, .threads = options_.threads};
  return LanguageModel::from_weights(*file_, options, read, merged);
}

Result<LanguageModel> TrainableDecoder::sampler_model(Dtype dtype) const {
  if (!options_.lora.has_value()) return packed_model(dtype, nullptr);
  const LoraAdapter factors = adapter();
  return packed_model(dtype, &factors);
}

Result<LanguageModel> TrainableDecoder::frozen_model(Dtype dtype) const {
  CANDOR_CHECK(options_.lora.has_value());
  return packed_model(dtype, nullptr);
}

LoraAdapter TrainableDecoder::adapter() const {
  CANDOR_CHECK(options_.lora.has_value());
  LoraAdapter out;
  out.rank = rank_;
  out.scale = scale_;
  out.dropout = options_.lora->dropout;
  for (const Layer& layer : layers_) {
    for (const Linear& linear : layer.linears) {
      if (!linear.factors.has_value()) continue;
      out.modules[linear.name] = {.inputs = linear.weight.size(1),
                                  .outputs = linear.weight.size(0),
                                  .a = floats_of(linear.factors->a),
                                  .b = floats_of(linear.factors->b)};
    }
  }
  return out;
}

at::Tensor TrainableDecoder::weight(const std::string& name, bool merge) const {
  if (name == kEmbeddingName) return embedding_.detach();
  if (name == kFinalNormName) return final_norm_.detach();
  if (name == kHeadName) return head().detach();
  for (size_t index = 0; index < layers_.size(); ++index) {
    const auto layer = static_cast<int64_t>(index);
    if (name == layer_name(layer, kAttentionNormName))
      return layers_[index].attention_norm.detach();
    if (name == layer_name(layer, kFfnNormName)) return layers_[index].ffn_norm.detach();
  }
  const Linear* linear = find_linear(name.substr(0, name.rfind(".weight")));
  CANDOR_CHECK(linear != nullptr, "no weight of this name");
  if (!merge || !linear->factors.has_value()) return linear->weight.detach();
  const at::NoGradGuard no_gradient;
  return at::addmm(linear->weight, linear->factors->b, linear->factors->a, 1, scale_);
}

}  // namespace candor
