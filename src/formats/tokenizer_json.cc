// tokenizer.json of Hugging Face's tokenizers library. Every component that is not supported is an
// error by name: a tokenizer that is nearly right gives nearly right money.
#include <algorithm>

#include "base/file.h"
#include "base/json.h"
#include "base/strings.h"
#include "formats/pipeline_tokenizer.h"
#include "formats/tokenizer_components.h"
#include "formats/tokenizer_readers.h"
#include "formats/unicode.h"

namespace candor {

namespace {

constexpr int64_t kLargestVocabulary = 1 << 20;

using namespace json_component;

Result<std::unordered_map<std::string, int32_t>> read_vocabulary(const Json& model,
                                                                 TokenizerParts& parts) {
  std::unordered_map<std::string, int32_t> vocabulary;
  if (!model.contains("vocab") || !model["vocab"].is_object()) {
    return invalid_argument("model.vocab: expected an object of token to id");
  }
  for (const auto& item : model["vocab"].items()) {
    if (!item.value().is_number_unsigned() || item.value().get<uint64_t>() >= kLargestVocabulary) {
      return invalid_argument(str_cat("model.vocab.", item.key(), ": found ", item.value().dump(),
                                      "; expected a token id"));
    }
    const auto id = item.value().get<int32_t>();
    vocabulary.emplace(item.key(), id);
    if (static_cast<size_t>(id) >= parts.tokens.size())
      parts.tokens.resize(static_cast<size_t>(id) + 1);
    std::string& token = parts.tokens[static_cast<size_t>(id)];
    if (!token.empty()) {
      return invalid_argument(str_cat("model.vocab: ", quote(token), " and ", quote(item.key()),
                                      " have the same id ", id));
    }
    token = item.key();
  }
  return vocabulary;
}

Result<std::vector<std::pair<std::string, std::string>>> read_merges(const Json& model) {
  std::vector<std::pair<std::string, std::string>> merges;
  for (const Json& merge : list(model, "merges")) {
    if (merge.is_string()) {
      const auto& both = merge.get_ref<const std::string&>();
      const size_t space = both.find(' ');
      if (space == std::string::npos)
        return invalid_argument(str_cat("model.merges: found ", quote(both)));
      merges.emplace_back(both.substr(0, space), both.substr(space + 1));
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
    } else {
      return invalid_argument(str_cat("model.merges: found ", merge.dump()));
    }
  }
  return merges;
}

// A field that is not known could change what the model does.
Status check_model_fields(const Json& model) {
  static const std::vector<std::string> kFlags = {"fuse_unk", "byte_fallback", "ignore_merges"};
  static const std::vector<std::string> kOthers = {"type",
                                                   "vocab",
                                                   "merges",
                                                   "dropout",
                                                   "unk_token",
                                                   "continuing_subword_prefix",
                                                   "end_of_word_suffix",
                                                   "max_input_chars_per_word"};
  for (const auto& item : model.items()) {
    const bool is_flag = std::ranges::find(kFlags, item.key()) != kFlags.end();
    if (is_flag && !item.value().is_boolean()) {
      return invalid_argument(str_cat("model.", item.key(), ": found ", item.value().dump(),
                                      "; expected true or false"));
    }
    if (!is_flag && std::ranges::find(kOthers, item.key()) == kOthers.end()) {
      return not_supported("model", str_cat(type_of(model), " with ", item.key()));
    }
  }
  return {};
}

Status add_bpe(const Json& model, TokenizerParts& parts) {
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!text(model, key).empty()) return not_supported("model", str_cat("BPE with ", key));
  }
  if (model.contains("dropout") && !model["dropout"].is_null())
    return not_supported("model", "BPE with dropout");
  CANDOR_TRY(auto vocabulary, read_vocabulary(model, parts));
  CANDOR_TRY(const auto merges, read_merges(model));
  Bpe::Options options;
  options.byte_fallback = flag(model, "byte_fallback", false);
  options.ignore_merges = flag(model, "ignore_merges", false);
  options.fuse_unknown = flag(model, "fuse_unk", false);
  if (const std::string unknown = text(model, "unk_token"); !unknown.empty()) {
    const auto found = vocabulary.find(unknown);
    if (found == vocabulary.end())
      return invalid_argument("model.unk_token: is not in the vocabulary");
    options.unknown_id = found->second;
  }
  CANDOR_TRY(Bpe bpe, Bpe::from_merges(std::move(vocabulary), merges, options));
  auto shared = std::make_shared<const Bpe>(std::move(bpe));
  parts.encode = [shared](std::string_view piece, std::vector<int32_t>& ids) -> Status {
    shared->encode(piece, ids);
    return {};
  };
  return {};
}

Status add_word_piece(const Json& model, TokenizerParts& parts) {
  auto word_piece = std::make_shared<WordPiece>();
  CANDOR_TRY(word_piece->vocabulary, read_vocabulary(model, parts));
  word_piece->continuing_prefix = text(model, "continuing_subword_prefix");
  if (word_piece->continuing_prefix != "##") return not_supported("model", "WordPiece without ##");
  if (model.contains("max_input_chars_per_word") &&
      model["max_input_chars_per_word"].is_number_unsigned()) {
    word_piece->longest_word = model["max_input_chars_per_word"].get<size_t>();
  }
  const auto unknown = word_piece->vocabulary.find(text(model, "unk_token"));
  if (unknown == word_piece->vocabulary.end())
    return invalid_argument("model.unk_token: is not in the vocabulary");
  word_piece->unknown_id = unknown->second;
  parts.encode = [word_piece](std::string_view piece, std::vector<int32_t>& ids) -> Status {
    word_piece->encode(piece, ids);
    return {};
  };
  return {};
}

Status add_added_tokens(const Json& json, TokenizerParts& parts) {
  for (const Json& entry : list(json, "added_tokens")) {
    const std::string content = text(entry, "content");
    if (!entry.is_object() || content.empty() || !entry.contains("id") ||
        !entry["id"].is_number_unsigned() || entry["id"].get<uint64_t>() >= kLargestVocabulary) {
      return invalid_argument(str_cat("added_tokens: found ", entry.dump()));
    }
    for (const char* key : {"single_word", "lstrip", "rstrip"}) {
      if (flag(entry, key, false))
        return not_supported("added_tokens", str_cat(content, " with ", key));
    }
    if (flag(entry, "normalized", false) && !parts.normalizers.empty()) {
      return not_supported("added_tokens", content + " with normalized");
    }
    const auto id = entry["id"].get<int32_t>();
    parts.added.push_back({content, id, flag(entry, "special", false)});
    if (static_cast<size_t>(id) >= parts.tokens.size())
      parts.tokens.resize(static_cast<size_t>(id) + 1);
    std::string& token = parts.tokens[static_cast<size_t>(id)];
    if (!token.empty() && token != content) {
      return invalid_argument(
          str_cat("added_tokens: ", quote(content), " has the id ", id, " of ", quote(token)));
    }
    token = content;
  }
  return {};
}

const Json& component(const Json& json, const char* key) {
  static const Json kNull;
  return json.contains(key) ? json[key] : kNull;
}

Result<TokenizerParts> read_parts(const Json& json) {
  if (!json.is_object() || !json.contains("model") || !json["model"].is_object()) {
    return invalid_argument("has no model");
  }
  TokenizerParts parts;
  CANDOR_RETURN_IF_ERROR(add_normalizer(component(json, "normalizer"), parts));
  CANDOR_RETURN_IF_ERROR(add_pre_tokenizer(component(json, "pre_tokenizer"), parts));
  CANDOR_RETURN_IF_ERROR(check_model_fields(json["model"]));
  const std::string type = type_of(json["model"]);
  // Old files leave the model's type out; its merges tell.
  if (type == "BPE" || (type == "?" && json["model"].contains("merges"))) {
    CANDOR_RETURN_IF_ERROR(add_bpe(json["model"], parts));
  } else if (type == "WordPiece") {
    CANDOR_RETURN_IF_ERROR(add_word_piece(json["model"], parts));
  } else {
    return not_supported("model", type);
  }
  CANDOR_RETURN_IF_ERROR(add_added_tokens(json, parts));
  CANDOR_RETURN_IF_ERROR(add_post_processor(component(json, "post_processor"), parts));
  CANDOR_RETURN_IF_ERROR(add_decoder(component(json, "decoder"), parts));
  return parts;
}

}  // namespace

Result<TokenizerParts> parts_from_tokenizer_json(const std::filesystem::path& path) {
  CANDOR_TRY(const Json json, read_json_file(path.string()));
  Result<TokenizerParts> parts = read_parts(json);
  if (!parts.ok()) return invalid_argument(str_cat(path.string(), ": ", parts.error().message));
  return parts;
}

}  // namespace candor
