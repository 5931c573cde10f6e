#include "formats/npy.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>

#include "base/strings.h"

namespace candor {

namespace {

static_assert(std::endian::native == std::endian::little, "files are little endian and mapped");

constexpr std::string_view kMagic("\x93NUMPY", 6);

// The value of 'key' in the header's Python dictionary literal, as text up to its end.
std::string_view field(std::string_view header, std::string_view key) {
  const std::string quoted_key = str_cat("'", key, "'");
  const size_t at = header.find(quoted_key);
  if (at == std::string_view::npos) return {};
  std::string_view rest = trim(header.substr(at + quoted_key.size()));
  if (!rest.starts_with(':')) return {};
  return trim(rest.substr(1));
}

// "(3, 4)" -> {3, 4}; empty on anything else.
std::vector<int64_t> parse_shape(std::string_view text) {
  if (!text.starts_with('(')) return {};
  const size_t end = text.find(')');
  if (end == std::string_view::npos) return {};
  std::vector<int64_t> shape;
  for (const std::string& part : split(text.substr(1, end - 1), ',')) {
    const std::string_view digits = trim(part);
    if (digits.empty()) continue;
    int64_t value = 0;
    const auto [stop, code] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (code != std::errc() || stop != digits.data() + digits.size() || value < 0) return {};
    shape.push_back(value);
  }
  return shape;
}

size_t item_size(std::string_view dtype) { return dtype == "<f4" ? 4 : 8; }

}  // namespace

Result<NpyFile> NpyFile::open(const std::filesystem::path& path) {
  CANDOR_TRY(MappedFile mapped, MappedFile::open(path));
  NpyFile file(std::move(mapped));
  file.path_ = path.string();
  const auto refuse = [&](std::string_view why) {
    return invalid_argument(str_cat(path.string(), ": not a .npy file that can be read: ", why));
  };
  const std::string_view bytes = file.file_.bytes();
  if (!bytes.starts_with(kMagic) || bytes.size() < 12) return refuse("its first bytes are others");
  const auto major = static_cast<unsigned char>(bytes[6]);
  if (major != 1 && major != 2) return refuse("format version above 2");
  const size_t prefix = major == 1 ? 10 : 12;
  size_t header_size = 0;
  for (size_t i = prefix; i-- > 8;) {
    header_size = header_size << 8 | static_cast<unsigned char>(bytes[i]);
  }
  if (header_size > bytes.size() - prefix) return refuse("the header is cut off");
  const std::string_view header = bytes.substr(prefix, header_size);
  const std::string_view descr = field(header, "descr");
  for (const std::string_view known : {"<f4", "<f8", "<i8"}) {
    if (descr.starts_with(str_cat("'", known, "'"))) file.dtype_ = known;
  }
  if (file.dtype_.empty()) return refuse("the type is none of <f4, <f8, <i8");
  if (!field(header, "fortran_order").starts_with("False")) return refuse("not in C order");
  file.shape_ = parse_shape(field(header, "shape"));
  if (file.shape_.empty() || file.shape_.size() > 2) return refuse("not one or two dimensions");
  file.data_begin_ = prefix + header_size;
  const size_t capacity = (bytes.size() - file.data_begin_) / item_size(file.dtype_);
  uint64_t count = 1;
  for (const int64_t extent : file.shape_) {
    if (extent != 0 && count > capacity / static_cast<uint64_t>(extent)) {
      return refuse("the shape needs more bytes than the file has");
    }
    count *= static_cast<uint64_t>(extent);
  }
  if (count * item_size(file.dtype_) != bytes.size() - file.data_begin_) {
    return refuse("the file has more bytes than the shape needs");
  }
  return file;
}

Result<std::string_view> NpyFile::row_bytes(int64_t row) const {
  if (row < 0 || row >= row_count()) {
    return invalid_argument(
        str_cat(path_, ": found row ", row, "; it has rows 0 to ", row_count() - 1));
  }
  const size_t size = static_cast<size_t>(shape_.back()) * item_size(dtype_);
  return file_.bytes().substr(data_begin_ + static_cast<size_t>(row) * size, size);
}

Result<std::vector<double>> NpyFile::doubles(int64_t row) const {
  CANDOR_TRY(const std::string_view bytes, row_bytes(row));
  std::vector<double> values(static_cast<size_t>(shape_.back()));
  if (dtype_ == "<f8") {
    if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  if (dtype_ == "<f4") {
    std::vector<float> floats(values.size());
    if (!values.empty()) std::memcpy(floats.data(), bytes.data(), bytes.size());
    std::copy(floats.begin(), floats.end(), values.begin());
    return values;
  }
  return invalid_argument(str_cat(path_, ": holds ", dtype_, "; expected <f4 or <f8"));
}

Result<NumberRow> NpyFile::number_row(int64_t row) const {
  CANDOR_TRY(const std::string_view bytes, row_bytes(row));
  return candor::number_row(bytes, dtype_ == "<f8", dtype_ == "<f4");
}

Result<std::vector<int64_t>> NpyFile::integers(int64_t row) const {
  if (dtype_ != "<i8")
    return invalid_argument(str_cat(path_, ": holds ", dtype_, "; expected <i8"));
  CANDOR_TRY(const std::string_view bytes, row_bytes(row));
  std::vector<int64_t> values(static_cast<size_t>(shape_.back()));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

std::string npy_bytes(std::span<const double> values) {
  std::string header =
      str_cat("{'descr': '<f8', 'fortran_order': False, 'shape': (", values.size(), ",), }");
  static constexpr size_t kPrefix = 10;
  static constexpr size_t kAlignment = 64;
  while ((kPrefix + header.size() + 1) % kAlignment != 0) header += ' ';
  header += '\n';
  std::string bytes(kMagic);
  bytes += '\x01';
  bytes += '\0';
  bytes += static_cast<char>(header.size() & 0xff);
  bytes += static_cast<char>(header.size() >> 8);
  bytes += header;
  bytes.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
  return bytes;
}

}  // namespace candor
