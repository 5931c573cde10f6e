#include "lm/trainable_reward.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/strings.h"
#include "lm/model_export.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

constexpr uint32_t kHeadStream = 0x73636f72;  // "scor"
constexpr double kHeadSpread = 0.02;
constexpr int64_t kBatchTokens = 2048;
constexpr const char* kReadingFile = "reward.json";
constexpr const char* kPeftHead = "base_model.model.score.weight";

const std::vector<std::string>& layout_names() {
  static const std::vector<std::string> kNames = {"completion", "prompt_completion"};
  return kNames;
}

at::Tensor row_of(const std::vector<float>& values) {
  at::Tensor out = at::empty({1, static_cast<int64_t>(values.size())}, at::kFloat);
  std::ranges::copy(values, out.mutable_data_ptr<float>());
  return out;
}

std::vector<float> values_of(const at::Tensor& tensor) {
  const at::Tensor plain = tensor.detach().contiguous();
  const auto* data = plain.const_data_ptr<float>();
  return {data, data + plain.numel()};
}

// Ids of texts that stand one after the other. Where none of them spells a special token, they are
// encoded as one text, as the reference does; else each apart, the writer's own with special
// tokens, the others without.
struct Piece {
  std::string text;
  bool ours = false;  // of the chat template
};
Result<std::vector<int32_t>> encode_pieces(const Tokenizer& tokenizer,
                                           const std::vector<Piece>& pieces, bool special_ends) {
  std::string whole;
  bool spelled = false;
  for (const Piece& piece : pieces) {
    whole += piece.text;
    if (piece.ours || piece.text.empty()) continue;
    CANDOR_TRY(const std::vector<int32_t> with, tokenizer.encode(piece.text));
    CANDOR_TRY(const std::vector<int32_t> without,
               tokenizer.encode(piece.text, {.parse_special_tokens = false}));
    spelled = spelled || with != without;
  }
  if (!spelled) {
    return tokenizer.encode(whole, {.add_special_tokens = special_ends});
  }
  std::vector<int32_t> out;
  bool first = special_ends;
  for (const Piece& piece : pieces) {
    if (piece.text.empty()) continue;
    CANDOR_TRY(const std::vector<int32_t> ids,
               tokenizer.encode(piece.text,
                                {.add_special_tokens = first, .parse_special_tokens = piece.ours}));
    out.insert(out.end(), ids.begin(), ids.end());
    first = false;
  }
  return out;
}

}  // namespace

Result<std::vector<double>> TrainableReward::score(std::span<const PromptedText> texts,
                                                   const ProgressSink& progress) const {
  const at::NoGradGuard no_gradient;
  std::vector<double> out;
  PackedSequences batch = {.token_ids = {}, .offsets = {0}};
  const auto flush = [&] {
    const at::Tensor found = rewards(batch, {}).contiguous();
    const auto* data = found.const_data_ptr<float>();
    out.insert(out.end(), data, data + found.numel());
    batch = {.token_ids = {}, .offsets = {0}};
    if (progress) progress(out.size(), texts.size(), "texts rewarded");
  };
  for (size_t i = 0; i < texts.size(); ++i) {
    Result<std::vector<int32_t>> ids = encode(texts[i]);
    if (!ids.ok()) {
      return Error{ids.error().code, str_cat("text ", i + 1, ": ", ids.error().message)};
    }
    const auto length = static_cast<int64_t>(ids->size());
    if (length > max_tokens()) {
      return invalid_argument(str_cat("text ", i + 1, ": found ", length,
                                      " tokens; the reward model reads ", max_tokens()));
    }
    if (!batch.token_ids.empty() && batch.offsets.back() + length > kBatchTokens) {
      CANDOR_RETURN_IF_ERROR(check_interrupted());
      flush();
    }
    batch.token_ids.insert(batch.token_ids.end(), ids->begin(), ids->end());
    batch.offsets.push_back(batch.offsets.back() + length);
  }
  if (!batch.token_ids.empty()) flush();
  return out;
}

Result<DecoderReward> DecoderReward::start(const fs::path& model, const TrainableOptions& options,
                                           RewardLayout layout) {
  TrainableOptions own = options;
  own.head = ModelHead::kScore;
  CANDOR_TRY(TrainableDecoder decoder, TrainableDecoder::load(model, own));
  RandomStream random({.seed = options.seed, .stream = kHeadStream});
  std::vector<float> head(static_cast<size_t>(decoder.config().width));
  for (float& value : head) value = static_cast<float>(kHeadSpread * random.normal());
  DecoderReward out(std::move(decoder), row_of(head));
  out.score_.requires_grad_(true);
  const std::optional<int32_t> end = out.decoder_.tokenizer().eos_id();
  if (!end.has_value()) {
    return invalid_argument(str_cat(model.string(), ": its tokenizer names no end-of-text token"));
  }
  CANDOR_RETURN_IF_ERROR(out.read_chat_template());
  out.reading_.layout = layout;
  out.reading_.chat_template = out.chat_.has_value() && layout == RewardLayout::kPromptCompletion;
  const std::optional<int32_t> pad = out.decoder_.file().pad_token_id();
  out.reading_.pad_token_id = pad.has_value() ? pad : end;
  return out;
}

Result<DecoderReward> DecoderReward::load(const fs::path& folder,
                                          const std::optional<fs::path>& base, int threads) {
  const TrainableOptions options = {.threads = threads, .head = ModelHead::kScore};
  std::vector<float> head;
  std::optional<TrainableDecoder> decoder;
  if (fs::exists(folder / "adapter_config.json")) {
    CANDOR_TRY(const ClassifierAdapter adapter, load_classifier_adapter(folder));
    const fs::path model = base.value_or(fs::path(adapter.lora.base_model));
    if (model.empty() || !fs::exists(model)) {
      return invalid_argument(str_cat(folder.string(), ": the adapter's base model, ",
                                      quote(model.string()), ", is not there; name it"));
    }
    head = adapter.score;
    CANDOR_TRY(decoder, TrainableDecoder::load(model, options, folder));
  } else {
    if (base.has_value()) {
      return invalid_argument(
          str_cat(folder.string(), ": is a whole model, no adapter over ", base->string()));
    }
    CANDOR_TRY(decoder, TrainableDecoder::load(folder, options));
    CANDOR_TRY(head, decoder->file().weight(kScoreName, {1, decoder->config().width}));
  }
  if (static_cast<int64_t>(head.size()) != decoder->config().width) {
    return invalid_argument(str_cat(folder.string(), ": the head has ", head.size(),
                                    " weights, the model a width of ", decoder->config().width));
  }
  DecoderReward out(std::move(*decoder), row_of(head));
  CANDOR_RETURN_IF_ERROR(out.read_reading(folder));
  for (const NamedTensor& parameter : out.decoder_.parameters()) {
    parameter.value.requires_grad_(false);
  }
  return out;
}

Status DecoderReward::read_chat_template() {
  const std::optional<std::string>& text = decoder_.file().chat_template_text();
  if (!text.has_value()) return {};
  CANDOR_TRY(chat_, ChatTemplate::recognise(*text));
  return {};
}

Status DecoderReward::read_reading(const fs::path& folder) {
  reading_.pad_token_id = decoder_.file().pad_token_id();
  const fs::path file = folder / kReadingFile;
  if (!fs::exists(file)) {
    CANDOR_RETURN_IF_ERROR(read_chat_template());
    reading_.chat_template = chat_.has_value();
    return {};
  }
  static const std::vector<std::string> kFormat = {"reward-model/1"};
  CANDOR_TRY(const Json json, read_json_file(file.string()));
  JsonReader in(json, file.string());
  (void)in.choice("candor", kFormat);
  reading_.layout = in.choice("features", layout_names()) == "completion"
                        ? RewardLayout::kCompletion
                        : RewardLayout::kPromptCompletion;
  reading_.chat_template = in.boolean("chat_template");
  reading_.pad_token_id =
      static_cast<int32_t>(in.integer("pad_token_id", 0, decoder_.config().vocabulary_size - 1));
  CANDOR_RETURN_IF_ERROR(in.finish());
  if (!reading_.chat_template) return {};
  CANDOR_RETURN_IF_ERROR(read_chat_template());
  if (chat_.has_value()) return {};
  return in.error_at("chat_template", "found true; the model's files carry no chat template");
}

Json RewardReading::json() const {
  return {{"candor", "reward-model/1"},
          {"features", layout_names()[layout == RewardLayout::kCompletion ? 0 : 1]},
          {"chat_template", chat_template},
          {"pad_token_id", pad_token_id.has_value() ? Json(*pad_token_id) : Json()}};
}

Json DecoderReward::settings() const {
  Json out = fields_json(decoder_.options());
  out["reading"] = reading_.json();
  return out;
}

std::vector<NamedTensor> DecoderReward::parameters() const {
  std::vector<NamedTensor> out = decoder_.parameters();
  out.push_back({decoder_.options().lora.has_value() ? kPeftHead : kScoreName, score_});
  return out;
}

at::Tensor DecoderReward::rewards(const PackedSequences& sequences,
                                  const ForwardOptions& options) const {
  const auto count = static_cast<int64_t>(sequences.offsets.size()) - 1;
  at::Tensor rows = at::empty({count}, at::kLong);
  auto* row = rows.mutable_data_ptr<int64_t>();
  for (int64_t s = 0; s < count; ++s) {
    const int64_t begin = sequences.offsets[static_cast<size_t>(s)];
    int64_t last = sequences.offsets[static_cast<size_t>(s) + 1] - 1;
    // Of a text that is padding alone transformers takes the first token.
    while (last > begin && reading_.pad_token_id.has_value() &&
           sequences.token_ids[static_cast<size_t>(last)] == *reading_.pad_token_id) {
      --last;
    }
    row[s] = last;
  }
  const at::Tensor hidden = decoder_.hidden(sequences, options).index_select(0, rows);  // [S, D]
  return at::linear(hidden, score_).squeeze(1);
}

Result<std::vector<int32_t>> DecoderReward::encode(const PromptedText& text) const {
  return reading_.chat_template ? encode_chat(text) : encode_plain(text);
}

Result<std::vector<int32_t>> DecoderReward::encode_plain(const PromptedText& text) const {
  std::vector<Piece> pieces;
  if (reading_.layout == RewardLayout::kPromptCompletion) pieces.push_back({text.prompt});
  pieces.push_back({text.completion});
  const Tokenizer& tokenizer = decoder_.tokenizer();
  CANDOR_TRY(std::vector<int32_t> ids, encode_pieces(tokenizer, pieces, true));
  const std::optional<int32_t> end = tokenizer.eos_id();
  if (end.has_value() && (ids.empty() || ids.back() != *end)) ids.push_back(*end);
  if (ids.empty()) return invalid_argument("the text has no token");
  return ids;
}

Result<std::vector<int32_t>> DecoderReward::encode_chat(const PromptedText& text) const {
  std::vector<ChatMessage> turns = {{"user", text.prompt}, {"assistant", text.completion}};
  if (reading_.layout == RewardLayout::kCompletion) turns.erase(turns.begin());
  CANDOR_TRY(const std::string whole, chat_->render(turns, false));
  std::vector<Piece> pieces;
  size_t done = 0;
  std::vector<ChatMessage> before;
  for (const ChatMessage& turn : turns) {
    // A turn's content stands where the same turn without content ends.
    before.push_back({turn.role, ""});
    CANDOR_TRY(const std::string empty, chat_->render(before, false));
    before.back() = turn;
    const size_t place = empty.rfind(chat_->turn_end());
    if (place == std::string::npos || place < done ||
        whole.compare(place, turn.content.size(), turn.content) != 0) {
      return invalid_argument("the chat template does not keep a turn's text as it is");
    }
    pieces.push_back({whole.substr(done, place - done), true});
    pieces.push_back({turn.content, false});
    done = place + turn.content.size();
  }
  pieces.push_back({whole.substr(done), true});
  return encode_pieces(decoder_.tokenizer(), pieces, false);
}

Status DecoderReward::write(const fs::path& folder, const std::string& base_model) const {
  CANDOR_CHECK(reading_.pad_token_id.has_value());
  const std::vector<float> head = values_of(score_);
  if (decoder_.options().lora.has_value()) {
    LoraAdapter adapter = decoder_.adapter();
    adapter.base_model = base_model.empty() ? decoder_.file().path() : base_model;
    CANDOR_RETURN_IF_ERROR(write_classifier_adapter({std::move(adapter), head}, folder));
  } else {
    const WeightSource weights = [&](const std::string& name,
                                     const std::vector<int64_t>&) -> Result<std::vector<float>> {
      return values_of(decoder_.weight(name, false));
    };
    CANDOR_RETURN_IF_ERROR(
        write_classifier_folder(decoder_.file(), weights, {head, *reading_.pad_token_id}, folder));
  }
  return write_new_file(folder / kReadingFile, to_text(reading_.json()));
}

}  // namespace candor
