#include "lm/encoder_reward.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "base/check.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/strings.h"
#include "formats/safetensors.h"
#include "formats/safetensors_writer.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

constexpr uint32_t kFactorStream = 0x626c6f72;  // "blor"

constexpr std::array kCopiedFiles = {"config.json",
                                     "tokenizer.json",
                                     "vocab.txt",
                                     "tokenizer_config.json",
                                     "special_tokens_map.json",
                                     "modules.json",
                                     "sentence_bert_config.json"};

std::string last_part(const std::string& name) { return name.substr(name.rfind('.') + 1); }

Result<std::set<std::string>> target_set(const std::vector<std::string>& targets) {
  const std::vector<std::string> known = {"query", "key", "value", "dense"};
  std::set<std::string> out;
  for (const std::string& target : targets) {
    if (target == "all-linear") {
      out.insert(known.begin(), known.end());
    } else if (std::ranges::find(known, target) != known.end()) {
      out.insert(target);
    } else {
      return invalid_argument(str_cat("LoRA target modules: found ", quote(target), "; expected ",
                                      join(known, ", "), " or all-linear of an encoder",
                                      did_you_mean(target, known)));
    }
  }
  if (out.empty()) return invalid_argument("LoRA target modules: there is none");
  return out;
}

std::vector<float> floats_of(const at::Tensor& tensor) {
  const at::Tensor plain = tensor.detach().contiguous();
  const auto* data = plain.const_data_ptr<float>();
  return {data, data + plain.numel()};
}

// Sequences of unequal length as rows of one matrix.
struct Padded {
  at::Tensor ids;   // [B, T] i64, 0 behind a sequence's end
  at::Tensor mask;  // [B, T] bool; undefined where all are of one length
};
Padded padded(const PackedSequences& sequences) {
  const auto count = static_cast<int64_t>(sequences.offsets.size()) - 1;
  int64_t longest = 0;
  bool equal = true;
  for (int64_t s = 0; s < count; ++s) {
    const auto place = static_cast<size_t>(s);
    const int64_t length = sequences.offsets[place + 1] - sequences.offsets[place];
    equal = equal && (s == 0 || length == longest);
    longest = std::max(longest, length);
  }
  Padded out{at::zeros({count, longest}, at::kLong), at::zeros({count, longest}, at::kBool)};
  auto* ids = out.ids.mutable_data_ptr<int64_t>();
  auto* mask = out.mask.mutable_data_ptr<bool>();
  for (int64_t s = 0; s < count; ++s) {
    const int64_t begin = sequences.offsets[static_cast<size_t>(s)];
    const int64_t length = sequences.offsets[static_cast<size_t>(s) + 1] - begin;
    std::copy_n(sequences.token_ids.begin() + begin, length, ids + s * longest);
    std::fill_n(mask + s * longest, length, true);
  }
  if (equal) out.mask = at::Tensor();
  return out;
}

}  // namespace

Status EncoderReward::attach_factors(const LoraSettings& lora) {
  CANDOR_RETURN_IF_ERROR(check_lora(lora));
  CANDOR_TRY(const std::set<std::string> targets, target_set(lora.target_modules));
  uint32_t index = 0;
  for (BertLinear* linear : encoder_.linears()) {
    ++index;
    if (!targets.contains(last_part(linear->name))) continue;
    const int64_t inputs = linear->weight.size(1);
    RandomStream random({.seed = options_.seed, .stream = kFactorStream, .prompt = index});
    const double bound = 1 / std::sqrt(static_cast<double>(inputs));
    linear->a = at::empty({lora.rank, inputs}, at::kFloat);
    auto* values = linear->a.mutable_data_ptr<float>();
    for (int64_t i = 0; i < linear->a.numel(); ++i) {
      values[i] = static_cast<float>(bound * (2 * random.uniform() - 1));
    }
    linear->b = at::zeros({linear->weight.size(0), lora.rank}, at::kFloat);
    linear->scale = lora.lora_alpha / static_cast<double>(lora.rank);
  }
  return {};
}

Result<EncoderReward> EncoderReward::start(const fs::path& encoder, const RewardHead& head,
                                           const EncoderRewardOptions& options) {
  EncoderReward out;
  out.source_ = encoder;
  out.options_ = options;
  if (out.options_.threads <= 0) out.options_.threads = core_count();
  at::set_num_threads(out.options_.threads);
  CANDOR_TRY(out.encoder_, BertEncoder::load(encoder));
  if (head.layout != RewardLayout::kCompletion ||
      static_cast<int64_t>(head.weight.size()) != out.encoder_.config.width) {
    return invalid_argument(
        str_cat("an encoder is trained under a head that reads the reply alone, of its width ",
                out.encoder_.config.width, "; this head has ", head.weight.size(), " weights"));
  }
  if (options.lora.has_value()) CANDOR_RETURN_IF_ERROR(out.attach_factors(*options.lora));
  out.weight_ = at::empty({1, out.encoder_.config.width}, at::kFloat);
  std::ranges::transform(head.weight, out.weight_.mutable_data_ptr<float>(),
                         [](double value) { return static_cast<float>(value); });
  out.bias_ = at::full({1}, head.bias, at::kFloat);
  for (const NamedTensor& parameter : out.parameters()) parameter.value.requires_grad_(true);
  return out;
}

std::vector<NamedTensor> EncoderReward::parameters() const {
  std::vector<NamedTensor> out;
  if (!options_.lora.has_value()) {
    for (const BertEncoder::Weight& weight : encoder_.weights()) {
      out.push_back({weight.name, weight.value});
    }
  }
  for (const BertLinear* linear : encoder_.linears()) {
    if (!linear->a.defined()) continue;
    out.push_back({linear->name + ".lora_A.weight", linear->a});
    out.push_back({linear->name + ".lora_B.weight", linear->b});
  }
  out.push_back({"score.weight", weight_});
  out.push_back({"score.bias", bias_});
  return out;
}

at::Tensor EncoderReward::rewards(const PackedSequences& sequences,
                                  const ForwardOptions& options) const {
  const Padded input = padded(sequences);
  const double rate = options_.lora.has_value() ? options_.lora->dropout : 0;
  BertEncoder::Dropout dropout;
  if (options.train && rate > 0) {
    const std::vector<const BertLinear*> linears = encoder_.linears();
    dropout = [this, options, rate, linears](const at::Tensor& x, const BertLinear& linear) {
      const auto place = std::ranges::find(linears, &linear) - linears.begin();
      return keyed_dropout(
          x, rate,
          {.seed = options_.seed, .step = options.step, .place = static_cast<uint32_t>(place)});
    };
  }
  const at::Tensor embedded = encoder_.forward(input.ids, input.mask, dropout);  // [B, D]
  return at::linear(embedded, weight_, bias_).squeeze(1);
}

Result<std::vector<int32_t>> EncoderReward::encode(const PromptedText& text) const {
  return encoder_.encode(text.completion);
}

RewardHead EncoderReward::head() const {
  RewardHead out;
  for (const float value : floats_of(weight_)) out.weight.push_back(value);
  out.bias = floats_of(bias_)[0];
  return out;
}

Status EncoderReward::write_encoder(const fs::path& folder) const {
  for (const char* name : kCopiedFiles) {
    if (!fs::exists(source_ / name)) continue;
    CANDOR_TRY(const std::string bytes, read_file(source_ / name));
    CANDOR_RETURN_IF_ERROR(write_new_file(folder / name, bytes));
  }
  if (fs::exists(source_ / "1_Pooling" / "config.json")) {
    CANDOR_TRY(const std::string bytes, read_file(source_ / "1_Pooling" / "config.json"));
    std::error_code code;
    fs::create_directories(folder / "1_Pooling", code);
    if (code) return resource_error(str_cat(folder.string(), ": ", code.message()));
    CANDOR_RETURN_IF_ERROR(write_new_file(folder / "1_Pooling" / "config.json", bytes));
  }
  const at::NoGradGuard no_gradient;
  std::map<std::string, std::vector<float>> trained;
  for (const BertEncoder::Weight& weight : encoder_.weights()) {
    trained[weight.name] = floats_of(weight.value);
  }
  for (const BertLinear* linear : encoder_.linears()) {
    if (!linear->a.defined()) continue;
    trained[linear->name + ".weight"] =
        floats_of(at::addmm(linear->weight, linear->b, linear->a, 1, linear->scale));
  }
  CANDOR_TRY(const SafeTensors source, SafeTensors::open_folder(source_));
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, tensor] : source.tensors()) {
    if (const auto found = trained.find(name); found != trained.end()) {
      tensors.push_back(tensor_to_write(name, tensor.shape, found->second.data(), false));
      continue;
    }
    const std::string_view bytes = tensor.bytes;
    tensors.push_back({name, tensor.dtype, tensor.shape,
                       [bytes](const ByteSink& sink) { return sink(bytes.data(), bytes.size()); }});
  }
  return write_safetensors(folder / "model.safetensors", std::move(tensors), {{"format", "pt"}});
}

}  // namespace candor
