#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "base/fields.h"
#include "base/json.h"
#include "base/result.h"

namespace candor {

// The files that a training reads and what else its caller chose, by name: digests ("model",
// "adapter", "data", "eval_data", "prompts", ..) and specs of rewards. A trainer adds the settings
// that it holds itself.
using TrainInputs = std::map<std::string, Json>;

// What the bytes of a training depend on, in one form for supervised fine-tuning, reward models and
// RLHF: every setting, every input by digest, the machine. A checkpoint holds it; a run goes on
// from a checkpoint only where all of it is the same, so that it ends in the bytes of a run that
// was left alone.
class TrainIdentity {
 public:
  // `trainer`: "sft", "reward" or "rlhf". The machine is this one: device class, instruction set,
  // the processor's vendor, LibTorch's version and code, `threads`.
  TrainIdentity(const std::string& trainer, int threads, const TrainInputs& inputs);

  // All fields of a settings struct.
  template <typename Settings>
  void add_settings(const std::string& name, const Settings& settings) {
    add_settings_json(name, fields_json(settings));
  }
  void add_settings_json(const std::string& name, Json fields);

  [[nodiscard]] const Json& json() const { return json_; }

  // Errors: kInvalidArgument naming the file, what differs first, and both values.
  [[nodiscard]] Status check(const Json& saved, const std::filesystem::path& checkpoint) const;

 private:
  Json json_;
};

}  // namespace candor
