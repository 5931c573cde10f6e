#include "study/store.h"

#include <gtest/gtest.h>
#include <unistd.h>

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

}  // namespace
}  // namespace candor
