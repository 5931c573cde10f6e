#pragma once

#include <memory>
#include <string>

#include "base/json.h"
#include "study/yaml_file.h"

namespace candor {

// RFC 7396 JSON Merge Patch: objects merge key by key, null removes a key, anything else replaces.
void merge_patch(Json& target, const Json& patch);

// The document with the patch that it holds at $.budgets.NAME (none where `name` is empty) laid
// over it and "budgets" taken out. Lines of what the patch brings are those of the patch.
// Errors: kInvalidArgument where there is no such budget, naming the ones there are; a budget that
// is no object or holds budgets.
Result<YamlDocument> apply_budget(const YamlDocument& document, const std::string& source,
                                  const std::string& name);

}  // namespace candor
