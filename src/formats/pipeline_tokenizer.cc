#include "formats/pipeline_tokenizer.h"

#include <algorithm>
#include <charconv>
#include <iterator>

#include "base/strings.h"
#include "formats/unicode.h"

namespace candor {

namespace {

constexpr std::string_view kMetaspace = "\xe2\x96\x81";  // U+2581

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  size_t place = 0;
  while ((place = text.find(from, place)) != std::string::npos) {
    text.replace(place, from.size(), to);
    place += to.size();
  }
  return text;
}

std::string decode_byte_level(const std::vector<std::string>& tokens) {
  std::string bytes;
  for (const std::string& token : tokens) {
    std::string decoded;
    for (const char32_t point : code_points(token)) {
      const int byte = byte_of_alphabet(point);
      if (byte < 0) {  // an added token in plain text
        decoded = token;
        break;
      }
      decoded += static_cast<char>(byte);
    }
    bytes += decoded;
  }
  return replace_invalid_utf8(bytes);
}

// The byte that "<0xNN>" stands for, or -1.
int byte_of_token(std::string_view token) {
  unsigned int byte = 0;
  const bool shaped = token.size() == 6 && token.starts_with("<0x") && token.back() == '>';
  if (!shaped) return -1;
  const char* end = token.data() + 5;
  return std::from_chars(token.data() + 3, end, byte, 16).ptr == end ? static_cast<int>(byte) : -1;
}

std::string decode_sentence_piece(const std::vector<std::string>& tokens, bool strips_first_space) {
  std::string text;
  std::string bytes;  // of the neighbouring byte tokens
  const auto flush = [&] {
    if (is_utf8(bytes)) {
      text += bytes;
    } else {  // the reference replaces every byte of a run that is not UTF-8
      for (size_t i = 0; i < bytes.size(); ++i) append_utf8(text, 0xFFFD);
    }
    bytes.clear();
  };
  for (const std::string& token : tokens) {
    if (const int byte = byte_of_token(token); byte >= 0) {
      bytes += static_cast<char>(byte);
      continue;
    }
    flush();
    text += replace_all(token, kMetaspace, " ");
  }
  flush();
  if (strips_first_space && text.starts_with(' ')) text.erase(0, 1);
  return text;
}

std::string decode_word_piece(const std::vector<std::string>& tokens, bool cleans_up) {
  // BERT's clean-up, token by token as in the reference library.
  static const std::vector<std::pair<std::string, std::string>> kCleanup = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  std::string text;
  for (size_t i = 0; i < tokens.size(); ++i) {
    std::string token = tokens[i];
    if (i > 0 && token.starts_with("##")) {
      token.erase(0, 2);
    } else if (i > 0) {
      token.insert(0, " ");
    }
    if (cleans_up) {
      for (const auto& [from, to] : kCleanup) token = replace_all(std::move(token), from, to);
    }
    text += token;
  }
  return text;
}

class PipelineTokenizer : public Tokenizer {
 public:
  explicit PipelineTokenizer(TokenizerParts parts) : parts_(std::move(parts)) {
    // Longest first, so that the first that fits is the longest that fits.
    std::stable_sort(parts_.added.begin(), parts_.added.end(), [](const auto& a, const auto& b) {
      return a.content.size() > b.content.size();
    });
    for (size_t id = 0; id < parts_.tokens.size(); ++id) {
      ids_.emplace(parts_.tokens[id], static_cast<int32_t>(id));
    }
    for (const auto& token : parts_.added) {
      ids_[token.content] = token.id;
      if (!token.content.empty()) first_bytes_[static_cast<unsigned char>(token.content[0])] = true;
      if (token.special) special_.push_back(token.id);
    }
    std::sort(special_.begin(), special_.end());
  }

  Result<std::vector<int32_t>> encode(std::string_view text,
                                      const EncodeOptions& options) const override {
    if (!is_utf8(text)) return invalid_argument("the text to tokenise is not UTF-8");
    std::vector<int32_t> ids;
    if (options.add_special_tokens) ids = parts_.prefix;
    size_t begin = 0;
    for (size_t place = 0; place < text.size();) {
      const TokenizerParts::AddedToken* token = added_at(text.substr(place), options);
      if (token == nullptr) {
        ++place;
        continue;
      }
      CANDOR_RETURN_IF_ERROR(encode_plain(text.substr(begin, place - begin), begin == 0, ids));
      ids.push_back(token->id);
      place += token->content.size();
      begin = place;
    }
    CANDOR_RETURN_IF_ERROR(encode_plain(text.substr(begin), begin == 0, ids));
    if (options.add_special_tokens) {
      ids.insert(ids.end(), parts_.suffix.begin(), parts_.suffix.end());
    }
    return ids;
  }
  using Tokenizer::encode;

  Result<std::string> decode(const std::vector<int32_t>& token_ids,
                             bool keep_special_tokens) const override {
    std::vector<std::string> tokens;
    for (const int32_t id : token_ids) {
      if (id < 0 || id >= vocabulary_size()) {
        return invalid_argument(
            str_cat("token id: found ", id, "; expected 0 to ", vocabulary_size() - 1));
      }
      const bool special = std::binary_search(special_.begin(), special_.end(), id);
      if (!special || keep_special_tokens) tokens.push_back(parts_.tokens[static_cast<size_t>(id)]);
    }
    switch (parts_.decoding) {
      case TokenizerParts::Decoding::kByteLevel:
        return decode_byte_level(tokens);
      case TokenizerParts::Decoding::kSentencePiece:
        return decode_sentence_piece(tokens, parts_.strips_first_space);
      case TokenizerParts::Decoding::kWordPiece:
        return decode_word_piece(tokens, parts_.cleans_up_spaces);
      case TokenizerParts::Decoding::kSpaced:
        return join(tokens, " ");
    }
    return std::string();
  }

  [[nodiscard]] int32_t vocabulary_size() const override {
    return static_cast<int32_t>(parts_.tokens.size());
  }
  [[nodiscard]] std::optional<int32_t> bos_id() const override { return parts_.bos; }
  [[nodiscard]] std::optional<int32_t> eos_id() const override { return parts_.eos; }
  [[nodiscard]] std::optional<int32_t> id_of(std::string_view token) const override {
    const auto found = ids_.find(std::string(token));
    if (found == ids_.end()) return std::nullopt;
    return found->second;
  }

 private:
  [[nodiscard]] const TokenizerParts::AddedToken* added_at(std::string_view text,
                                                           const EncodeOptions& options) const {
    if (!first_bytes_[static_cast<unsigned char>(text[0])]) return nullptr;
    for (const auto& token : parts_.added) {
      if (token.special && !options.parse_special_tokens) continue;
      if (text.starts_with(token.content)) return &token;
    }
    return nullptr;
  }

  Status encode_plain(std::string_view text, bool at_start, std::vector<int32_t>& ids) const {
    if (text.empty()) return {};
    std::string normal(text);
    for (const auto& normalizer : parts_.normalizers) normal = normalizer(std::move(normal));
    std::vector<std::string> pieces = {std::move(normal)};
    for (const auto& splitter : parts_.splitters) {
      std::vector<std::string> finer;
      for (size_t i = 0; i < pieces.size(); ++i) {
        CANDOR_TRY(std::vector<std::string> parts, splitter(pieces[i], at_start && i == 0));
        std::move(parts.begin(), parts.end(), std::back_inserter(finer));
      }
      pieces = std::move(finer);
    }
    for (const std::string& piece : pieces) {
      if (!piece.empty()) CANDOR_RETURN_IF_ERROR(parts_.encode(piece, ids));
    }
    return {};
  }

  TokenizerParts parts_;
  std::unordered_map<std::string, int32_t> ids_;
  std::array<bool, 256> first_bytes_{};
  std::vector<int32_t> special_;
};

}  // namespace

std::shared_ptr<const Tokenizer> make_pipeline_tokenizer(TokenizerParts parts) {
  return std::make_shared<PipelineTokenizer>(std::move(parts));
}

void WordPiece::encode(std::string_view word, std::vector<int32_t>& ids) const {
  const std::vector<char32_t> points = code_points(word);
  if (points.size() > longest_word) {
    ids.push_back(unknown_id);
    return;
  }
  std::vector<int32_t> pieces;
  size_t begin = 0;
  while (begin < points.size()) {
    size_t end = points.size();
    int32_t found_id = -1;
    for (; end > begin && found_id < 0; --end) {
      std::string piece = begin > 0 ? continuing_prefix : "";
      for (size_t i = begin; i < end; ++i) append_utf8(piece, points[i]);
      if (const auto found = vocabulary.find(piece); found != vocabulary.end())
        found_id = found->second;
    }
    if (found_id < 0) {
      ids.push_back(unknown_id);
      return;
    }
    pieces.push_back(found_id);
    begin = end + 1;
  }
  ids.insert(ids.end(), pieces.begin(), pieces.end());
}

}  // namespace candor
