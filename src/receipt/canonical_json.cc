#include "receipt/canonical_json.h"

#include "base/sha256.h"
#include "base/strings.h"

namespace candor {

namespace {

Status check_no_floats(const Json& value, const std::string& path) {
  if (value.is_number_float()) {
    return invalid_argument(
        str_cat(path, ": found the float ", value.get<double>(), "; canonical JSON holds none"));
  }
  if (value.is_object()) {
    for (const auto& item : value.items()) {
      CANDOR_RETURN_IF_ERROR(check_no_floats(item.value(), str_cat(path, ".", item.key())));
    }
  }
  if (value.is_array()) {
    for (size_t i = 0; i < value.size(); ++i) {
      CANDOR_RETURN_IF_ERROR(check_no_floats(value[i], str_cat(path, "[", i, "]")));
    }
  }
  return {};
}

}  // namespace

Result<std::string> canonical_json(const Json& value) {
  CANDOR_RETURN_IF_ERROR(check_no_floats(value, "$"));
  try {
    return value.dump(-1, ' ', false, Json::error_handler_t::strict);
  } catch (const Json::exception&) {
    // The library has no other way to say that a string is not UTF-8.
    return invalid_argument("a string is not UTF-8");
  }
}

std::string digest_of(std::string_view bytes) { return "sha256:" + sha256_hex(bytes); }

Result<std::string> digest_of_file(const std::string& path) {
  CANDOR_TRY(const std::string hex, sha256_file(path));
  return "sha256:" + hex;
}

}  // namespace candor
