#include "lm/train_identity.h"

#include <optional>
#include <utility>

#include "base/cpu.h"
#include "base/strings.h"
#include "lm/kernel_setup.h"

namespace candor {

namespace {

struct Difference {
  std::string path;
  Json saved, own;
};

// The first place, in the order of keys, where the two differ.
std::optional<Difference> first_difference(const Json& saved, const Json& own,
                                           const std::string& path) {
  if (saved == own) return std::nullopt;
  if (!saved.is_object() || !own.is_object()) return Difference{path, saved, own};
  const auto inside = [&](const std::string& key) {
    return first_difference(saved.value(key, Json()), own.value(key, Json()),
                            path.empty() ? key : str_cat(path, ".", key));
  };
  for (const auto& item : own.items()) {
    if (auto found = inside(item.key())) return found;
  }
  for (const auto& item : saved.items()) {
    if (auto found = inside(item.key())) return found;
  }
  return Difference{path, saved, own};  // a key that is null on one side
}

std::string shown(const Json& value) {
  return value.is_null() ? "none" : printable(to_line(value));
}

}  // namespace

TrainIdentity::TrainIdentity(const std::string& trainer, int threads, const TrainInputs& inputs)
    : json_({{"trainer", trainer},
             {"inputs", Json::object()},
             {"settings", Json::object()},
             {"machine",
              {{"device_class", "cpu"},
               {"instruction_set", name_of(instruction_set())},
               {"cpu_vendor", cpu_vendor()},
               {"torch", torch_version()},
               {"aten", aten_capability()},
               {"threads", threads}}}}) {
  for (const auto& [name, value] : inputs) json_["inputs"][name] = value;
}

void TrainIdentity::add_settings_json(const std::string& name, Json fields) {
  json_["settings"][name] = std::move(fields);
}

Status TrainIdentity::check(const Json& saved, const std::filesystem::path& checkpoint) const {
  const std::optional<Difference> difference = first_difference(saved, json_, "");
  if (!difference.has_value()) return {};
  return invalid_argument(str_cat(checkpoint.string(), ": is another run's checkpoint: ",
                                  difference->path.empty() ? "run" : difference->path, " is ",
                                  shown(difference->saved), " there and ", shown(difference->own),
                                  " here; give what it was made with, or another folder"));
}

}  // namespace candor
