#include "base/file.h"
#include "base/strings.h"
#include "formats/tokenizer_readers.h"
#include "formats/unicode.h"

namespace candor {

Result<TokenizerParts> parts_from_vocab_txt(const std::filesystem::path& path,
                                            const BertNormalizer& options) {
  CANDOR_TRY(const std::string bytes, read_file(path));
  TokenizerParts parts;
  auto word_piece = std::make_shared<WordPiece>();
  std::vector<std::string> lines = split(bytes, '\n');
  for (std::string& line : lines) {
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty() && &line == &lines.back()) break;  // the file's last line break
    if (!is_utf8(line)) {
      return invalid_argument(
          str_cat(path.string(), ":", parts.tokens.size() + 1, ": is not UTF-8"));
    }
    if (!word_piece->vocabulary.emplace(line, static_cast<int32_t>(parts.tokens.size())).second) {
      return invalid_argument(
          str_cat(path.string(), ":", parts.tokens.size() + 1, ": ", quote(line), " occurs twice"));
    }
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
  parts.normalizers.emplace_back(
      [options](const std::string& s) { return bert_normalize(s, options); });
  parts.splitters.emplace_back(
      [](const std::string& s, bool /*at_start*/) -> Result<std::vector<std::string>> {
        return bert_words(s);
      });
  parts.decoding = TokenizerParts::Decoding::kWordPiece;
  parts.encode = [word_piece](std::string_view piece, std::vector<int32_t>& ids) -> Status {
    word_piece->encode(piece, ids);
    return {};
  };
  return parts;
}

}  // namespace candor
