#include "formats/tokenizer_writer.h"

#include "base/strings.h"

namespace candor {

namespace {

// llama.cpp's token types.
constexpr int64_t kControlToken = 3;
constexpr int64_t kUserDefinedToken = 4;

Result<Json> pre_tokenizer_of(const std::string& name) {
  const Json bytes = {{"type", "ByteLevel"},
                      {"add_prefix_space", false},
                      {"trim_offsets", true},
                      {"use_regex", true}};
  if (name == "gpt-2") return bytes;
  if (name == "smollm") {
    const Json digits = {{"type", "Digits"}, {"individual_digits", true}};
    return Json{{"type", "Sequence"}, {"pretokenizers", Json::array({digits, bytes})}};
  }
  return invalid_argument(str_cat("tokenizer.ggml.pre: ", quote(name),
                                  " cannot be written as tokenizer.json; smollm and gpt-2 can"));
}

Result<Json> merges_of(const GgufFile& file) {
  CANDOR_TRY(const std::vector<std::string> lines, file.texts("tokenizer.ggml.merges"));
  Json merges = Json::array();
  for (const std::string& line : lines) {
    const size_t space = line.find(' ', 1);
    if (space == std::string::npos) {
      return invalid_argument(str_cat("tokenizer.ggml.merges: found ", quote(line)));
    }
    merges.push_back({line.substr(0, space), line.substr(space + 1)});
  }
  return merges;
}

Result<Json> added_tokens_of(const GgufFile& file, const std::vector<std::string>& tokens) {
  CANDOR_TRY(const std::vector<int64_t> types, file.integers("tokenizer.ggml.token_type"));
  if (types.size() != tokens.size()) {
    return invalid_argument(str_cat(file.path(), ": tokenizer.ggml.token_type: has ", types.size(),
                                    " entries; there are ", tokens.size(), " tokens"));
  }
  Json added = Json::array();
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (types[id] != kControlToken && types[id] != kUserDefinedToken) continue;
    added.push_back({{"id", id},
                     {"content", tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", types[id] == kControlToken}});
  }
  return added;
}

Result<bool> flag_of(const GgufFile& file, const char* key) {
  if (!file.has(key)) return false;
  return file.boolean(key);
}

// What encode puts around a text: the begin and end tokens, where the file says so and has them.
Result<Json> post_processor_of(const GgufFile& file, const std::vector<std::string>& tokens) {
  Json single = Json::array();
  Json special = Json::object();
  const auto add = [&](const char* flag, const char* key) -> Status {
    CANDOR_TRY(const bool added, flag_of(file, flag));
    if (!added || !file.has(key)) return {};
    CANDOR_TRY(const int64_t id, file.integer(key, 0, static_cast<int64_t>(tokens.size()) - 1));
    const std::string& token = tokens[static_cast<size_t>(id)];
    single.push_back({{"SpecialToken", {{"id", token}, {"type_id", 0}}}});
    special[token] = {{"id", token}, {"ids", Json::array({id})}, {"tokens", Json::array({token})}};
    return {};
  };
  CANDOR_RETURN_IF_ERROR(add("tokenizer.ggml.add_bos_token", "tokenizer.ggml.bos_token_id"));
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  CANDOR_RETURN_IF_ERROR(add("tokenizer.ggml.add_eos_token", "tokenizer.ggml.eos_token_id"));
  if (special.empty()) return Json();
  Json pair = single;
  for (Json item : single) {
    if (item.contains("Sequence")) item["Sequence"]["id"] = "B";
    item.begin().value()["type_id"] = 1;
    pair.push_back(std::move(item));
  }
  return Json{{"type", "TemplateProcessing"},
              {"single", std::move(single)},
              {"pair", std::move(pair)},
              {"special_tokens", std::move(special)}};
}

}  // namespace

Result<Json> tokenizer_json_of(const GgufFile& file) {
  CANDOR_TRY(const std::string model, file.text("tokenizer.ggml.model"));
  if (model != "gpt2") {
    return invalid_argument(str_cat(file.path(), ": tokenizer.ggml.model: ", quote(model),
                                    " cannot be written as tokenizer.json; gpt2 can"));
  }
  CANDOR_TRY(const std::vector<std::string> tokens, file.texts("tokenizer.ggml.tokens"));
  CANDOR_TRY(const std::string pre, file.text("tokenizer.ggml.pre"));
  Json out = {{"version", "1.0"},
              {"truncation", nullptr},
              {"padding", nullptr},
              {"normalizer", nullptr},
              {"decoder",
               {{"type", "ByteLevel"},
                {"add_prefix_space", true},
                {"trim_offsets", true},
                {"use_regex", true}}}};
  CANDOR_TRY(out["added_tokens"], added_tokens_of(file, tokens));
  CANDOR_TRY(out["pre_tokenizer"], pre_tokenizer_of(pre));
  CANDOR_TRY(out["post_processor"], post_processor_of(file, tokens));
  Json vocabulary = Json::object();
  for (size_t id = 0; id < tokens.size(); ++id) vocabulary[tokens[id]] = id;
  if (vocabulary.size() != tokens.size()) {
    return invalid_argument(str_cat(file.path(), ": tokenizer.ggml.tokens: a token occurs twice"));
  }
  CANDOR_TRY(Json merges, merges_of(file));
  out["model"] = {{"type", "BPE"},
                  {"dropout", nullptr},
                  {"unk_token", nullptr},
                  {"continuing_subword_prefix", nullptr},
                  {"end_of_word_suffix", nullptr},
                  {"fuse_unk", false},
                  {"byte_fallback", false},
                  {"ignore_merges", false},
                  {"vocab", std::move(vocabulary)},
                  {"merges", std::move(merges)}};
  return out;
}

Result<Json> tokenizer_config_of(const GgufFile& file) {
  CANDOR_TRY(const std::vector<std::string> tokens, file.texts("tokenizer.ggml.tokens"));
  Json out = {{"tokenizer_class", "PreTrainedTokenizerFast"},
              {"clean_up_tokenization_spaces", false}};
  const auto last = static_cast<int64_t>(tokens.size()) - 1;
  for (const auto& [role, key] : {std::pair{"bos_token", "tokenizer.ggml.bos_token_id"},
                                  std::pair{"eos_token", "tokenizer.ggml.eos_token_id"},
                                  std::pair{"unk_token", "tokenizer.ggml.unknown_token_id"},
                                  std::pair{"pad_token", "tokenizer.ggml.padding_token_id"}}) {
    if (!file.has(key)) continue;
    CANDOR_TRY(const int64_t id, file.integer(key, 0, last));
    out[role] = tokens[static_cast<size_t>(id)];
  }
  if (file.has("llama.context_length")) {
    CANDOR_TRY(out["model_max_length"], file.integer("llama.context_length", 1, int64_t{1} << 40));
  }
  if (file.has("tokenizer.chat_template")) {
    CANDOR_TRY(out["chat_template"], file.text("tokenizer.chat_template"));
  }
  return out;
}

}  // namespace candor
