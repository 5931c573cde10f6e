#include "formats/tokenizer_components.h"

#include <algorithm>

#include "base/strings.h"
#include "formats/unicode.h"

namespace candor {

namespace json_component {

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

const Json& list(const Json& component, const char* key) {
  static const Json kEmpty = Json::array();
  return component.contains(key) && component[key].is_array() ? component[key] : kEmpty;
}

Status check_fields(std::string_view what, const Json& component) {
  using Type = Json::value_t;
  static const std::map<std::string, Type> kFields = {
      {"type", Type::string},
      {"normalizers", Type::array},
      {"prepend", Type::string},
      {"pattern", Type::object},
      {"content", Type::string},
      {"clean_text", Type::boolean},
      {"handle_chinese_chars", Type::boolean},
      {"strip_accents", Type::boolean},
      {"lowercase", Type::boolean},
      {"strip_left", Type::boolean},
      {"strip_right", Type::boolean},
      {"pretokenizers", Type::array},
      {"add_prefix_space", Type::boolean},
      {"trim_offsets", Type::boolean},
      {"use_regex", Type::boolean},
      {"individual_digits", Type::boolean},
      {"behavior", Type::string},
      {"invert", Type::boolean},
      {"replacement", Type::string},
      {"str_rep", Type::string},
      {"prepend_scheme", Type::string},
      {"split", Type::boolean},
      {"processors", Type::array},
      {"single", Type::array},
      {"pair", Type::array},
      {"special_tokens", Type::object},
      {"sep", Type::array},
      {"cls", Type::array},
      {"decoders", Type::array},
      {"prefix", Type::string},
      {"cleanup", Type::boolean},
      {"start", Type::number_unsigned},
      {"stop", Type::number_unsigned},
  };
  if (component.is_null()) return {};
  if (!component.is_object()) {
    return invalid_argument(str_cat(what, ": found ", component.dump(), "; expected an object"));
  }
  for (const auto& item : component.items()) {
    const auto field = kFields.find(item.key());
    if (field == kFields.end()) {
      return not_supported(what, str_cat(type_of(component), " with ", item.key()));
    }
    if (!item.value().is_null() && item.value().type() != field->second) {
      return invalid_argument(str_cat(what, ".", item.key(), ": found ", item.value().dump(),
                                      "; expected ", Json(field->second).type_name()));
    }
  }
  return {};
}

Error not_supported(std::string_view what, std::string_view name) {
  return invalid_argument(str_cat(what, ": ", quote(name, 120), " is not supported"));
}

}  // namespace json_component

namespace {

using namespace json_component;

constexpr std::string_view kMetaspace = "\xe2\x96\x81";  // U+2581

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

// The regular expression of a "pattern": {"String": ...} or {"Regex": ...}.
Result<std::string> pattern_of(std::string_view what, const Json& component) {
  const Json pattern = component.contains("pattern") ? component["pattern"] : Json();
  const std::string plain = pattern.is_object() ? text(pattern, "String") : "";
  const std::string regex = pattern.is_object() ? text(pattern, "Regex") : "";
  if (!plain.empty()) return pattern_of_text(plain);
  if (!regex.empty()) return regex;
  return invalid_argument(str_cat(what, ".pattern: found ", pattern.dump(),
                                  "; expected {\"String\": ...} or {\"Regex\": ...}"));
}

std::optional<NormalForm> normal_form_of(const std::string& type) {
  if (type == "NFC") return NormalForm::kC;
  if (type == "NFD") return NormalForm::kD;
  if (type == "NFKC") return NormalForm::kKC;
  if (type == "NFKD") return NormalForm::kKD;
  return std::nullopt;
}

void add_bert_normalizer(const Json& component, TokenizerParts& parts) {
  BertNormalizer options;
  options.clean_text = flag(component, "clean_text", true);
  options.handle_chinese_chars = flag(component, "handle_chinese_chars", true);
  options.lowercase = flag(component, "lowercase", true);
  options.strip_accents = flag(component, "strip_accents", options.lowercase);
  parts.normalizers.emplace_back(
      [options](const std::string& s) { return bert_normalize(s, options); });
}

// Spaces become U+2581; the scheme says whether one is put in front.
Status add_metaspace(const Json& component, TokenizerParts& parts) {
  if (text(component, "replacement") != kMetaspace) {
    return not_supported("pre_tokenizer", "Metaspace with another replacement than U+2581");
  }
  std::string scheme = text(component, "prepend_scheme");
  if (scheme.empty()) scheme = flag(component, "add_prefix_space", true) ? "always" : "never";
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    return not_supported("pre_tokenizer", str_cat("Metaspace with prepend_scheme ", scheme));
  }
  const bool split = flag(component, "split", true);
  parts.splitters.emplace_back(
      [scheme, split](const std::string& s, bool at_start) -> Result<std::vector<std::string>> {
        std::string piece = replace_all(s, " ", kMetaspace);
        const bool prepend = scheme == "always" || (scheme == "first" && at_start);
        if (prepend && !piece.starts_with(kMetaspace)) piece.insert(0, kMetaspace);
        std::vector<std::string> pieces;
        size_t begin = 0;
        while (split) {
          const size_t end = piece.find(kMetaspace, begin + 1);
          if (end == std::string::npos) break;
          pieces.push_back(piece.substr(begin, end - begin));
          begin = end;
        }
        pieces.push_back(piece.substr(begin));
        return pieces;
      });
  return {};
}

Status add_byte_level(const Json& component, TokenizerParts& parts) {
  if (flag(component, "add_prefix_space", true)) {
    parts.splitters.emplace_back(
        [](const std::string& s, bool /*at_start*/) -> Result<std::vector<std::string>> {
          return std::vector<std::string>{s.starts_with(' ') ? s : " " + s};
        });
  }
  if (flag(component, "use_regex", true)) CANDOR_RETURN_IF_ERROR(add_regex(kGpt2Pattern, parts));
  parts.splitters.emplace_back(
      [](const std::string& s, bool /*at_start*/) -> Result<std::vector<std::string>> {
        return std::vector<std::string>{bytes_to_alphabet(s)};
      });
  return {};
}

Status add_split(const Json& component, TokenizerParts& parts) {
  const std::string behavior = text(component, "behavior");
  if (flag(component, "invert", false)) return not_supported("pre_tokenizer", "Split with invert");
  if (behavior != "Isolated" && behavior != "Removed") {
    return not_supported("pre_tokenizer", str_cat("Split with behavior ", behavior));
  }
  CANDOR_TRY(const std::string pattern, pattern_of("pre_tokenizer", component));
  return add_regex(pattern, parts,
                   behavior == "Isolated" ? RegexSplitter::Behavior::kIsolated
                                          : RegexSplitter::Behavior::kRemoved);
}

// ["[CLS]", 101] of Bert- and RobertaProcessing.
Result<int32_t> token_of_pair(const Json& component, const char* key, const TokenizerParts& parts) {
  const Json& pair = list(component, key);
  if (pair.size() == 2 && pair[1].is_number_unsigned() &&
      pair[1].get<uint64_t>() < parts.tokens.size()) {
    return pair[1].get<int32_t>();
  }
  return invalid_argument(
      str_cat("post_processor.", key, ": found ", pair.dump(), "; expected [token, id]"));
}

// The ids that a template's special token stands for.
Result<std::vector<int32_t>> template_ids(const Json& component, const std::string& name,
                                          const TokenizerParts& parts) {
  const Json tokens =
      component.contains("special_tokens") ? component["special_tokens"] : Json::object();
  std::vector<int32_t> ids;
  if (tokens.is_object() && tokens.contains(name) && tokens[name].is_object()) {
    for (const Json& id : list(tokens[name], "ids")) {
      if (!id.is_number_unsigned() || id.get<uint64_t>() >= parts.tokens.size()) {
        return invalid_argument(str_cat("post_processor.special_tokens.", name, ": found id ",
                                        id.dump(), "; the vocabulary has ", parts.tokens.size()));
      }
      ids.push_back(id.get<int32_t>());
    }
  }
  if (ids.empty()) {
    return invalid_argument(
        str_cat("post_processor: ", quote(name), " is not among its special_tokens"));
  }
  return ids;
}

Status add_template(const Json& component, TokenizerParts& parts) {
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
    CANDOR_TRY(const std::vector<int32_t> ids, template_ids(component, name, parts));
    std::vector<int32_t>& side = before ? parts.prefix : parts.suffix;
    side.insert(side.end(), ids.begin(), ids.end());
  }
  return {};
}

// Replace U+2581, ByteFallback, Fuse and perhaps Strip: Llama's decoder.
Status add_decoder_sequence(const Json& component, TokenizerParts& parts) {
  parts.decoding = TokenizerParts::Decoding::kSentencePiece;
  std::vector<std::string> types;
  for (const Json& child : list(component, "decoders")) {
    CANDOR_RETURN_IF_ERROR(check_fields("decoder", child));
    types.push_back(type_of(child));
    const bool replaces =
        types.back() == "Replace" && child.contains("pattern") && child["pattern"].is_object() &&
        text(child["pattern"], "String") == kMetaspace && text(child, "content") == " ";
    const bool strips = types.back() == "Strip" && text(child, "content") == " " &&
                        child.value("start", 0) == 1 && child.value("stop", 0) == 0;
    if (!replaces && !strips && types.back() != "ByteFallback" && types.back() != "Fuse") {
      return not_supported("decoder", types.back());
    }
  }
  const std::string order = join(types, ", ");
  parts.strips_first_space = order == "Replace, ByteFallback, Fuse, Strip";
  if (!parts.strips_first_space && order != "Replace, ByteFallback, Fuse") {
    return not_supported("decoder", str_cat("Sequence of ", order));
  }
  return {};
}

}  // namespace

Status add_regex(const std::string& pattern, TokenizerParts& parts,
                 RegexSplitter::Behavior behavior) {
  CANDOR_TRY(const RegexSplitter splitter, RegexSplitter::compile(pattern, behavior));
  parts.splitters.emplace_back(
      [splitter](const std::string& s, bool /*at_start*/) -> Result<std::vector<std::string>> {
        CANDOR_TRY(const std::vector<std::string_view> pieces, splitter.split(s));
        return std::vector<std::string>(pieces.begin(), pieces.end());
      });
  return {};
}

Status add_normalizer(const Json& component, TokenizerParts& parts) {
  CANDOR_RETURN_IF_ERROR(check_fields("normalizer", component));
  const std::string type = type_of(component);
  if (type == "Sequence") {
    for (const Json& child : list(component, "normalizers")) {
      CANDOR_RETURN_IF_ERROR(add_normalizer(child, parts));
    }
  } else if (const auto form = normal_form_of(type); form.has_value()) {
    parts.normalizers.emplace_back(
        [form = *form](const std::string& s) { return to_normal_form(s, form); });
  } else if (type == "Lowercase") {
    parts.normalizers.emplace_back([](const std::string& s) { return to_lower(s); });
  } else if (type == "StripAccents") {
    parts.normalizers.emplace_back([](const std::string& s) { return without_marks(s); });
  } else if (type == "Prepend") {
    parts.normalizers.emplace_back([prefix = text(component, "prepend")](const std::string& s) {
      return s.empty() ? s : prefix + s;
    });
  } else if (type == "Replace") {
    const Json pattern = component.contains("pattern") ? component["pattern"] : Json::object();
    const std::string from = text(pattern, "String");
    if (from.empty()) return not_supported("normalizer", "Replace of a regular expression");
    parts.normalizers.emplace_back([from, to = text(component, "content")](std::string s) {
      return replace_all(std::move(s), from, to);
    });
  } else if (type == "BertNormalizer") {
    add_bert_normalizer(component, parts);
  } else if (type != "null") {
    return not_supported("normalizer", type);
  }
  return {};
}

Status add_pre_tokenizer(const Json& component, TokenizerParts& parts) {
  CANDOR_RETURN_IF_ERROR(check_fields("pre_tokenizer", component));
  const std::string type = type_of(component);
  if (type == "null") return {};
  if (type == "ByteLevel") return add_byte_level(component, parts);
  if (type == "Metaspace") return add_metaspace(component, parts);
  if (type == "Split") return add_split(component, parts);
  if (type == "WhitespaceSplit") {
    return add_regex("\\s+", parts, RegexSplitter::Behavior::kRemoved);
  }
  if (type == "Digits") {
    return add_regex(flag(component, "individual_digits", false) ? "\\p{N}" : "\\p{N}+", parts);
  }
  if (type == "BertPreTokenizer") {
    parts.splitters.emplace_back(
        [](const std::string& s, bool /*at_start*/) -> Result<std::vector<std::string>> {
          return bert_words(s);
        });
    return {};
  }
  if (type != "Sequence") return not_supported("pre_tokenizer", type);
  for (const Json& child : list(component, "pretokenizers")) {
    CANDOR_RETURN_IF_ERROR(add_pre_tokenizer(child, parts));
  }
  return {};
}

Status add_post_processor(const Json& component, TokenizerParts& parts) {
  CANDOR_RETURN_IF_ERROR(check_fields("post_processor", component));
  const std::string type = type_of(component);
  if (type == "null" || type == "ByteLevel") return {};
  if (type == "TemplateProcessing") return add_template(component, parts);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    CANDOR_TRY(const int32_t cls, token_of_pair(component, "cls", parts));
    CANDOR_TRY(const int32_t sep, token_of_pair(component, "sep", parts));
    parts.prefix.push_back(cls);
    parts.suffix.push_back(sep);
    return {};
  }
  if (type != "Sequence") return not_supported("post_processor", type);
  for (const Json& child : list(component, "processors")) {
    CANDOR_RETURN_IF_ERROR(add_post_processor(child, parts));
  }
  return {};
}

Status add_decoder(const Json& component, TokenizerParts& parts) {
  CANDOR_RETURN_IF_ERROR(check_fields("decoder", component));
  const std::string type = type_of(component);
  if (type == "null") {
    parts.decoding = TokenizerParts::Decoding::kSpaced;
    return {};
  }
  if (type == "ByteLevel") {
    parts.decoding = TokenizerParts::Decoding::kByteLevel;
    return {};
  }
  if (type == "WordPiece") {
    if (text(component, "prefix") != "##") return not_supported("decoder", "WordPiece without ##");
    parts.decoding = TokenizerParts::Decoding::kWordPiece;
    parts.cleans_up_spaces = flag(component, "cleanup", true);
    return {};
  }
  if (type != "Sequence") return not_supported("decoder", type);
  return add_decoder_sequence(component, parts);
}

}  // namespace candor
