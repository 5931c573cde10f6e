#include "study/plan_sizes.h"

#include <algorithm>
#include <cctype>
#include <set>
#include <string>

#include "base/json.h"
#include "base/product_rate.h"
#include "base/strings.h"
#include "formats/gguf.h"
#include "formats/preferences.h"
#include "formats/prompt_encoder.h"
#include "formats/safetensors.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

constexpr size_t kMostRecords = 256;  // tokenised of one file

// At most kMostRecords places of `count`, evenly spaced.
std::vector<size_t> some_of(size_t count) {
  std::vector<size_t> out;
  const size_t taken = std::min(count, kMostRecords);
  for (size_t i = 0; i < taken; ++i) out.push_back(i * count / taken);
  return out;
}

class LengthMeter {
 public:
  void add(double tokens) {
    sum_ += tokens;
    longest_ = std::max(longest_, tokens);
    ++count_;
  }
  [[nodiscard]] TextLength length() const {
    return {.mean_tokens = count_ > 0 ? sum_ / static_cast<double>(count_) : 0,
            .longest_tokens = longest_};
  }

 private:
  double sum_ = 0;
  double longest_ = 0;
  size_t count_ = 0;
};

Result<TextLength> length_of_prompts(const PromptEncoder& encoder, const std::vector<Json>& prompts,
                                     const fs::path& file) {
  LengthMeter meter;
  for (const size_t i : some_of(prompts.size())) {
    CANDOR_TRY(const std::vector<int32_t> ids,
               encoder.encode(prompts[i], str_cat(file.string(), ":", i + 1)));
    meter.add(static_cast<double>(ids.size()));
  }
  return meter.length();
}

// A record of SFT is cut at `limit`.
Result<TextLength> length_of_sft(const PromptEncoder& encoder, const fs::path& file,
                                 int64_t limit) {
  CANDOR_TRY(const std::vector<Json> records, read_jsonl(file));
  LengthMeter meter;
  for (const size_t i : some_of(records.size())) {
    std::string text;
    const std::string where = str_cat(file.string(), ":", i + 1);
    if (records[i].is_object() && records[i].contains("text") && records[i]["text"].is_string()) {
      text = records[i]["text"].get<std::string>();
    } else {
      CANDOR_TRY(const PromptCompletion pair, prompt_completion_of_record(records[i], where));
      text = str_cat(pair.prompt, " ", pair.completion);
    }
    CANDOR_TRY(const std::vector<int32_t> ids, encoder.tokenizer().encode(text));
    meter.add(static_cast<double>(std::min<int64_t>(limit, static_cast<int64_t>(ids.size()))));
  }
  return meter.length();
}

void read_shape(const std::string& name, const std::vector<int64_t>& shape, PlannedModel& out) {
  double count = 1;
  for (const int64_t extent : shape) count *= static_cast<double>(extent);
  out.parameters += count;
  if ((name == "model.embed_tokens.weight" || name == "token_embd.weight") && shape.size() == 2) {
    // Safetensors write [V, D], GGUF [D, V]; the vocabulary is the longer one.
    out.vocabulary = static_cast<double>(std::max(shape[0], shape[1]));
    out.hidden = static_cast<double>(std::min(shape[0], shape[1]));
    out.embedding = count;
  }
  if (name.ends_with("k_proj.weight") || name.ends_with("attn_k.weight")) {
    out.layers += 1;
    out.kv_width = count;  // times the width, until all is read
  }
  if (name.ends_with("gate_proj.weight") || name.ends_with("ffn_gate.weight")) {
    out.ffn_width = count;
  }
}

Result<PlannedModel> planned_model(const fs::path& path) {
  PlannedModel out;
  if (fs::is_directory(path)) {
    CANDOR_TRY(const SafeTensors file, SafeTensors::open_folder(path));
    for (const auto& [name, tensor] : file.tensors()) read_shape(name, tensor.shape, out);
  } else {
    CANDOR_TRY(const GgufFile file, GgufFile::open(path));
    for (const auto& [name, tensor] : file.tensors()) read_shape(name, tensor.shape, out);
  }
  if (!(out.hidden > 0) || !(out.layers > 0)) {
    return invalid_argument(
        str_cat(path.string(), ": no embedding or no attention layer among its tensors"));
  }
  out.kv_width /= out.hidden;
  out.ffn_width /= out.hidden;
  return out;
}

// An encoder's tokenizer with the length at which it cuts.
struct EncoderReader {
  std::shared_ptr<const Tokenizer> tokenizer;
  int64_t max_tokens = 512;

  [[nodiscard]] Result<double> tokens(const std::string& text) const {
    CANDOR_TRY(
        const std::vector<int32_t> ids,
        tokenizer->encode(text, {.add_special_tokens = true, .parse_special_tokens = false}));
    return static_cast<double>(std::min<int64_t>(max_tokens, static_cast<int64_t>(ids.size())));
  }
};

Result<EncoderReader> open_encoder(const fs::path& folder, PlannedReward& out) {
  EncoderReader reader;
  CANDOR_TRY(reader.tokenizer, tokenizer_from_folder(folder));
  const fs::path limit = folder / "sentence_bert_config.json";
  if (fs::exists(limit)) {
    CANDOR_TRY(const Json json, read_json_file(limit.string()));
    JsonReader in(json, limit.string());
    reader.max_tokens = in.integer_or("max_seq_length", reader.max_tokens, 1, 1 << 20);
  }
  CANDOR_TRY(const SafeTensors file, SafeTensors::open_folder(folder));
  for (const auto& [name, tensor] : file.tensors()) {
    double count = 1;
    for (const int64_t extent : tensor.shape) count *= static_cast<double>(extent);
    out.model_bytes += 4 * count;
    if (name.find("embeddings.") == std::string::npos) out.model_parameters += count;
  }
  return reader;
}

// A completion that the head reads beside its prompt is embedded whole and by its sentences.
double sentences_factor(const std::string& text) {
  const std::string_view body = trim(text);
  for (size_t i = 0; i + 1 < body.size(); ++i) {
    const bool end = body[i] == '.' || body[i] == '!' || body[i] == '?';
    if (end && std::isspace(static_cast<unsigned char>(body[i + 1])) != 0) return 2;
  }
  return 1;
}

// Texts and tokens of one kind of record.
struct TextMeter {
  const EncoderReader& encoder;
  bool reads_prompt = false;
  LengthMeter completions, prompts;

  Status add(const std::string& prompt, const std::string& completion) {
    CANDOR_TRY(const double tokens, encoder.tokens(completion));
    completions.add(tokens * (reads_prompt ? sentences_factor(completion) : 1));
    if (!reads_prompt) return {};
    // In chunks, so the encoder's limit does not cut it.
    CANDOR_TRY(const std::vector<int32_t> ids, encoder.tokenizer->encode(prompt));
    prompts.add(static_cast<double>(ids.size()));
    return {};
  }
};

size_t distinct_prompts(const RewardData& data) {
  std::set<std::string_view> prompts;
  for (const LabelledText& text : data.labelled) prompts.insert(text.prompt);
  for (const PreferencePair& pair : data.pairs) prompts.insert(pair.prompt);
  return prompts.size();
}

// As the reward stage takes them: at most max_texts of each kind, labelled ones balanced.
double labelled_taken(const RewardData& data, const RewardSource& source) {
  const auto texts = static_cast<double>(data.labelled.size());
  const double limit =
      source.max_texts > 0 ? std::min(texts, static_cast<double>(source.max_texts)) : texts;
  if (!source.balance) return limit;
  const auto positives =
      static_cast<double>(std::ranges::count(data.labelled, 1, &LabelledText::label));
  return 2 * std::min({limit / 2, positives, texts - positives});
}

Status read_training_texts(const RewardSource& source, const RewardFiles& files,
                           const EncoderReader& encoder, PlannedReward& out) {
  LabelledTextSource from{.path = files.data,
                          .text_field = source.text_field,
                          .label_field = source.label_field,
                          .positive_values = source.positive_values,
                          .prompt_field = source.prompt_field};
  CANDOR_TRY(const RewardData data, read_reward_data(from));
  TextMeter labelled{encoder, out.reads_prompt, {}, {}};
  for (const size_t i : some_of(data.labelled.size())) {
    CANDOR_RETURN_IF_ERROR(labelled.add(data.labelled[i].prompt, data.labelled[i].text));
  }
  TextMeter pairs{encoder, out.reads_prompt, {}, {}};
  for (const size_t i : some_of(data.pairs.size())) {
    CANDOR_RETURN_IF_ERROR(pairs.add(data.pairs[i].prompt, data.pairs[i].chosen));
    CANDOR_RETURN_IF_ERROR(pairs.add(data.pairs[i].prompt, data.pairs[i].rejected));
  }
  const double texts = labelled_taken(data, source);
  const auto all_pairs = static_cast<double>(data.pairs.size());
  const double taken =
      source.max_texts > 0 ? std::min(all_pairs, static_cast<double>(source.max_texts)) : all_pairs;
  out.training_texts = texts + 2 * taken;
  out.training_tokens = texts * labelled.completions.length().mean_tokens +
                        2 * taken * pairs.completions.length().mean_tokens;
  out.longest_tokens = std::max(labelled.completions.length().longest_tokens,
                                pairs.completions.length().longest_tokens);
  if (!out.reads_prompt) return {};
  const double records = static_cast<double>(data.labelled.size()) + all_pairs;
  const double share = static_cast<double>(distinct_prompts(data)) / records;
  out.training_tokens += share * (texts * labelled.prompts.length().mean_tokens +
                                  taken * pairs.prompts.length().mean_tokens);
  return {};
}

// The prompts that price, as the encoder reads them.
Result<double> encoder_prompt_tokens(const EncoderReader& encoder, const Pipeline& pipeline) {
  LengthMeter meter;
  for (const size_t i : some_of(pipeline.prompts.size())) {
    const Json& record = pipeline.prompts[i];
    std::string text;
    if (record.contains("prompt") && record["prompt"].is_string()) {
      text = record["prompt"].get<std::string>();
    } else {
      CANDOR_TRY(
          const std::vector<ChatMessage> messages,
          messages_of_json(record["messages"], str_cat(pipeline.prompts_path.string(), ":", i + 1),
                           "$.messages"));
      text = conversation_text(messages);
    }
    CANDOR_TRY(const std::vector<int32_t> ids, encoder.tokenizer->encode(text));
    meter.add(static_cast<double>(ids.size()));
  }
  return meter.length().mean_tokens;
}

// A whole decoder. What it reads stands in the reward.json beside its weights or its adapter's;
// without one it reads prompt and reply.
Result<PlannedReward> planned_decoder(const RewardFiles& files, const Pipeline& pipeline) {
  CANDOR_TRY(const PlannedModel model, planned_model(files.model));
  PlannedReward out{.model_parameters = model.body(),
                    .model_bytes = 4 * model.parameters,
                    .is_decoder = true,
                    .reads_prompt = true};
  const fs::path reading = (files.adapter.empty() ? files.model : files.adapter) / "reward.json";
  if (fs::exists(reading)) {
    CANDOR_TRY(const Json json, read_json_file(reading.string()));
    JsonReader in(json, reading.string());
    out.reads_prompt = in.text("features") != "completion";
    CANDOR_RETURN_IF_ERROR(in.status());
  }
  if (!out.reads_prompt) return out;
  CANDOR_TRY(const PromptEncoder encoder, PromptEncoder::open(files.model));
  CANDOR_TRY(const TextLength prompts,
             length_of_prompts(encoder, pipeline.prompts, pipeline.prompts_path));
  out.prompt_tokens = prompts.mean_tokens;
  return out;
}

Result<PlannedReward> planned_reward(const RewardSource& source, const RewardFiles& files,
                                     const Pipeline& pipeline) {
  if (source.kind == RewardSource::Kind::kCheckpoint) return planned_decoder(files, pipeline);
  PlannedReward out;
  if (files.encoder.empty()) return out;
  CANDOR_TRY(const EncoderReader encoder, open_encoder(files.encoder, out));
  out.reads_prompt = source.features == "prompt_completion";
  if (!files.head.empty()) {
    CANDOR_TRY(const SafeTensors head, SafeTensors::open(files.head / "head.safetensors"));
    out.reads_prompt = head.tensors().contains("layout");
  }
  if (source.trained()) {
    CANDOR_RETURN_IF_ERROR(read_training_texts(source, files, encoder, out));
  }
  if (out.reads_prompt) {
    CANDOR_TRY(out.prompt_tokens, encoder_prompt_tokens(encoder, pipeline));
  }
  return out;
}

}  // namespace

Result<PlanSizes> plan_sizes(const Pipeline& pipeline) {
  PlanSizes out;
  out.product_rate = product_rate(pipeline.machine.threads);
  CANDOR_TRY(out.model, planned_model(pipeline.model_path));
  CANDOR_TRY(const PromptEncoder encoder, PromptEncoder::open(pipeline.model_path));
  out.prompts = static_cast<double>(pipeline.prompts.size());
  CANDOR_TRY(out.price_prompt, length_of_prompts(encoder, pipeline.prompts, pipeline.prompts_path));
  for (size_t i = 0; i < pipeline.groups.size(); ++i) {
    CANDOR_TRY(PlannedReward reward,
               planned_reward(pipeline.study.groups[i].reward, pipeline.groups[i], pipeline));
    out.rewards.push_back(reward);
    out.judges.emplace_back();
  }
  return out;
}

Result<PlanSizes> plan_sizes(const MenuPipeline& pipeline) {
  CANDOR_TRY(PlanSizes out, plan_sizes(pipeline.base));
  const Study& study = pipeline.study();
  CANDOR_TRY(const PromptEncoder encoder, PromptEncoder::open(pipeline.base.model_path));
  if (study.menu->experts.has_value()) {
    CANDOR_TRY(const std::vector<Json> prompts, read_jsonl(pipeline.train_prompts_path));
    CANDOR_TRY(out.train_prompt, length_of_prompts(encoder, prompts, pipeline.train_prompts_path));
  }
  if (study.menu->sft.has_value()) {
    CANDOR_TRY(out.sft_record,
               length_of_sft(encoder, pipeline.sft_path, study.menu->sft->max_length_tokens));
  }
  for (size_t i = 0; i < study.groups.size(); ++i) {
    if (!study.groups[i].judge.has_value()) continue;
    CANDOR_TRY(out.judges[i],
               planned_reward(*study.groups[i].judge, *pipeline.judges[i], pipeline.base));
  }
  return out;
}

Json plan_sizes_json(const PlanSizes& sizes) {
  const PlannedModel& model = sizes.model;
  const auto length = [](const TextLength& text) {
    return Json{{"mean_tokens", text.mean_tokens}, {"longest_tokens", text.longest_tokens}};
  };
  const auto rewards = [](const std::vector<PlannedReward>& list) {
    Json out = Json::array();
    for (const PlannedReward& one : list) {
      out.push_back({{"model_parameters", one.model_parameters},
                     {"model_bytes", one.model_bytes},
                     {"is_decoder", one.is_decoder},
                     {"reads_prompt", one.reads_prompt},
                     {"training_texts", one.training_texts},
                     {"training_tokens", one.training_tokens},
                     {"longest_tokens", one.longest_tokens},
                     {"prompt_tokens", one.prompt_tokens}});
    }
    return out;
  };
  return {{"product_rate", sizes.product_rate},
          {"model",
           {{"parameters", model.parameters},
            {"embedding", model.embedding},
            {"hidden", model.hidden},
            {"kv_width", model.kv_width},
            {"ffn_width", model.ffn_width},
            {"layers", model.layers},
            {"vocabulary", model.vocabulary}}},
          {"prompts", sizes.prompts},
          {"price_prompt", length(sizes.price_prompt)},
          {"train_prompt", length(sizes.train_prompt)},
          {"sft_record", length(sizes.sft_record)},
          {"rewards", rewards(sizes.rewards)},
          {"judges", rewards(sizes.judges)}};
}

namespace {

double count_of(JsonReader& in, const char* key) { return in.number(key, 0.0, 1e18); }

TextLength read_length(JsonReader& in, const char* key) {
  JsonReader length = in.object(key);
  const TextLength out{count_of(length, "mean_tokens"), count_of(length, "longest_tokens")};
  in.adopt(length.finish());
  return out;
}

std::vector<PlannedReward> read_rewards(JsonReader& in, const char* key) {
  std::vector<PlannedReward> out;
  for (JsonReader& reward : in.objects(key)) {
    out.push_back({.model_parameters = count_of(reward, "model_parameters"),
                   .model_bytes = count_of(reward, "model_bytes"),
                   .is_decoder = reward.boolean("is_decoder"),
                   .reads_prompt = reward.boolean("reads_prompt"),
                   .training_texts = count_of(reward, "training_texts"),
                   .training_tokens = count_of(reward, "training_tokens"),
                   .longest_tokens = count_of(reward, "longest_tokens"),
                   .prompt_tokens = count_of(reward, "prompt_tokens")});
    in.adopt(reward.finish());
  }
  return out;
}

}  // namespace

PlanSizes read_plan_sizes(JsonReader& in) {
  PlanSizes out;
  out.product_rate = in.number("product_rate", 1.0, 1e18);
  JsonReader model = in.object("model");
  out.model = {.parameters = count_of(model, "parameters"),
               .embedding = count_of(model, "embedding"),
               .hidden = count_of(model, "hidden"),
               .kv_width = count_of(model, "kv_width"),
               .ffn_width = count_of(model, "ffn_width"),
               .layers = count_of(model, "layers"),
               .vocabulary = count_of(model, "vocabulary")};
  in.adopt(model.finish());
  out.prompts = count_of(in, "prompts");
  out.price_prompt = read_length(in, "price_prompt");
  out.train_prompt = read_length(in, "train_prompt");
  out.sft_record = read_length(in, "sft_record");
  out.rewards = read_rewards(in, "rewards");
  out.judges = read_rewards(in, "judges");
  return out;
}

}  // namespace candor
