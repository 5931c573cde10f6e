// tokenizer.json of Hugging Face's tokenizers library. Every component that is not supported is an
// error by name: a tokenizer that is nearly right gives nearly right money.
#include <algorithm>
#include <set>

#include "base/file.h"
#include "base/json.h"
#include "base/strings.h"
#include "formats/pipeline_tokenizer.h"
#include "formats/tokenizer_readers.h"
#include "formats/unicode.h"

namespace candor {

namespace {

constexpr int64_t kLargestVocabulary = 1 << 22;

std::string type_of(const Json& component) {
  if (component.is_object() && component.contains("type") && component["type"].is_string()) {
    return component["type"].get<std::string>();
  }
  return component.is_null() ? "null" : "?";
}

bool flag(const Json& component, const char* key, bool fallback) {
  return component.contains(key) && component[key].is_boolean() ? component[key].get<bool>()
                                                                : fallback;
}

std::string text(const Json& component, const char* key) {
  return component.contains(key) && component[key].is_string() ? component[key].get<std::string>()
                                                               : "";
}

Error not_supported(std::string_view what, const std::string& type) {
  return invalid_argument(str_cat(what, ": ", quote(type), " is not supported"));
}

const Json& list(const Json& component, const char* key) {
  static const Json kEmpty = Json::array();
  return component.contains(key) && component[key].is_array() ? component[key] : kEmpty;
}

Status add_normalizer(const Json& component, TokenizerParts& parts) {
  const std::string type = type_of(component);
  if (type == "null") return {};
  if (type == "Sequence") {
    for (const Json& child : list(component, "normalizers")) {
      CANDOR_RETURN_IF_ERROR(add_normalizer(child, parts));
    }
    return {};
  }
  if (type == "NFC") {
    parts.normalizers.emplace_back([](const std::string& s) { return to_nfc(s); });
    return {};
  }
  if (type == "Prepend") {
    const std::string prefix = text(component, "prepend");
    parts.normalizers.emplace_back(
        [prefix](const std::string& s) { return s.empty() ? s : prefix + s; });
    return {};
  }
  if (type == "Replace" && component.contains("pattern") && component["pattern"].is_object() &&
      component["pattern"].contains("String")) {
    const std::string from = text(component["pattern"], "String");
    const std::string to = text(component, "content");
    if (from.empty()) return not_supported("normalizer", "Replace of nothing");
    parts.normalizers.emplace_back([from, to](std::string s) {
      for (size_t at = 0; (at = s.find(from, at)) != std::string::npos; at += to.size()) {
        s.replace(at, from.size(), to);
      }
      return s;
    });
    return {};
  }
  if (type == "BertNormalizer") {
    BertNormalizer options;
    options.clean_text = flag(component, "clean_text", true);
    options.handle_chinese_chars = flag(component, "handle_chinese_chars", true);
    options.lowercase = flag(component, "lowercase", true);
    options.strip_accents = flag(component, "strip_accents", options.lowercase);
    parts.normalizers.emplace_back(
        [options](const std::string& s) { return bert_normalize(s, options); });
    return {};
  }
  return not_supported("normalizer", type);
}

Status add_regex(const std::string& pattern, TokenizerParts& parts) {
  CANDOR_TRY(const RegexSplitter splitter, RegexSplitter::compile(pattern));
  parts.splitters.emplace_back(
      [splitter](const std::string& s) -> Result<std::vector<std::string>> {
        CANDOR_TRY(const std::vector<std::string_view> pieces, splitter.split(s));
        return std::vector<std::string>(pieces.begin(), pieces.end());
      });
  return {};
}

Status add_pre_tokenizer(const Json& component, TokenizerParts& parts) {
  const std::string type = type_of(component);
  if (type == "null") return {};
  if (type == "Sequence") {
    for (const Json& child : list(component, "pretokenizers")) {
      CANDOR_RETURN_IF_ERROR(add_pre_tokenizer(child, parts));
    }
    return {};
  }
  if (type == "ByteLevel") {
    if (flag(component, "add_prefix_space", true)) {
      return not_supported("pre_tokenizer", "ByteLevel with add_prefix_space");
    }
    if (flag(component, "use_regex", true)) CANDOR_RETURN_IF_ERROR(add_regex(kGpt2Pattern, parts));
    parts.splitters.emplace_back([](const std::string& s) -> Result<std::vector<std::string>> {
      return std::vector<std::string>{bytes_to_alphabet(s)};
    });
    return {};
  }
  if (type == "Digits" && flag(component, "individual_digits", false))
    return add_regex("\\p{N}", parts);
  if (type == "Split" && text(component, "behavior") == "Isolated" &&
      !flag(component, "invert", false) && component.contains("pattern") &&
      component["pattern"].is_object() && component["pattern"].contains("Regex")) {
    return add_regex(text(component["pattern"], "Regex"), parts);
  }
  if (type == "BertPreTokenizer") {
    parts.splitters.emplace_back(
        [](const std::string& s) -> Result<std::vector<std::string>> { return bert_words(s); });
    return {};
  }
  return not_supported("pre_tokenizer", type);
}

// The special tokens around a single sequence.
Status add_post_processor(const Json& component, TokenizerParts& parts) {
  const std::string type = type_of(component);
  if (type == "null" || type == "ByteLevel") return {};
  if (type == "Sequence") {
    for (const Json& child : list(component, "processors")) {
      CANDOR_RETURN_IF_ERROR(add_post_processor(child, parts));
    }
    return {};
  }
  if (type != "TemplateProcessing") return not_supported("post_processor", type);
  bool before = true;
  for (const Json& item : list(component, "single")) {
    if (!item.is_object()) return not_supported("post_processor", "TemplateProcessing");
    if (item.contains("Sequence")) {
      before = false;
      continue;
    }
    const std::string name = item.contains("SpecialToken") && item["SpecialToken"].is_object()
                                 ? text(item["SpecialToken"], "id")
                                 : "";
    const auto found = std::ranges::find(parts.added, name, &TokenizerParts::AddedToken::content);
    if (found == parts.added.end()) {
      return invalid_argument(str_cat("post_processor: ", quote(name), " is not an added token"));
    }
    (before ? parts.prefix : parts.suffix).push_back(found->id);
  }
  return {};
}

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
    parts.tokens[static_cast<size_t>(id)] = item.key();
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
  parts.decoding = options.byte_fallback ? TokenizerParts::Decoding::kSentencePiece
                                         : TokenizerParts::Decoding::kByteLevel;
  CANDOR_TRY(Bpe bpe, Bpe::from_merges(std::move(vocabulary), merges, options));
  auto shared = std::make_shared<const Bpe>(std::move(bpe));
  parts.encode = [shared](std::string_view piece, std::vector<int32_t>& ids) {
    return shared->encode(piece, ids);
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
  parts.decoding = TokenizerParts::Decoding::kWordPiece;
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
    parts.tokens[static_cast<size_t>(id)] = content;
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
  return parts;
}

}  // namespace

Result<TokenizerParts> parts_from_tokenizer_json(const std::filesystem::path& path) {
  CANDOR_TRY(const Json json, read_json_file(path.string()));
  Result<TokenizerParts> parts = read_parts(json);
  if (!parts.ok()) return invalid_argument(str_cat(path.string(), ": ", parts.error().message));
  return parts;
}

Result<TokenizerParts> parts_from_vocab_txt(const std::filesystem::path& path) {
  CANDOR_TRY(const std::string bytes, read_file(path));
  TokenizerParts parts;
  auto word_piece = std::make_shared<WordPiece>();
  for (std::string& line : split(bytes, '\n')) {
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty()) continue;
    word_piece->vocabulary.emplace(line, static_cast<int32_t>(parts.tokens.size()));
    parts.tokens.push_back(std::move(line));
  }
  for (const char* name : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}) {
    const auto found = word_piece->vocabulary.find(name);
    if (found == word_piece->vocabulary.end()) {
      return invalid_argument(str_cat(path.string(), ": has no ", name, "; not a BERT vocabulary"));
    }
    parts.added.push_back({name, found->second, true});
  }
  word_piece->unknown_id = parts.added[1].id;
  parts.prefix = {parts.added[2].id};
  parts.suffix = {parts.added[3].id};
  parts.normalizers.emplace_back([](const std::string& s) { return bert_normalize(s, {}); });
  parts.splitters.emplace_back(
      [](const std::string& s) -> Result<std::vector<std::string>> { return bert_words(s); });
  parts.decoding = TokenizerParts::Decoding::kWordPiece;
  parts.encode = [word_piece](std::string_view piece, std::vector<int32_t>& ids) -> Status {
    word_piece->encode(piece, ids);
    return {};
  };
  return parts;
}

}  // namespace candor
