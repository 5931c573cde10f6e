#include "study/merge_patch.h"

#include <vector>

#include "base/strings.h"

namespace candor {

namespace {

// What is noted of paths below $.budgets.NAME (lines, texts) becomes that of the place that the
// patch changes.
template <typename Notes>
std::shared_ptr<const Notes> moved(const Notes& notes, const std::string& name) {
  auto out = std::make_shared<Notes>(notes);
  const std::string prefix = str_cat("$.budgets.", name, ".");
  for (const auto& [path, note] : notes) {
    if (path.starts_with(prefix)) (*out)["$." + path.substr(prefix.size())] = note;
  }
  return out;
}

}  // namespace

void merge_patch(Json& target, const Json& patch) {
  if (!patch.is_object()) {
    target = patch;
    return;
  }
  if (!target.is_object()) target = Json::object();
  for (const auto& item : patch.items()) {
    if (item.value().is_null()) {
      target.erase(item.key());
    } else {
      merge_patch(target[item.key()], item.value());
    }
  }
}

Result<YamlDocument> apply_budget(const YamlDocument& document, const std::string& source,
                                  const std::string& name) {
  YamlDocument out = document;
  const JsonReader in(document.json, source, "$", document.lines);
  Json budgets = Json::object();
  if (document.json.is_object() && document.json.contains("budgets")) {
    budgets = document.json["budgets"];
    out.json.erase("budgets");
  }
  if (!budgets.is_object()) return in.error_at("budgets", "expected an object of name to changes");
  std::vector<std::string> names;
  for (const auto& item : budgets.items()) {
    names.push_back(item.key());
    if (!item.value().is_object() || item.value().contains("budgets")) {
      return in.error_at(str_cat("budgets.", item.key()),
                         "expected an object of changes to the study (a JSON merge patch)");
    }
  }
  if (name.empty()) return out;
  if (!budgets.contains(name)) {
    return invalid_argument(str_cat(source, ": has no budget ", quote(name), "; it has ",
                                    names.empty() ? "none" : join(names, ", "),
                                    did_you_mean(name, names)));
  }
  merge_patch(out.json, budgets[name]);
  out.lines = moved(*document.lines, name);
  out.numbers = moved(*document.numbers, name);
  return out;
}

}  // namespace candor
