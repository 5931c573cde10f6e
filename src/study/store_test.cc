#include "study/store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "base/strings.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

// Two runs may share a cache: opening it takes nothing from the other one.
TEST(StoreTest, OpeningRemovesWhatDeadRunsLeftOnly) {
  std::string pattern = (fs::temp_directory_path() / "candor-store-XXXXXX").string();
  const fs::path root = ::mkdtemp(pattern.data());
  const fs::path alive = root / str_cat(".tmp-menu_bank-", ::getppid());
  const fs::path dead = root / ".tmp-menu_bank-2147483646";
  const fs::path nameless = root / ".tmp-bank";
  const fs::path artifact = root / "bank-0123";
  for (const fs::path& folder : {alive, dead, nameless, artifact}) fs::create_directory(folder);
  ASSERT_TRUE(Store::open(root, "candor-worker").ok());
  EXPECT_TRUE(fs::exists(alive));
  EXPECT_TRUE(fs::exists(artifact));
  EXPECT_FALSE(fs::exists(dead));
  EXPECT_FALSE(fs::exists(nameless));
  fs::remove_all(root);
}

// What a worker says of itself is what is kept; the system's count of its memory would begin with
// this process's own, which is larger than a shell's.
TEST(WorkerProcess, TellsWhatItTook) {
  std::string pattern = (fs::temp_directory_path() / "candor-worker-XXXXXX").string();
  const fs::path root = ::mkdtemp(pattern.data());
  const auto worker = [&](const std::string& lines) {
    fs::path file = root / "worker";
    std::ofstream(file) << "#!/bin/sh\n" << lines;
    fs::permissions(file, fs::perms::owner_all);
    return file;
  };
  uint64_t done = 0;
  const ProgressSink progress = [&](uint64_t now, uint64_t, std::string_view) { done = now; };
  const auto usage = run_worker(worker("echo '{\"progress\":\"bank\",\"done\":3,\"total\":4}'\n"
                                       "i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done\n"
                                       "echo '{\"done\":true,\"peak_memory_bytes\":123456}'\n"),
                                root / "request.json", "a stage", progress);
  ASSERT_TRUE(usage.ok()) << usage.error().message;
  EXPECT_EQ(done, 3);
  EXPECT_EQ(usage->peak_memory_bytes, 123456);
  EXPECT_GT(usage->processor_seconds, 0);
  EXPECT_LT(usage->processor_seconds, 60);
  const auto silent = run_worker(worker("exit 0\n"), root / "request.json", "a stage", progress);
  EXPECT_EQ(silent->peak_memory_bytes, 0);
  const auto failed = run_worker(worker("echo 'candor-worker: bad' >&2\nexit 3\n"),
                                 root / "request.json", "a stage", progress);
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().message, "a stage: bad");
  fs::remove_all(root);
}

}  // namespace
}  // namespace candor
