#include "base/foreign_error.h"

#include <gtest/gtest.h>

#include <new>
#include <stdexcept>

#include "base/json.h"

namespace candor {
namespace {

TEST(ForeignError, MemoryIsAResourceAndTheRestIsOurs) {
  EXPECT_EQ(error_of_exception(std::bad_alloc(), "w").code, ErrorCode::kResource);
  EXPECT_EQ(
      error_of_exception(std::runtime_error("DefaultCPUAllocator: not enough memory"), "w").code,
      ErrorCode::kResource);
  const Error ours = error_of_exception(std::runtime_error("bad shape\nframe #0"), "lm sft");
  EXPECT_EQ(ours.code, ErrorCode::kInternal);
  EXPECT_EQ(ours.message,
            "lm sft: internal error, a bug of this program: please report it (bad shape)");
}

// A library's own label never reaches a user.
TEST(ForeignError, LibrariesDoNotSpeak) {
  try {
    (void)Json(3).at("x");
    FAIL();
  } catch (const std::exception& exception) {
    const std::string message = error_of_exception(exception, "w").message;
    EXPECT_EQ(message.find("json.exception"), std::string::npos) << message;
    EXPECT_NE(message.find("internal error"), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace candor
