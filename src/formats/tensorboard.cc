#include "formats/tensorboard.h"

#include <array>
#include <bit>
#include <optional>

#include "base/strings.h"

namespace candor {

namespace {

// Wire types of protocol buffers.
constexpr uint64_t kVarint = 0;
constexpr uint64_t kFixed64 = 1;
constexpr uint64_t kBytes = 2;
constexpr uint64_t kFixed32 = 5;

constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < table.size(); ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0x82f63b78U : 0U);
    table[i] = value;
  }
  return table;
}

// What TFRecord stores instead of the checksum itself: rotated, plus a constant.
uint32_t masked_crc(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + 0xa282ead8U; }

void put_little_endian(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
}

void put_varint(std::string& out, uint64_t value) {
  while (value >= 0x80) {
    out += static_cast<char>((value & 0x7f) | 0x80);
    value >>= 7;
  }
  out += static_cast<char>(value);
}

void put_bytes(std::string& out, uint64_t field, std::string_view bytes) {
  put_varint(out, field << 3 | kBytes);
  put_varint(out, bytes.size());
  out += bytes;
}

std::string record(std::string_view bytes) {
  std::string length;
  put_little_endian(length, bytes.size(), 8);
  std::string out = length;
  put_little_endian(out, masked_crc(length), 4);
  out += bytes;
  put_little_endian(out, masked_crc(bytes), 4);
  return out;
}

std::string event_start(double wall_time_s) {
  std::string out;
  put_varint(out, 1 << 3 | kFixed64);
  put_little_endian(out, std::bit_cast<uint64_t>(wall_time_s), 8);
  return out;
}

// Fields of one message, one after another; `bad` once something does not fit.
class Fields {
 public:
  explicit Fields(std::string_view message) : rest_(message) {}

  // Moves to the next field; false at the end or where the bytes are wrong.
  bool next() {
    if (rest_.empty() || bad) return false;
    const uint64_t tag = varint();
    field = tag >> 3;
    switch (tag & 7) {
      case kVarint:
        number = varint();
        break;
      case kFixed64:
        number = fixed(8);
        break;
      case kBytes:
        bytes = take(varint());
        break;
      case kFixed32:
        number = fixed(4);
        break;
      default:
        bad = true;
    }
    return !bad;
  }

  uint64_t field = 0;
  uint64_t number = 0;
  std::string_view bytes;
  bool bad = false;

 private:
  std::string_view take(uint64_t count) {
    if (count > rest_.size()) {
      bad = true;
      return {};
    }
    const std::string_view out = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return out;
  }
  uint64_t fixed(size_t count) {
    uint64_t value = 0;
    const std::string_view raw = take(count);
    for (size_t i = raw.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(raw[i]);
    return value;
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const std::string_view raw = take(1);
      if (raw.empty()) return 0;
      const auto byte = static_cast<unsigned char>(raw[0]);
      value |= uint64_t{byte & 0x7fU} << shift;
      if (byte < 0x80) return value;
    }
    bad = true;
    return 0;
  }
  std::string_view rest_;
};

std::optional<Scalar> parse_value(std::string_view bytes) {
  Scalar out;
  Fields in(bytes);
  while (in.next()) {
    if (in.field == 1) out.tag = in.bytes;
    if (in.field == 2) out.value = std::bit_cast<float>(static_cast<uint32_t>(in.number));
  }
  return in.bad ? std::nullopt : std::optional(out);
}

std::optional<ScalarEvent> parse_event(std::string_view bytes) {
  ScalarEvent event;
  Fields in(bytes);
  while (in.next()) {
    if (in.field == 1) event.wall_time_s = std::bit_cast<double>(in.number);
    if (in.field == 2) event.step = static_cast<int64_t>(in.number);
    if (in.field != 5) continue;
    Fields values(in.bytes);
    while (values.next()) {
      const std::optional<Scalar> value = parse_value(values.bytes);
      if (!value.has_value()) return std::nullopt;
      if (values.field == 1) event.scalars.push_back(*value);
    }
    if (values.bad) return std::nullopt;
  }
  return in.bad ? std::nullopt : std::optional(event);
}

uint64_t little_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> kTable = crc_table();
  uint32_t crc = ~0U;
  for (const char c : bytes) crc = kTable[(crc ^ static_cast<unsigned char>(c)) & 0xff] ^ crc >> 8;
  return ~crc;
}

std::string tensorboard_header(double wall_time_s) {
  std::string event = event_start(wall_time_s);
  put_bytes(event, 3, "brain.Event:2");
  return record(event);
}

std::string tensorboard_event(const ScalarEvent& event) {
  std::string summary;
  for (const Scalar& scalar : event.scalars) {
    std::string value;
    put_bytes(value, 1, scalar.tag);
    put_varint(value, 2 << 3 | kFixed32);
    put_little_endian(value, std::bit_cast<uint32_t>(static_cast<float>(scalar.value)), 4);
    put_bytes(summary, 1, value);
  }
  std::string out = event_start(event.wall_time_s);
  put_varint(out, 2 << 3 | kVarint);
  put_varint(out, static_cast<uint64_t>(event.step));
  put_bytes(out, 5, summary);
  return record(out);
}

Result<std::vector<ScalarEvent>> parse_tensorboard(std::string_view bytes) {
  std::vector<ScalarEvent> events;
  size_t place = 0;
  const auto bad = [&](std::string_view what) {
    return invalid_argument(str_cat("event file: the record at byte ", place, ": ", what));
  };
  while (place < bytes.size()) {
    const std::string_view rest = bytes.substr(place);
    if (rest.size() < 16) return bad("is cut off");
    const uint64_t length = little_endian(rest.substr(0, 8));
    if (length > rest.size() - 16) return bad("is cut off");
    const std::string_view data = rest.substr(12, length);
    if (little_endian(rest.substr(8, 4)) != masked_crc(rest.substr(0, 8)) ||
        little_endian(rest.substr(12 + length, 4)) != masked_crc(data)) {
      return bad("does not match its checksum");
    }
    const std::optional<ScalarEvent> event = parse_event(data);
    if (!event.has_value()) return bad("is not an event");
    if (!event->scalars.empty()) events.push_back(*event);
    place += 16 + length;
  }
  return events;
}

}  // namespace candor
