#include "formats/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <limits>
#include <memory>

#include "base/file.h"
#include "base/strings.h"

namespace candor {

namespace {

constexpr int kGzipOnly = 16 + MAX_WBITS;  // zlib: a gzip header is required
constexpr size_t kBlockBytes = size_t{1} << 18;

struct EndInflate {
  void operator()(z_stream* stream) const {
    inflateEnd(stream);
    delete stream;
  }
};
using Inflater = std::unique_ptr<z_stream, EndInflate>;

Result<Inflater> make_inflater() {
  auto stream = std::make_unique<z_stream>();
  if (inflateInit2(stream.get(), kGzipOnly) != Z_OK) {
    return resource_error("gzip: zlib could not start");
  }
  return Inflater(stream.release());
}

// Unpacks the member at the front of `bytes`, which is then what follows it.
Status unpack_member(std::string_view& bytes, const std::string& source, uint64_t max_bytes,
                     std::string& out) {
  CANDOR_TRY(const Inflater stream, make_inflater());
  const std::unique_ptr<char[]> block(new char[kBlockBytes]);
  int code = Z_OK;
  while (code != Z_STREAM_END) {
    const size_t given = std::min<size_t>(bytes.size(), std::numeric_limits<uInt>::max() / 2);
    // zlib reads through a pointer to non-const and does not write there.
    stream->next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream->avail_in = static_cast<uInt>(given);
    stream->next_out = reinterpret_cast<Bytef*>(block.get());
    stream->avail_out = static_cast<uInt>(kBlockBytes);
    code = inflate(stream.get(), Z_NO_FLUSH);
    bytes.remove_prefix(given - stream->avail_in);
    const size_t made = kBlockBytes - stream->avail_out;
    if (code == Z_BUF_ERROR || (code == Z_OK && made == 0 && bytes.empty())) {
      return invalid_argument(str_cat(source, ": the gzip data is cut short"));
    }
    if (code != Z_OK && code != Z_STREAM_END) {
      return invalid_argument(str_cat(source, ": not valid gzip data (",
                                      stream->msg == nullptr ? "unknown" : stream->msg, ")"));
    }
    if (made > max_bytes - out.size()) {
      return invalid_argument(str_cat(source, ": unpacks to more than ", max_bytes, " bytes"));
    }
    out.append(block.get(), made);
  }
  return {};
}

}  // namespace

Result<std::string> gunzip_bytes(std::string_view bytes, const std::string& source,
                                 uint64_t max_bytes) {
  std::string out;
  do {
    CANDOR_RETURN_IF_ERROR(unpack_member(bytes, source, max_bytes, out));
  } while (!bytes.empty());
  return out;
}

Result<std::string> read_record_file(const std::filesystem::path& path, uint64_t max_bytes) {
  CANDOR_TRY(std::string bytes, read_file(path, max_bytes));
  if (path.extension() != ".gz") return bytes;
  return gunzip_bytes(bytes, path.string(), max_bytes);
}

std::string record_extension(const std::filesystem::path& path) {
  return path.extension() == ".gz" ? path.stem().extension().string() : path.extension().string();
}

}  // namespace candor
