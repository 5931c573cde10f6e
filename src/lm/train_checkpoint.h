#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "lm/adamw.h"
#include "lm/train_identity.h"
#include "lm/trainable_decoder.h"

namespace candor {

// The state of a training run as one safetensors file: tensors by name and, as the text "state" of
// its metadata, whatever else the run needs to go on (step, settings, sums). It appears by one
// rename: a run that is killed at any moment finds the last whole checkpoint.
// Errors: kResource where it cannot be written.
Status save_checkpoint(const std::filesystem::path& path, const Json& state,
                       const std::vector<NamedTensor>& tensors);

// Copies the file's tensors into `tensors` in place and returns the state.
// Errors: kInvalidArgument: not such a file; other names or shapes than those of `tensors`.
Result<Json> load_checkpoint(const std::filesystem::path& path,
                             const std::vector<NamedTensor>& tensors);

// A state begins with its format ("sft-checkpoint/2") and the identity of its run.
struct CheckpointKind {
  const char* format;
  const TrainIdentity& run;
};
[[nodiscard]] Json new_checkpoint_state(const CheckpointKind& kind);
// The state alone, of a checkpoint of that format and run; nothing where there is no file.
// Errors: as load_checkpoint; another format; another run (TrainIdentity::check).
Result<std::optional<Json>> read_checkpoint_state(const std::filesystem::path& path,
                                                  const CheckpointKind& kind);
// Over the rest of such a state.
[[nodiscard]] JsonReader checkpoint_reader(const Json& state, const std::filesystem::path& path);

// Parameters and both moments, under names of their own; the number of steps is the caller's to
// keep.
[[nodiscard]] std::vector<NamedTensor> checkpoint_tensors(AdamW& optimizer);

}  // namespace candor
