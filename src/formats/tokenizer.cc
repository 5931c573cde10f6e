#include "formats/tokenizer.h"

#include <algorithm>

#include "base/json.h"
#include "base/strings.h"
#include "formats/tokenizer_components.h"
#include "formats/tokenizer_readers.h"
#include "formats/unicode.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

// llama.cpp's token types.
constexpr int64_t kUnknownToken = 2;
constexpr int64_t kControlToken = 3;
constexpr int64_t kUserDefinedToken = 4;

const char* const kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

const char* const kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// The patterns, applied one after the other, of a pre-tokenizer that GGUF files name.
Result<std::vector<std::string>> patterns_of(const std::string& name) {
  if (name == "smollm") return std::vector<std::string>{"\\p{N}", kGpt2Pattern};
  if (name == "gpt-2") return std::vector<std::string>{kGpt2Pattern};
  if (name == "qwen2") return std::vector<std::string>{kQwen2Pattern};
  if (name == "llama-bpe") return std::vector<std::string>{kLlama3Pattern};
  return invalid_argument(str_cat("tokenizer.ggml.pre: ", quote(name),
                                  " is not supported; smollm, gpt-2, qwen2 and llama-bpe are"));
}

Result<std::optional<int32_t>> optional_id(const GgufFile& file, const std::string& key,
                                           size_t size) {
  if (!file.has(key)) return std::optional<int32_t>();
  CANDOR_TRY(const int64_t id, file.integer(key, 0, static_cast<int64_t>(size) - 1));
  return std::optional<int32_t>(static_cast<int32_t>(id));
}

Status add_special_ids(const GgufFile& file, bool default_bos, TokenizerParts& parts) {
  CANDOR_TRY(parts.bos, optional_id(file, "tokenizer.ggml.bos_token_id", parts.tokens.size()));
  CANDOR_TRY(parts.eos, optional_id(file, "tokenizer.ggml.eos_token_id", parts.tokens.size()));
  bool add_bos = default_bos;
  bool add_eos = false;
  if (file.has("tokenizer.ggml.add_bos_token")) {
    CANDOR_TRY(add_bos, file.boolean("tokenizer.ggml.add_bos_token"));
  }
  if (file.has("tokenizer.ggml.add_eos_token")) {
    CANDOR_TRY(add_eos, file.boolean("tokenizer.ggml.add_eos_token"));
  }
  if (add_bos && parts.bos.has_value()) parts.prefix = {*parts.bos};
  if (add_eos && parts.eos.has_value()) parts.suffix = {*parts.eos};
  return {};
}

Status add_gguf_bpe(const GgufFile& file, std::unordered_map<std::string, int32_t> vocabulary,
                    TokenizerParts& parts) {
  CANDOR_TRY(const std::vector<std::string> lines, file.texts("tokenizer.ggml.merges"));
  std::vector<std::pair<std::string, std::string>> merges;
  for (const std::string& line : lines) {
    const size_t space = line.find(' ', 1);
    if (space == std::string::npos) {
      return invalid_argument(str_cat("tokenizer.ggml.merges: found ", quote(line)));
    }
    merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  CANDOR_TRY(const std::string pre, file.text("tokenizer.ggml.pre"));
  CANDOR_TRY(const std::vector<std::string> patterns, patterns_of(pre));
  if (pre == "qwen2")
    parts.normalizers.emplace_back(
        [](const std::string& s) { return to_normal_form(s, NormalForm::kC); });
  for (const std::string& pattern : patterns) CANDOR_RETURN_IF_ERROR(add_regex(pattern, parts));
  // llama.cpp's rule for this pre-tokenizer, which Llama 3's tokenizer.json states itself.
  const bool llama3 = pre == "llama-bpe";
  CANDOR_TRY(Bpe bpe, Bpe::from_merges(std::move(vocabulary), merges, {.ignore_merges = llama3}));
  auto shared = std::make_shared<const Bpe>(std::move(bpe));
  parts.encode = [shared](std::string_view piece, std::vector<int32_t>& ids) -> Status {
    shared->encode(bytes_to_alphabet(piece), ids);
    return {};
  };
  parts.decoding = TokenizerParts::Decoding::kByteLevel;
  return add_special_ids(file, llama3, parts);
}

Status add_gguf_scores(const GgufFile& file, std::unordered_map<std::string, int32_t> vocabulary,
                       TokenizerParts& parts) {
  CANDOR_TRY(const std::vector<double> scores, file.numbers("tokenizer.ggml.scores"));
  if (scores.size() != parts.tokens.size()) {
    return invalid_argument(str_cat("tokenizer.ggml.scores: has ", scores.size(),
                                    " entries; there are ", parts.tokens.size(), " tokens"));
  }
  CANDOR_TRY(const auto unknown,
             optional_id(file, "tokenizer.ggml.unknown_token_id", parts.tokens.size()));
  bool prefix_space = true;
  if (file.has("tokenizer.ggml.add_space_prefix")) {
    CANDOR_TRY(prefix_space, file.boolean("tokenizer.ggml.add_space_prefix"));
  }
  parts.normalizers.emplace_back([prefix_space](const std::string& s) {
    std::string out = prefix_space ? "\xe2\x96\x81" : "";
    for (const char c : s) {
      if (c == ' ') {
        out += "\xe2\x96\x81";
      } else {
        out += c;
      }
    }
    return out;
  });
  const Bpe::Options options{.byte_fallback = true, .unknown_id = unknown.value_or(0)};
  auto bpe = std::make_shared<const Bpe>(
      Bpe::from_scores(std::move(vocabulary), {scores.begin(), scores.end()}, options));
  parts.encode = [bpe](std::string_view piece, std::vector<int32_t>& ids) -> Status {
    bpe->encode(piece, ids);
    return {};
  };
  parts.decoding = TokenizerParts::Decoding::kSentencePiece;
  parts.strips_first_space = prefix_space;
  return add_special_ids(file, true, parts);
}

Result<TokenizerParts> parts_from_gguf(const GgufFile& file) {
  TokenizerParts parts;
  CANDOR_TRY(const std::string model, file.text("tokenizer.ggml.model"));
  CANDOR_TRY(parts.tokens, file.texts("tokenizer.ggml.tokens"));
  std::unordered_map<std::string, int32_t> vocabulary;
  for (size_t id = 0; id < parts.tokens.size(); ++id) {
    vocabulary.emplace(parts.tokens[id], static_cast<int32_t>(id));
  }
  if (file.has("tokenizer.ggml.token_type")) {
    CANDOR_TRY(const std::vector<int64_t> types, file.integers("tokenizer.ggml.token_type"));
    if (types.size() != parts.tokens.size()) {
      return invalid_argument("tokenizer.ggml.token_type: its length is not the vocabulary's");
    }
    for (size_t id = 0; id < types.size(); ++id) {
      const bool special = types[id] == kControlToken || types[id] == kUnknownToken;
      if ((special || types[id] == kUserDefinedToken) && !parts.tokens[id].empty()) {
        parts.added.push_back({parts.tokens[id], static_cast<int32_t>(id), special});
      }
    }
  }
  if (model == "gpt2") {
    CANDOR_RETURN_IF_ERROR(add_gguf_bpe(file, std::move(vocabulary), parts));
  } else if (model == "llama") {
    CANDOR_RETURN_IF_ERROR(add_gguf_scores(file, std::move(vocabulary), parts));
  } else {
    return invalid_argument(
        str_cat("tokenizer.ggml.model: ", quote(model), " is not supported; gpt2 and llama are"));
  }
  return parts;
}

// tokenizer_config.json of a folder; null where there is none.
Result<Json> tokenizer_config(const fs::path& folder) {
  const fs::path path = folder / "tokenizer_config.json";
  if (!fs::exists(path)) return Json();
  CANDOR_TRY(Json json, read_json_file(path.string()));
  if (!json.is_object()) return invalid_argument(str_cat(path.string(), ": expected an object"));
  return json;
}

// A field of tokenizer_config.json that is true, false, null or absent.
Result<bool> config_flag(const Json& config, const char* key, bool fallback) {
  if (!config.contains(key) || config[key].is_null()) return fallback;
  if (config[key].is_boolean()) return config[key].get<bool>();
  return invalid_argument(str_cat("tokenizer_config.json: ", key, ": found ", config[key].dump(),
                                  "; expected true or false"));
}

// bos_token and eos_token of tokenizer_config.json or config.json, where a folder has them.
Status add_folder_ids(const fs::path& folder, const Json& config, TokenizerParts& parts) {
  const auto by_token = [&](const char* key, std::optional<int32_t>& out) {
    if (!config.contains(key)) return;
    const Json& value = config[key];
    const Json& name = value.is_object() && value.contains("content") ? value["content"] : value;
    if (!name.is_string()) return;
    const auto found = std::ranges::find(parts.tokens, name.get<std::string>());
    if (found != parts.tokens.end()) out = static_cast<int32_t>(found - parts.tokens.begin());
  };
  by_token("bos_token", parts.bos);
  by_token("eos_token", parts.eos);
  if (!fs::exists(folder / "config.json")) return {};
  CANDOR_TRY(const Json json, read_json_file((folder / "config.json").string()));
  const auto by_id = [&](const char* key, std::optional<int32_t>& out) {
    if (out.has_value() || !json.contains(key) || !json[key].is_number_unsigned()) return;
    if (json[key].get<uint64_t>() < parts.tokens.size()) out = json[key].get<int32_t>();
  };
  by_id("bos_token_id", parts.bos);
  by_id("eos_token_id", parts.eos);
  return {};
}

// What BERT's tokenizer_config.json says of its vocab.txt, with the library's defaults.
Result<BertNormalizer> bert_options(const Json& config) {
  BertNormalizer options;
  CANDOR_TRY(options.lowercase, config_flag(config, "do_lower_case", true));
  CANDOR_TRY(options.strip_accents, config_flag(config, "strip_accents", options.lowercase));
  CANDOR_TRY(options.handle_chinese_chars, config_flag(config, "tokenize_chinese_chars", true));
  return options;
}

Result<TokenizerParts> parts_from_file(const fs::path& file, const Json& config) {
  if (file.extension() == ".json") return parts_from_tokenizer_json(file);
  if (file.extension() == ".txt") {
    CANDOR_TRY(const BertNormalizer options, bert_options(config));
    return parts_from_vocab_txt(file, options);
  }
  if (file.extension() != ".model") {
    return invalid_argument(
        str_cat(file.string(), ": expected a name ending in .json, .model or .txt"));
  }
  CANDOR_TRY(TokenizerParts parts, parts_from_sentencepiece(file));
  CANDOR_TRY(const bool add_bos, config_flag(config, "add_bos_token", true));
  CANDOR_TRY(const bool add_eos, config_flag(config, "add_eos_token", false));
  if (add_bos && parts.bos.has_value()) parts.prefix = {*parts.bos};
  if (add_eos && parts.eos.has_value()) parts.suffix = {*parts.eos};
  return parts;
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> tokenizer_from_gguf(const GgufFile& file) {
  Result<TokenizerParts> parts = parts_from_gguf(file);
  if (!parts.ok()) return invalid_argument(str_cat(file.path(), ": ", parts.error().message));
  return make_pipeline_tokenizer(std::move(*parts));
}

Result<std::shared_ptr<const Tokenizer>> tokenizer_from_file(const fs::path& file) {
  CANDOR_TRY(TokenizerParts parts, parts_from_file(file, Json()));
  return make_pipeline_tokenizer(std::move(parts));
}

Result<std::shared_ptr<const Tokenizer>> tokenizer_from_folder(const fs::path& folder) {
  CANDOR_TRY(const Json config, tokenizer_config(folder));
  for (const char* name : {"tokenizer.json", "tokenizer.model", "vocab.txt"}) {
    if (!fs::exists(folder / name)) continue;
    CANDOR_TRY(TokenizerParts parts, parts_from_file(folder / name, config));
    CANDOR_RETURN_IF_ERROR(add_folder_ids(folder, config, parts));
    return make_pipeline_tokenizer(std::move(parts));
  }
  return invalid_argument(
      str_cat(folder.string(), ": has none of tokenizer.json, tokenizer.model, vocab.txt"));
}

}  // namespace candor
