#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"

namespace candor {

// The content of gzip bytes (RFC 1952), of several members one after the other too. Errors:
// kInvalidArgument, naming `source`: not gzip, cut short, a wrong checksum, bytes after the last
// member, more than `max_bytes` of content.
Result<std::string> gunzip_bytes(std::string_view bytes, const std::string& source,
                                 uint64_t max_bytes);

// A file of records, unpacked where its name ends in .gz.
Result<std::string> read_record_file(const std::filesystem::path& path,
                                     uint64_t max_bytes = uint64_t{2} << 30);

// The ending that tells the format of records: of "a.jsonl.gz" it is ".jsonl".
[[nodiscard]] std::string record_extension(const std::filesystem::path& path);

}  // namespace candor
