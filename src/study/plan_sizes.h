#pragma once

#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "study/menu_pipeline.h"

namespace candor {

// What a plan reads of a study's inputs before anything runs: shapes of the models and lengths of
// the texts, in tokens of whoever reads them; and how fast the machine multiplies. Lengths are
// means over at most 256 records, evenly spaced.

struct PlannedModel {
  double parameters = 0;  // all of them
  double embedding = 0;   // of these, the embedding's, which is the head where there is no other
  double hidden = 0;      // width
  double kv_width = 0;    // of a token's keys, all heads of a layer
  double ffn_width = 0;
  double layers = 0;
  double vocabulary = 0;

  // What every token is multiplied with; the head is for tokens that are predicted.
  [[nodiscard]] double body() const { return parameters - embedding; }
};

struct TextLength {
  double mean_tokens = 0;
  double longest_tokens = 0;  // among the records that were read
};

// What reads a reward's texts, where a model does: a head's encoder or a whole decoder. A server is
// not planned: it takes what it takes.
struct PlannedReward {
  double model_parameters = 0;  // beside the embeddings; 0: no model here
  double model_bytes = 0;       // of all its weights in f32
  bool is_decoder = false;      // it reads the prompt again with every reply
  bool reads_prompt = false;
  double training_texts = 0;   // embedded to train it; 0: not trained here
  double training_tokens = 0;  // of these
  double longest_tokens = 0;   // of one
  double prompt_tokens = 0;    // of one pricing prompt, as the model reads it
};

struct PlanSizes {
  double product_rate = 0;  // of this machine at the study's threads (base/product_rate.h)
  PlannedModel model;
  double prompts = 0;  // that price
  TextLength price_prompt, train_prompt, sft_record;
  std::vector<PlannedReward> rewards;  // [n]
  std::vector<PlannedReward> judges;   // [n], empty ones where nobody judges
};

// Errors: a file that cannot be read; a prompt that the model's template refuses.
// Cost: reads prompts and reward data once; tokenises a few hundred texts of each.
Result<PlanSizes> plan_sizes(const Pipeline& pipeline);
Result<PlanSizes> plan_sizes(const MenuPipeline& pipeline);

// "sizes" of plan/1, and back: a recorded plan can be made again without its inputs.
[[nodiscard]] Json plan_sizes_json(const PlanSizes& sizes);
PlanSizes read_plan_sizes(JsonReader& in);  // errors are the reader's

}  // namespace candor
