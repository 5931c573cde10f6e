#include "study/yaml_file.h"

#include <yaml-cpp/yaml.h>

#include "base/file.h"
#include "base/strings.h"

namespace candor {

namespace {

constexpr int kMaxDepth = 32;

class Converter {
 public:
  explicit Converter(std::string source) : source_(std::move(source)) {}

  Result<Json> convert(const YAML::Node& node, const std::string& path, int depth) {
    (*lines_)[path] = node.Mark().line + 1;
    if (depth > kMaxDepth)
      return error_at(node, path, str_cat("is nested deeper than ", kMaxDepth));
    switch (node.Type()) {
      case YAML::NodeType::Map:
        return convert_map(node, path, depth);
      case YAML::NodeType::Sequence: {
        Json out = Json::array();
        for (size_t i = 0; i < node.size(); ++i) {
          CANDOR_TRY(Json item, convert(node[i], str_cat(path, "[", i, "]"), depth + 1));
          out.push_back(std::move(item));
        }
        return out;
      }
      case YAML::NodeType::Scalar:
        return convert_scalar(node, path);
      default:
        return Json();
    }
  }

  [[nodiscard]] std::shared_ptr<const JsonReader::Lines> lines() const { return lines_; }
  [[nodiscard]] std::shared_ptr<const YamlDocument::Texts> numbers() const { return numbers_; }

 private:
  Error error_at(const YAML::Node& node, const std::string& path, const std::string& what) const {
    return invalid_argument(
        str_cat(source_, ":", node.Mark().line + 1, ": ", path.substr(2), ": ", what));
  }

  Result<Json> convert_map(const YAML::Node& node, const std::string& path, int depth) {
    Json out = Json::object();
    for (const auto& item : node) {
      const std::string key = item.first.Scalar();
      if (out.contains(key))
        return error_at(item.first, str_cat(path, ".", key), "is a duplicate key");
      CANDOR_TRY(Json value, convert(item.second, str_cat(path, ".", key), depth + 1));
      (*lines_)[str_cat(path, ".", key)] = item.first.Mark().line + 1;
      out[key] = std::move(value);
    }
    return out;
  }

  Json convert_scalar(const YAML::Node& node, const std::string& path) {
    const std::string& text = node.Scalar();
    if (node.Tag() == "!") return text;  // quoted
    if (text == "true") return true;
    if (text == "false") return false;
    if (text == "null" || text == "~" || text.empty()) return nullptr;
    // JSON's numbers are YAML's, for what a study needs.
    const Result<Json> number = parse_json(text, "");
    if (!number.ok() || !number->is_number()) return text;
    (*numbers_)[path] = text;
    return *number;
  }

  std::string source_;
  std::shared_ptr<JsonReader::Lines> lines_ = std::make_shared<JsonReader::Lines>();
  std::shared_ptr<YamlDocument::Texts> numbers_ = std::make_shared<YamlDocument::Texts>();
};

}  // namespace

std::string YamlDocument::number_text(const std::string& path, const Json& value) const {
  if (numbers != nullptr) {
    const auto found = numbers->find(path);
    if (found != numbers->end()) return found->second;
  }
  return value.dump();
}

Result<YamlDocument> read_yaml_file(const std::string& path) {
  CANDOR_TRY(const std::string text, read_file(path, 1 << 24));
  try {
    Converter converter(path);
    CANDOR_TRY(Json json, converter.convert(YAML::Load(text), "$", 0));
    return YamlDocument{std::move(json), converter.lines(), converter.numbers()};
  } catch (const YAML::Exception& error) {  // the library has no other way to report syntax
    return invalid_argument(
        str_cat(path, ":", error.mark.line + 1, ": not valid YAML: ", error.msg));
  }
}

}  // namespace candor
