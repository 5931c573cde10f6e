#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "formats/pipeline_tokenizer.h"

namespace candor {

// The components of a tokenizer.json, each added to `parts`. One that is not supported, or has a
// field that is not known here, is an error by name: a tokenizer that is nearly right gives nearly
// right money.
Status add_normalizer(const Json& component, TokenizerParts& parts);
Status add_pre_tokenizer(const Json& component, TokenizerParts& parts);
Status add_post_processor(const Json& component, TokenizerParts& parts);
Status add_decoder(const Json& component, TokenizerParts& parts);

// A splitter of `parts` that cuts at a regular expression.
Status add_regex(const std::string& pattern, TokenizerParts& parts,
                 RegexSplitter::Behavior behavior = RegexSplitter::Behavior::kIsolated);

namespace json_component {

// The component's "type"; "null" for none.
[[nodiscard]] std::string type_of(const Json& component);
// Fields of the right type, or the fallback where a field is absent or null.
// REQUIRES: check_fields passed.
[[nodiscard]] bool flag(const Json& component, const char* key, bool fallback);
[[nodiscard]] std::string text(const Json& component, const char* key);
[[nodiscard]] const Json& list(const Json& component, const char* key);
// Errors: a field that no component has, or one of the wrong type.
Status check_fields(std::string_view what, const Json& component);
[[nodiscard]] Error not_supported(std::string_view what, std::string_view name);

}  // namespace json_component

}  // namespace candor
