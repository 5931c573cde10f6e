#include "base/json_shape.h"

#include "base/check.h"
#include "base/strings.h"

namespace candor {

namespace {

constexpr size_t kShown = 60;  // bytes of a value in an error

struct Place {
  const std::string& source;
  std::string path;

  [[nodiscard]] Error error(const Json& found, const std::string& expected) const {
    return invalid_argument(
        str_cat(source, ": ", path, ": found ",
                found.is_structured() ? found.type_name() : to_line(found).substr(0, kShown),
                "; expected ", expected));
  }
};

Status check_value(const Json& json, std::string kind, const Place& place) {
  const bool optional = kind.ends_with('?');
  if (optional) kind.pop_back();
  if ((optional && json.is_null()) || kind == "any") return {};
  const bool fits = kind == "number"  ? json.is_number()
                    : kind == "whole" ? json.is_number_integer()
                    : kind == "text"  ? json.is_string()
                    : kind == "truth" ? json.is_boolean()
                                      : json.is_object();
  if (fits) return {};
  const std::string name = kind == "whole"    ? "a whole number"
                           : kind == "truth"  ? "true or false"
                           : kind == "object" ? "an object"
                                              : "a " + kind;
  return place.error(json, optional ? name + " or null" : name);
}

Status check_keys(const Json& json, const Json& shape, const Place& place) {
  if (!json.is_object()) return place.error(json, "an object");
  for (const auto& item : shape.items()) {
    std::string key = item.key();
    if (key == "*") continue;
    const bool optional = key.ends_with('?');
    if (optional) key.pop_back();
    const std::string path = str_cat(place.path, ".", key);
    if (!json.contains(key)) {
      if (optional) continue;
      return invalid_argument(str_cat(place.source, ": ", path, ": is missing"));
    }
    CANDOR_RETURN_IF_ERROR(check_shape(json[key], item.value(), place.source, path));
  }
  if (!shape.contains("*")) return {};
  for (const auto& item : json.items()) {
    if (shape.contains(item.key()) || shape.contains(item.key() + "?")) continue;
    CANDOR_RETURN_IF_ERROR(
        check_shape(item.value(), shape["*"], place.source, str_cat(place.path, ".", item.key())));
  }
  return {};
}

}  // namespace

Status check_shape(const Json& json, const Json& shape, const std::string& source,
                   const std::string& path) {
  const Place place{source, path};
  if (shape.is_string()) return check_value(json, shape.get<std::string>(), place);
  if (shape.is_object()) return check_keys(json, shape, place);
  CANDOR_CHECK(shape.is_array() && shape.size() == 1);
  if (!json.is_array()) return place.error(json, "an array");
  for (size_t i = 0; i < json.size(); ++i) {
    CANDOR_RETURN_IF_ERROR(check_shape(json[i], shape[0], source, str_cat(path, "[", i, "]")));
  }
  return {};
}

}  // namespace candor
