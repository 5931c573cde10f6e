#pragma once

#include <filesystem>
#include <vector>

#include "lm/candidate_model.h"
#include "lm/language_model.h"
#include "lm/mixture_generate.h"
#include "worker/stage.h"

namespace candor {

// What the stages of a menu (menu_bank, divergence, menu_check) have in common.
struct MenuSpec {
  LoadOptions load;  // adapters beside the weights, in the order of adapter_digests
  std::vector<CandidateSpec> specs;
  std::vector<CandidateModel> candidates;
};

// Reads model_digest, prompts_digest, adapter_digests, candidates, threads and instruction_set, and
// the paths adapter_0, ...; `dtype` where `with_dtype` (else f32). Other keys are the caller's, who
// calls spec.finish().
// Errors: a bad spec or path; a candidate that names adapters that are not there; two of one name.
Result<MenuSpec> read_menu_spec(const StageRequest& request, JsonReader& spec, bool with_dtype);

// Prompts of a JSONL file, tokenised as the bank stage does; index = line. Errors: no prompt.
Result<std::vector<MenuPrompt>> read_menu_prompts(const LanguageModel& model,
                                                  const std::filesystem::path& file);

}  // namespace candor
