#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace candor {

// Event files of TensorBoard: a TFRecord file of Event protocol buffers, written by hand. Of the
// format we write the version header and scalars, which every reader since 2016 shows.
//
//   record = u64 length, u32 masked crc32c(length), bytes, u32 masked crc32c(bytes); little-endian
//   Event  = 1: double wall_time, 2: int64 step, 3: string file_version | 5: Summary
//   Summary.Value = 1: string tag, 2: float simple_value
//
// A file is the header and then events, so a run appends to it.
struct Scalar {
  std::string tag;
  double value = 0;
};
struct ScalarEvent {
  double wall_time_s = 0;  // since 1970
  int64_t step = 0;        // >= 0
  std::vector<Scalar> scalars;
};

[[nodiscard]] std::string tensorboard_header(double wall_time_s);
[[nodiscard]] std::string tensorboard_event(const ScalarEvent& event);

// The events of such a file; for tests and for going on with a run.
// Errors: kInvalidArgument: a checksum, a length or a field that does not fit. Fields that we do
// not write are skipped.
Result<std::vector<ScalarEvent>> parse_tensorboard(std::string_view bytes);

// CRC-32C (Castagnoli), reflected polynomial 0x82f63b78.
[[nodiscard]] uint32_t crc32c(std::string_view bytes);

}  // namespace candor
