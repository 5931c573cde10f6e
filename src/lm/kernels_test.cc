#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "formats/half.h"
#include "lm/packed_matrix.h"
#include "lm/vector_math.h"

namespace candor {
namespace {

// Products of odd shapes against sums in double, for every number of rows a tile can have.
TEST(PackedMatrix, AgreesWithPlainSums) {
  RandomStream random({.seed = 1});
  for (const Dtype dtype : {Dtype::kF32, Dtype::kBf16}) {
    for (const auto& [outputs, inputs] :
         {std::pair<int64_t, int64_t>{1, 1}, {33, 7}, {64, 64}, {95, 129}}) {
      std::vector<float> weights(static_cast<size_t>(outputs * inputs));
      for (float& w : weights) w = static_cast<float>(random.normal());
      const PackedMatrix matrix(weights, outputs, inputs, dtype);
      for (int64_t rows = 1; rows <= 17; ++rows) {
        std::vector<float> input(static_cast<size_t>(rows * inputs));
        for (float& x : input) x = static_cast<float>(random.normal());
        std::vector<float> output(static_cast<size_t>(rows * outputs), NAN);
        matrix.multiply(input.data(), rows, output.data(), 2);
        for (int64_t row = 0; row < rows; ++row) {
          for (int64_t n = 0; n < outputs; ++n) {
            double sum = 0;
            double size = 0;
            for (int64_t k = 0; k < inputs; ++k) {
              float x = input[static_cast<size_t>(row * inputs + k)];
              float w = weights[static_cast<size_t>(n * inputs + k)];
              if (dtype == Dtype::kBf16) {
                x = float_from_bf16(bf16_from_float(x));
                w = float_from_bf16(bf16_from_float(w));
              }
              sum += double{x} * w;
              size += std::abs(double{x} * w);
            }
            ASSERT_NEAR(output[static_cast<size_t>(row * outputs + n)], sum, 2e-6 * (size + 1e-3));
          }
        }
      }
    }
  }
}

TEST(VectorMath, AgreesWithTheLibrary) {
  for (float x = -86; x < 86; x += 0.37F) EXPECT_NEAR(exp_one(x) / std::exp(x), 1.0F, 3e-7F) << x;
  EXPECT_EQ(exp_one(0), 1.0F);
  EXPECT_LT(exp_one(-1000), 1e-37F);
  std::vector<float> a(37);
  std::vector<float> b(37);
  double expected = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    a[i] = 0.1F * static_cast<float>(i) - 1;
    b[i] = 2 - 0.3F * static_cast<float>(i);
    expected += double{a[i]} * b[i];
  }
  EXPECT_NEAR(dot(a.data(), b.data(), 37), expected, 1e-4);
  std::vector<float> out(37);
  silu_times(a.data(), b.data(), out.data(), 37);
  for (size_t i = 0; i < a.size(); ++i)
    EXPECT_NEAR(out[i], a[i] / (1 + std::exp(-a[i])) * b[i], 1e-5);
  EXPECT_NEAR(
      sum_exp_minus(a.data(), 37, 0.5F),
      [&] {
        double sum = 0;
        for (const float x : a) sum += std::exp(double{x} - 0.5);
        return sum;
      }(),
      1e-5);
}

}  // namespace
}  // namespace candor
