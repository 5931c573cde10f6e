#include <sentencepiece_processor.h>

#include <algorithm>

#include "base/file.h"
#include "base/strings.h"
#include "formats/tokenizer_readers.h"
#include "formats/unicode.h"

namespace candor {

namespace {

namespace sp = sentencepiece;

// tokenizer.model through the SentencePiece library itself; control tokens in the text are parsed
// by the pipeline around it, which the library does not do.
Result<TokenizerParts> parts_of(const std::shared_ptr<sp::SentencePieceProcessor>& processor) {
  TokenizerParts parts;
  for (int id = 0; id < processor->GetPieceSize(); ++id) {
    parts.tokens.push_back(processor->IdToPiece(id));
    if (processor->IsControl(id) || processor->IsUnknown(id)) {
      parts.added.push_back({parts.tokens.back(), id, true});
    }
  }
  if (processor->bos_id() >= 0) parts.bos = processor->bos_id();
  if (processor->eos_id() >= 0) parts.eos = processor->eos_id();
  parts.decoding = TokenizerParts::Decoding::kSentencePiece;
  parts.strips_first_space = true;
  parts.encode = [processor](std::string_view piece, std::vector<int32_t>& ids) -> Status {
    std::vector<int> out;
    const sp::util::Status status = processor->Encode({piece.data(), piece.size()}, &out);
    if (!status.ok()) return invalid_argument(str_cat("SentencePiece: ", status.error_message()));
    ids.insert(ids.end(), out.begin(), out.end());
    return {};
  };
  return parts;
}

}  // namespace

Result<TokenizerParts> parts_from_sentencepiece(const std::filesystem::path& path) {
  CANDOR_TRY(const std::string bytes, read_file(path));
  auto processor = std::make_shared<sp::SentencePieceProcessor>();
  const sp::util::Status status = processor->LoadFromSerializedProto(bytes);
  if (!status.ok() || processor->GetPieceSize() == 0) {
    return invalid_argument(str_cat(path.string(), ": not a SentencePiece model"));
  }
  return parts_of(processor);
}

}  // namespace candor
