#include "formats/gguf.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/strings.h"
#include "formats/half.h"

namespace candor {

namespace {

constexpr uint64_t kMaxKeys = 1 << 16;
constexpr uint64_t kMaxTensors = 1 << 18;
constexpr uint32_t kMaxDimensions = 4;

// Reads forward through foreign bytes; the first read past the end makes every later one fail too.
class Cursor {
 public:
  explicit Cursor(std::string_view bytes) : bytes_(bytes) {}

  template <typename T>
  T read() {
    T value{};
    if (sizeof(T) > bytes_.size() - place_) {
      ok_ = false;
      place_ = bytes_.size();
      return value;
    }
    std::memcpy(&value, bytes_.data() + place_, sizeof(T));
    place_ += sizeof(T);
    return value;
  }
  std::string_view read_text() {
    const auto size = read<uint64_t>();
    if (!ok_ || size > bytes_.size() - place_) {
      ok_ = false;
      return {};
    }
    const std::string_view text = bytes_.substr(place_, size);
    place_ += size;
    return text;
  }
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] size_t place() const { return place_; }
  [[nodiscard]] size_t left() const { return bytes_.size() - place_; }

 private:
  std::string_view bytes_;
  size_t place_ = 0;
  bool ok_ = true;
};

enum class ValueType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kText,
  kArray,
  kU64,
  kI64,
  kF64
};

bool is_integer_type(ValueType type) {
  switch (type) {
    case ValueType::kU8:
    case ValueType::kI8:
    case ValueType::kU16:
    case ValueType::kI16:
    case ValueType::kU32:
    case ValueType::kI32:
    case ValueType::kU64:
    case ValueType::kI64:
      return true;
    default:
      return false;
  }
}

// Any integer type; values beyond int64 saturate, which every range check then refuses.
int64_t read_integer(Cursor& cursor, ValueType type) {
  switch (type) {
    case ValueType::kU8:
      return cursor.read<uint8_t>();
    case ValueType::kI8:
      return cursor.read<int8_t>();
    case ValueType::kU16:
      return cursor.read<uint16_t>();
    case ValueType::kI16:
      return cursor.read<int16_t>();
    case ValueType::kU32:
      return cursor.read<uint32_t>();
    case ValueType::kI32:
      return cursor.read<int32_t>();
    case ValueType::kI64:
      return cursor.read<int64_t>();
    default: {
      const auto value = cursor.read<uint64_t>();
      constexpr auto kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
      return static_cast<int64_t>(value > kMax ? kMax : value);
    }
  }
}

size_t smallest_size(ValueType type) {
  switch (type) {
    case ValueType::kU8:
    case ValueType::kI8:
    case ValueType::kBool:
      return 1;
    case ValueType::kU16:
    case ValueType::kI16:
      return 2;
    case ValueType::kU32:
    case ValueType::kI32:
    case ValueType::kF32:
      return 4;
    default:
      return 8;
  }
}

Result<GgufValue> read_array(Cursor& cursor) {
  const auto type = static_cast<ValueType>(cursor.read<uint32_t>());
  const auto count = cursor.read<uint64_t>();
  if (type == ValueType::kArray) return invalid_argument("arrays inside arrays are not supported");
  if (!cursor.ok() || type > ValueType::kF64) {
    return invalid_argument("an array of a type that is not known");
  }
  if (count > cursor.left() / smallest_size(type)) {
    return invalid_argument(str_cat("an array claims ", count, " entries; the file is too short"));
  }
  if (type == ValueType::kText) {
    std::vector<std::string> texts;
    texts.reserve(count);
    for (uint64_t i = 0; i < count && cursor.ok(); ++i) texts.emplace_back(cursor.read_text());
    return GgufValue{std::move(texts)};
  }
  if (type == ValueType::kF32 || type == ValueType::kF64) {
    std::vector<double> numbers;
    numbers.reserve(count);
    for (uint64_t i = 0; i < count; ++i) {
      numbers.push_back(type == ValueType::kF32 ? double{cursor.read<float>()}
                                                : cursor.read<double>());
    }
    return GgufValue{std::move(numbers)};
  }
  std::vector<int64_t> integers;
  integers.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    integers.push_back(type == ValueType::kBool ? cursor.read<uint8_t>()
                                                : read_integer(cursor, type));
  }
  return GgufValue{std::move(integers)};
}

Result<GgufValue> read_value(Cursor& cursor) {
  const auto type = static_cast<ValueType>(cursor.read<uint32_t>());
  if (is_integer_type(type)) return GgufValue{read_integer(cursor, type)};
  switch (type) {
    case ValueType::kF32:
      return GgufValue{double{cursor.read<float>()}};
    case ValueType::kF64:
      return GgufValue{cursor.read<double>()};
    case ValueType::kBool:
      return GgufValue{cursor.read<uint8_t>() != 0};
    case ValueType::kText:
      return GgufValue{std::string(cursor.read_text())};
    case ValueType::kArray:
      return read_array(cursor);
    default:
      return invalid_argument("a value of a type that is not known");
  }
}

struct TypeLayout {
  int64_t block = 0;        // elements in a block
  int64_t block_bytes = 0;  // 0: not supported
};

TypeLayout layout_of(uint32_t type) {
  switch (static_cast<GgufType>(type)) {
    case GgufType::kF32:
      return {1, 4};
    case GgufType::kF16:
    case GgufType::kBf16:
      return {1, 2};
    case GgufType::kQ40:
      return {32, 18};
    case GgufType::kQ41:
      return {32, 20};
    case GgufType::kQ80:
      return {32, 34};
  }
  return {};
}

// The name of an element type, as ggml numbers them.
std::string type_name(uint32_t type) {
  static const std::map<uint32_t, std::string> kNames = {
      {0, "F32"},   {1, "F16"},   {2, "Q4_0"},  {3, "Q4_1"},  {6, "Q5_0"},
      {7, "Q5_1"},  {8, "Q8_0"},  {9, "Q8_1"},  {10, "Q2_K"}, {11, "Q3_K"},
      {12, "Q4_K"}, {13, "Q5_K"}, {14, "Q6_K"}, {15, "Q8_K"}, {24, "I8"},
      {25, "I16"},  {26, "I32"},  {27, "I64"},  {28, "F64"},  {30, "BF16"}};
  const auto found = kNames.find(type);
  return found == kNames.end() ? str_cat("number ", type) : found->second;
}

uint16_t read_half(const char* bytes) {
  uint16_t bits = 0;
  std::memcpy(&bits, bytes, sizeof bits);
  return bits;
}

// Sixteen bytes hold 32 nibbles: the low ones first, then the high ones.
void unpack_nibbles(const char* bytes, float scale, float offset, float* out) {
  for (int i = 0; i < 16; ++i) {
    const auto byte = static_cast<unsigned char>(bytes[i]);
    out[i] = static_cast<float>(byte & 15) * scale + offset;
    out[i + 16] = static_cast<float>(byte >> 4) * scale + offset;
  }
}

void dequantize_block(GgufType type, const char* bytes, float* out) {
  switch (type) {
    case GgufType::kF32:
      std::memcpy(out, bytes, 4);
      return;
    case GgufType::kF16:
      *out = float_from_f16(read_half(bytes));
      return;
    case GgufType::kBf16:
      *out = float_from_bf16(read_half(bytes));
      return;
    case GgufType::kQ40: {  // (q - 8) d
      const float scale = float_from_f16(read_half(bytes));
      for (int i = 0; i < 16; ++i) {
        const auto byte = static_cast<unsigned char>(bytes[2 + i]);
        out[i] = static_cast<float>((byte & 15) - 8) * scale;
        out[i + 16] = static_cast<float>((byte >> 4) - 8) * scale;
      }
      return;
    }
    case GgufType::kQ41:  // q d + m
      unpack_nibbles(bytes + 4, float_from_f16(read_half(bytes)),
                     float_from_f16(read_half(bytes + 2)), out);
      return;
    case GgufType::kQ80: {
      const float scale = float_from_f16(read_half(bytes));
      for (int i = 0; i < 32; ++i)
        out[i] = static_cast<float>(static_cast<signed char>(bytes[2 + i])) * scale;
      return;
    }
  }
}

Result<GgufTensor> read_tensor_info(Cursor& cursor, uint64_t& offset) {
  GgufTensor tensor;
  tensor.name = cursor.read_text();
  const auto dimensions = cursor.read<uint32_t>();
  if (!cursor.ok() || dimensions == 0 || dimensions > kMaxDimensions) {
    return invalid_argument(str_cat("tensor ", quote(tensor.name), " has ", dimensions,
                                    " dimensions; expected 1 to 4"));
  }
  int64_t count = 1;
  for (uint32_t i = 0; i < dimensions; ++i) {
    const auto extent = cursor.read<uint64_t>();
    if (extent == 0 || extent > (uint64_t{1} << 40) ||
        count > (int64_t{1} << 42) / static_cast<int64_t>(extent)) {
      return invalid_argument(str_cat("tensor ", quote(tensor.name), " has an extent of ", extent));
    }
    count *= static_cast<int64_t>(extent);
    tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(extent));
  }
  tensor.type = cursor.read<uint32_t>();
  offset = cursor.read<uint64_t>();
  return tensor;
}

Status read_metadata(Cursor& cursor, uint64_t key_count, std::map<std::string, GgufValue>& out) {
  for (uint64_t i = 0; i < key_count; ++i) {
    const std::string key(cursor.read_text());
    Result<GgufValue> value = read_value(cursor);
    if (!cursor.ok()) return invalid_argument("it is cut off in its metadata");
    if (!value.ok()) {
      return invalid_argument(str_cat("key ", quote(key), ": ", value.error().message));
    }
    if (!out.emplace(key, std::move(*value)).second) {
      return invalid_argument(str_cat("the key ", quote(key), " occurs twice"));
    }
  }
  return {};
}

// Points `tensor` at its bytes; the error continues the sentence "tensor NAME ...".
Status place_tensor(std::string_view data, uint64_t offset, GgufTensor& tensor) {
  if (offset > data.size()) return invalid_argument("begins after the end of the file");
  const TypeLayout layout = layout_of(tensor.type);
  if (layout.block_bytes == 0) return {};  // refused when it is used
  if (tensor.shape.back() % layout.block != 0) return invalid_argument("has broken blocks");
  const auto size =
      static_cast<uint64_t>(tensor.element_count() / layout.block * layout.block_bytes);
  if (size > data.size() - offset) {
    return invalid_argument(str_cat("needs ", size, " bytes; the file has ", data.size() - offset,
                                    " from its beginning on"));
  }
  tensor.bytes = data.substr(offset, size);
  return {};
}

}  // namespace

int64_t GgufTensor::element_count() const {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return count;
}

Result<std::vector<float>> dequantize(uint32_t type, std::string_view bytes, int64_t count) {
  const TypeLayout layout = layout_of(type);
  if (layout.block_bytes == 0) {
    return invalid_argument(str_cat("the element type ", type_name(type),
                                    " is not supported; F32, F16, BF16, Q8_0, Q4_0 and Q4_1 are"));
  }
  if (count % layout.block != 0 ||
      static_cast<int64_t>(bytes.size()) != count / layout.block * layout.block_bytes) {
    return invalid_argument(str_cat(bytes.size(), " bytes do not hold ", count, " elements"));
  }
  std::vector<float> values(static_cast<size_t>(count));
  for (int64_t block = 0; block < count / layout.block; ++block) {
    dequantize_block(static_cast<GgufType>(type), bytes.data() + block * layout.block_bytes,
                     values.data() + block * layout.block);
  }
  return values;
}

Result<GgufFile> GgufFile::open(const std::filesystem::path& path) {
  CANDOR_TRY(MappedFile mapped, MappedFile::open(path));
  GgufFile file(std::move(mapped));
  file.path_ = path.string();
  const auto refuse = [&](std::string_view why) {
    return invalid_argument(str_cat(path.string(), ": not a GGUF file that can be read: ", why));
  };
  const std::string_view bytes = file.file_.bytes();
  Cursor cursor(bytes);
  if (!bytes.starts_with("GGUF")) return refuse("it does not begin with GGUF");
  (void)cursor.read<uint32_t>();
  const auto version = cursor.read<uint32_t>();
  if (version != 2 && version != 3)
    return refuse(str_cat("version ", version, "; expected 2 or 3"));
  const auto tensor_count = cursor.read<uint64_t>();
  const auto key_count = cursor.read<uint64_t>();
  if (!cursor.ok() || tensor_count > kMaxTensors || key_count > kMaxKeys) {
    return refuse(str_cat("it claims ", tensor_count, " tensors and ", key_count, " keys"));
  }
  Status read = read_metadata(cursor, key_count, file.metadata_);
  if (!read.ok()) return refuse(read.error().message);
  std::vector<std::pair<GgufTensor, uint64_t>> tensors;
  for (uint64_t i = 0; i < tensor_count; ++i) {
    uint64_t offset = 0;
    Result<GgufTensor> tensor = read_tensor_info(cursor, offset);
    if (!cursor.ok()) return refuse("it is cut off in its list of tensors");
    if (!tensor.ok()) return refuse(tensor.error().message);
    tensors.emplace_back(std::move(*tensor), offset);
  }
  int64_t alignment = 32;
  if (file.has("general.alignment")) {
    CANDOR_TRY(alignment, file.integer("general.alignment", 1, 1 << 20));
  }
  const auto align = static_cast<uint64_t>(alignment);
  const uint64_t data_begin = (cursor.place() + align - 1) / align * align;
  const std::string_view data = bytes.substr(std::min<uint64_t>(data_begin, bytes.size()));
  for (auto& [tensor, offset] : tensors) {
    const std::string what = str_cat("tensor ", quote(tensor.name));
    if (offset % align != 0) return refuse(str_cat(what, " is not aligned"));
    read = place_tensor(data, offset, tensor);
    if (!read.ok()) return refuse(str_cat(what, " ", read.error().message));
    const std::string name = tensor.name;
    if (!file.tensors_.emplace(name, std::move(tensor)).second) {
      return refuse(str_cat(what, " occurs twice"));
    }
  }
  return file;
}

namespace {

template <typename T>
Result<T> metadata_as(const GgufFile& file, const std::string& key, std::string_view expected) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end()) {
    return invalid_argument(str_cat(file.path(), ": has no metadata key ", quote(key)));
  }
  if (const T* value = std::get_if<T>(&found->second.value)) return *value;
  return invalid_argument(
      str_cat(file.path(), ": metadata key ", quote(key), " is not ", expected));
}

}  // namespace

Result<std::string> GgufFile::text(const std::string& key) const {
  return metadata_as<std::string>(*this, key, "a text");
}
Result<double> GgufFile::number(const std::string& key) const {
  CANDOR_TRY(const double value, metadata_as<double>(*this, key, "a number"));
  if (!std::isfinite(value)) return invalid_argument(str_cat(path_, ": ", key, ": found ", value));
  return value;
}
Result<std::vector<std::string>> GgufFile::texts(const std::string& key) const {
  return metadata_as<std::vector<std::string>>(*this, key, "a list of texts");
}
Result<std::vector<int64_t>> GgufFile::integers(const std::string& key) const {
  return metadata_as<std::vector<int64_t>>(*this, key, "a list of whole numbers");
}
Result<std::vector<double>> GgufFile::numbers(const std::string& key) const {
  return metadata_as<std::vector<double>>(*this, key, "a list of numbers");
}
Result<bool> GgufFile::boolean(const std::string& key) const {
  return metadata_as<bool>(*this, key, "true or false");
}
Result<int64_t> GgufFile::integer(const std::string& key, int64_t min, int64_t max) const {
  CANDOR_TRY(const int64_t value, metadata_as<int64_t>(*this, key, "a whole number"));
  if (value < min || value > max) {
    return invalid_argument(
        str_cat(path_, ": ", key, ": found ", value, "; expected ", min, " to ", max));
  }
  return value;
}

Result<std::vector<float>> GgufFile::floats(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end())
    return invalid_argument(str_cat(path_, ": has no tensor ", quote(name)));
  const GgufTensor& tensor = found->second;
  Result<std::vector<float>> values = dequantize(tensor.type, tensor.bytes, tensor.element_count());
  if (!values.ok()) {
    return invalid_argument(str_cat(path_, ": tensor ", quote(name), ": ", values.error().message));
  }
  return values;
}

}  // namespace candor
