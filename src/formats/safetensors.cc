#include "formats/safetensors.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/json.h"
#include "base/strings.h"
#include "formats/half.h"

namespace candor {

namespace {

constexpr uint64_t kMaxHeaderBytes = uint64_t{100} << 20;

int64_t dtype_size(const std::string& dtype) {
  static const std::map<std::string, int64_t> kSizes = {
      {"F64", 8},  {"I64", 8}, {"U64", 8}, {"F32", 4}, {"I32", 4}, {"U32", 4}, {"F16", 2},
      {"BF16", 2}, {"I16", 2}, {"U16", 2}, {"U8", 1},  {"I8", 1},  {"BOOL", 1}};
  const auto found = kSizes.find(dtype);
  return found == kSizes.end() ? 0 : found->second;
}

// A JSON array of whole numbers from 0 to `max`; nullopt for anything else.
std::optional<std::vector<int64_t>> whole_numbers(const Json& json, uint64_t max) {
  if (!json.is_array()) return std::nullopt;
  std::vector<int64_t> out;
  for (const Json& item : json) {
    if (!item.is_number_unsigned() || item.get<uint64_t>() > max) return std::nullopt;
    out.push_back(item.get<int64_t>());
  }
  return out;
}

Result<SafeTensor> read_entry(const Json& entry, std::string_view data, const std::string& where) {
  const auto refuse = [&](std::string_view why) {
    return invalid_argument(str_cat(where, ": ", why));
  };
  if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string() ||
      !entry.contains("shape") || !entry.contains("data_offsets")) {
    return refuse("expected an object with dtype, shape and data_offsets");
  }
  SafeTensor tensor;
  tensor.dtype = entry["dtype"].get<std::string>();
  const int64_t item = dtype_size(tensor.dtype);
  if (item == 0) return refuse(str_cat("the dtype ", quote(tensor.dtype), " is not supported"));
  const auto shape = whole_numbers(entry["shape"], uint64_t{1} << 40);
  const auto offsets = whole_numbers(entry["data_offsets"], data.size());
  if (!shape.has_value()) return refuse("shape is not a list of whole numbers");
  if (!offsets.has_value() || offsets->size() != 2 || (*offsets)[0] > (*offsets)[1]) {
    return refuse("data_offsets are not two ascending places inside the file");
  }
  const int64_t size = (*offsets)[1] - (*offsets)[0];
  int64_t count = 1;
  for (const int64_t extent : *shape) {
    if (extent != 0 && count > size / item / extent)
      return refuse("shape and data_offsets disagree");
    count *= extent;
  }
  if (count * item != size) return refuse("shape and data_offsets disagree");
  tensor.shape = *shape;
  tensor.bytes = data.substr(static_cast<size_t>((*offsets)[0]), static_cast<size_t>(size));
  return tensor;
}

Result<std::vector<float>> to_floats(const SafeTensor& tensor, const std::string& where) {
  std::vector<float> values(tensor.bytes.size() / static_cast<size_t>(dtype_size(tensor.dtype)));
  if (tensor.dtype == "F32") {
    if (!values.empty()) std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
    return values;
  }
  if (tensor.dtype == "F16" || tensor.dtype == "BF16") {
    for (size_t i = 0; i < values.size(); ++i) {
      uint16_t bits = 0;
      std::memcpy(&bits, tensor.bytes.data() + 2 * i, 2);
      values[i] = tensor.dtype == "F16" ? float_from_f16(bits) : float_from_bf16(bits);
    }
    return values;
  }
  return invalid_argument(str_cat(where, ": is ", tensor.dtype, "; expected F32, F16 or BF16"));
}

Result<std::vector<double>> to_doubles(const SafeTensor& tensor, const std::string& where) {
  if (tensor.dtype == "F64") {
    std::vector<double> values(tensor.bytes.size() / 8);
    if (!values.empty()) std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
    return values;
  }
  CANDOR_TRY(const std::vector<float> values, to_floats(tensor, where));
  return std::vector<double>(values.begin(), values.end());
}

}  // namespace

Status SafeTensors::add_file(const std::filesystem::path& file) {
  CANDOR_TRY(MappedFile mapped, MappedFile::open(file));
  const std::string_view bytes = mapped.bytes();
  const std::string name = file.string();
  if (bytes.size() < 8)
    return invalid_argument(str_cat(name, ": too short for a safetensors file"));
  uint64_t header_size = 0;
  std::memcpy(&header_size, bytes.data(), sizeof header_size);
  if (header_size > bytes.size() - 8 || header_size > kMaxHeaderBytes) {
    return invalid_argument(str_cat(name, ": the header claims ", header_size,
                                    " bytes; the file has ", bytes.size() - 8));
  }
  CANDOR_TRY(const Json header, parse_json(bytes.substr(8, header_size), name));
  if (!header.is_object()) return invalid_argument(str_cat(name, ": the header is not an object"));
  const std::string_view data = bytes.substr(8 + header_size);
  std::vector<std::pair<size_t, size_t>> ranges;
  for (const auto& item : header.items()) {
    if (item.key() == "__metadata__") {
      for (const auto& note : item.value().items()) {
        if (note.value().is_string()) metadata_[note.key()] = note.value().get<std::string>();
      }
      continue;
    }
    CANDOR_TRY(SafeTensor tensor,
               read_entry(item.value(), data, str_cat(name, ": tensor ", quote(item.key()))));
    const auto begin = static_cast<size_t>(tensor.bytes.data() - data.data());
    if (!tensor.bytes.empty()) ranges.emplace_back(begin, begin + tensor.bytes.size());
    if (!tensors_.emplace(item.key(), std::move(tensor)).second) {
      return invalid_argument(str_cat(name, ": tensor ", quote(item.key()), " is in two files"));
    }
  }
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].first < ranges[i - 1].second) {
      return invalid_argument(str_cat(name, ": two tensors share bytes"));
    }
  }
  files_.push_back(std::move(mapped));
  return {};
}

Result<SafeTensors> SafeTensors::open(const std::filesystem::path& file) {
  SafeTensors out;
  out.path_ = file.string();
  CANDOR_RETURN_IF_ERROR(out.add_file(file));
  return out;
}

Result<SafeTensors> SafeTensors::open_folder(const std::filesystem::path& folder) {
  const std::filesystem::path index = folder / "model.safetensors.index.json";
  if (!std::filesystem::exists(index)) return open(folder / "model.safetensors");
  CANDOR_TRY(const Json json, read_json_file(index.string()));
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object()) {
    return invalid_argument(str_cat(index.string(), ": $.weight_map: expected an object"));
  }
  std::set<std::string> shards;
  for (const auto& item : json["weight_map"].items()) {
    if (!item.value().is_string() ||
        std::filesystem::path(item.value().get<std::string>()).has_parent_path()) {
      return invalid_argument(str_cat(index.string(), ": $.weight_map.", item.key(),
                                      ": expected the name of a file in the same folder"));
    }
    shards.insert(item.value().get<std::string>());
  }
  SafeTensors out;
  out.path_ = folder.string();
  for (const std::string& shard : shards) CANDOR_RETURN_IF_ERROR(out.add_file(folder / shard));
  return out;
}

Result<const SafeTensor*> SafeTensors::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found != tensors_.end()) return &found->second;
  std::vector<std::string> names;
  for (const auto& item : tensors_) names.push_back(item.first);
  return invalid_argument(
      str_cat(path_, ": has no tensor ", quote(name), did_you_mean(name, names)));
}

Result<std::vector<float>> SafeTensors::floats(const std::string& name) const {
  CANDOR_TRY(const SafeTensor* tensor, find(name));
  return to_floats(*tensor, str_cat(path_, ": tensor ", quote(name)));
}

Result<std::vector<double>> SafeTensors::doubles(const std::string& name) const {
  CANDOR_TRY(const SafeTensor* tensor, find(name));
  return to_doubles(*tensor, str_cat(path_, ": tensor ", quote(name)));
}

Result<SafeTensor> SafeTensors::row_of(const std::string& name, int64_t row) const {
  CANDOR_TRY(const SafeTensor* tensor, find(name));
  const std::string where = str_cat(path_, ": tensor ", quote(name));
  const std::vector<int64_t>& shape = tensor->shape;
  if (shape.empty() || shape.size() > 2) {
    return invalid_argument(
        str_cat(where, ": has ", shape.size(), " dimensions; expected a vector or a matrix"));
  }
  const int64_t row_count = shape.size() == 2 ? shape[0] : 1;
  if (row < 0 || row >= row_count) {
    return invalid_argument(
        str_cat(where, ": found row ", row, "; it has rows 0 to ", row_count - 1));
  }
  SafeTensor part{.dtype = tensor->dtype, .shape = {shape.back()}, .bytes = {}};
  const auto size = static_cast<size_t>(shape.back() * dtype_size(tensor->dtype));
  part.bytes = tensor->bytes.substr(static_cast<size_t>(row) * size, size);
  return part;
}

Result<std::vector<double>> SafeTensors::doubles_of_row(const std::string& name,
                                                        int64_t row) const {
  CANDOR_TRY(const SafeTensor part, row_of(name, row));
  return to_doubles(part, str_cat(path_, ": tensor ", quote(name)));
}

Result<NumberRow> SafeTensors::number_row(const std::string& name, int64_t row) const {
  CANDOR_TRY(const SafeTensor part, row_of(name, row));
  return candor::number_row(part.bytes, part.dtype == "F64", part.dtype == "F32");
}

namespace {

std::vector<int64_t> shape_of(const NamedDoubles& tensor) {
  return {static_cast<int64_t>(tensor.values.size())};
}
std::vector<int64_t> shape_of(const NamedFloats& tensor) { return tensor.shape; }

template <typename Tensor>
std::string bytes_of(const std::vector<Tensor>& tensors, const char* dtype) {
  std::map<std::string, const Tensor*> sorted;
  for (const Tensor& tensor : tensors) sorted[tensor.name] = &tensor;
  Json header = Json::object();
  std::string data;
  for (const auto& [name, tensor] : sorted) {
    const auto& values = tensor->values;
    const size_t begin = data.size();
    data.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(values[0]));
    header[name] = {{"dtype", dtype},
                    {"shape", shape_of(*tensor)},
                    {"data_offsets", Json::array({begin, data.size()})}};
  }
  std::string text = header.dump();
  while (text.size() % 8 != 0) text += ' ';
  uint64_t size = text.size();
  std::string bytes(sizeof size, '\0');
  std::memcpy(bytes.data(), &size, sizeof size);
  return bytes + text + data;
}

}  // namespace

std::string safetensors_bytes(const std::vector<NamedDoubles>& tensors) {
  return bytes_of(tensors, "F64");
}
std::string float_safetensors_bytes(const std::vector<NamedFloats>& tensors) {
  return bytes_of(tensors, "F32");
}

}  // namespace candor
