#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "lm/model_file.h"
#include "lm/trainable_decoder.h"

namespace candor {

// One training text as tokens.
struct SftExample {
  std::vector<int32_t> token_ids;
  std::vector<uint8_t> in_loss;  // per token: is it learnt (predicted from those before it)?
};

// A record as TRL has them, one JSON object:
//   {"prompt": text, "completion": text}   learnt: completion and end token
//   {"prompt": [turns], "completion": [turns]}, {"messages": [turns]}
//                                          learnt: content and turn end of the assistant's turns
//                                          (of the completion's only, where there is one)
//   {"text": text}                         learnt: everything after the first token, and end token
// Prompt and completion are tokenised apart, as generation sees them (TRL joins them first).
// Errors: kInvalidArgument, naming `where` and the key.
Result<SftExample> encode_sft_record(const Json& record, const ModelFile& file,
                                     const std::string& where);

struct SftData {
  std::vector<SftExample> examples;
  int64_t truncated = 0;  // cut to max_length
  int64_t dropped = 0;    // nothing to learn is left
};
// Every record of a JSONL file. Errors: also where nothing is left to learn at all.
Result<SftData> read_sft_data(const std::filesystem::path& path, const ModelFile& file,
                              int64_t max_length);

// Some examples side by side.
struct MicroBatch {
  PackedSequences sequences;
  std::vector<uint8_t> in_loss;  // [T]; never set for the first token of a sequence
};
[[nodiscard]] MicroBatch batch_of(const std::vector<SftExample>& examples,
                                  const std::vector<size_t>& chosen);

}  // namespace candor
