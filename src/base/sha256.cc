#include "base/sha256.h"

#include <openssl/evp.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/strings.h"

namespace candor {

struct Sha256::Impl {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~Impl() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : impl_(std::make_unique<Impl>()) {
  CANDOR_CHECK(EVP_DigestInit_ex(impl_->context, EVP_sha256(), nullptr) == 1);
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(const void* data, size_t size_bytes) {
  CANDOR_CHECK(EVP_DigestUpdate(impl_->context, data, size_bytes) == 1);
}

std::string Sha256::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  CANDOR_CHECK(EVP_DigestFinal_ex(impl_->context, digest.data(), &size) == 1);
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (unsigned int i = 0; i < size; ++i) {
    out += kDigits[digest[i] >> 4];
    out += kDigits[digest[i] & 15];
  }
  return out;
}

std::string sha256_hex(std::string_view bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.hex();
}

Result<std::string> sha256_file(const std::filesystem::path& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                             &std::fclose);
  if (file == nullptr) {
    return invalid_argument(str_cat(path.string(), ": ", std::strerror(errno)));
  }
  Sha256 hash;
  std::vector<char> buffer(size_t{1} << 20);
  while (const size_t count = std::fread(buffer.data(), 1, buffer.size(), file.get())) {
    hash.update(buffer.data(), count);
  }
  if (std::ferror(file.get()) != 0) {
    return invalid_argument(str_cat(path.string(), ": could not be read to its end"));
  }
  return hash.hex();
}

}  // namespace candor
