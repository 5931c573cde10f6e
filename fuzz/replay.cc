// Runs a fuzz target without a fuzzer: every file of a corpus folder, every one of its beginnings,
// and 500 copies of each with random bytes changed. A crash, a failed check or a sanitizer's report
// ends the program; silence is success. Damage is drawn from a fixed seed, so a crash repeats.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/rng.h"
#include "fuzz_input.h"

namespace {

constexpr uint32_t kDamagedCopies = 500;
constexpr size_t kLongestPrefixSweep = 4096;  // of longer files only these beginnings are tried

void run(const std::string& bytes) {
  (void)LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

void replay(const std::string& good) {
  run(good);
  for (size_t size = 0; size < std::min(good.size(), kLongestPrefixSweep); ++size) {
    run(good.substr(0, size));
  }
  for (uint32_t copy = 0; copy < kDamagedCopies && !good.empty(); ++copy) {
    candor::RandomStream random({.seed = 20, .prompt = copy});
    std::string bad = good;
    for (int flip = 0; flip < 3; ++flip) {
      bad[random.below(bad.size())] ^= static_cast<char>(1 + random.below(255));
    }
    run(bad);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
    return 2;
  }
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const auto& path : files) {
    std::printf("%s\n", path.filename().c_str());
    std::fflush(stdout);  // the last name printed is the one that crashed
    const auto bytes = candor::read_file(path);
    if (!bytes.ok()) {
      std::fprintf(stderr, "%s\n", bytes.error().message.c_str());
      return 1;
    }
    replay(*bytes);
  }
  if (files.empty()) std::fprintf(stderr, "%s: no corpus\n", argv[1]);
  return files.empty() ? 1 : 0;
}
