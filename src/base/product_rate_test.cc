#include "base/product_rate.h"

#include <gtest/gtest.h>

#include <cmath>

namespace candor {
namespace {

// How fast is the machine's affair; that every number of threads gives a rate is ours.
TEST(ProductRate, IsAPositiveNumber) {
  for (const int threads : {1, 2, 5}) {
    const double rate = product_rate(threads);
    EXPECT_TRUE(std::isfinite(rate)) << threads;
    EXPECT_GT(rate, 0) << threads;
  }
}

}  // namespace
}  // namespace candor
