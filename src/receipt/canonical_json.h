#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace candor {

// The one byte string of a JSON value: keys sorted by their UTF-8 bytes, no spaces, no floats,
// UTF-8 as it is, only what JSON must escape escaped. Digests and signatures are taken over it.
// Errors: kInvalidArgument, with the path, when the value holds a float or text that is not UTF-8.
Result<std::string> canonical_json(const Json& value);

// "sha256:<hex>" of the bytes, of a file.
[[nodiscard]] std::string digest_of(std::string_view bytes);
Result<std::string> digest_of_file(const std::string& path);

}  // namespace candor
