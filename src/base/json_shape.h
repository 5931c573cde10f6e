#pragma once

#include <string>

#include "base/json.h"
#include "base/result.h"

namespace candor {

// The form that a file of ours must have before code indexes it freely: files of a run may have
// been edited or cut. A shape is JSON itself:
//
//   "number", "whole", "text", "truth", "object", "any"   a value; "number?" and so on: or null
//   [SHAPE]                                               an array of these
//   {"key": SHAPE, "key?": SHAPE, "*": SHAPE}             an object: keys it must have, keys it may
//                                                         have, what every other key holds
//
// Errors: kInvalidArgument with path, value and what is expected: as JsonReader's.
Status check_shape(const Json& json, const Json& shape, const std::string& source,
                   const std::string& path = "$");

}  // namespace candor
