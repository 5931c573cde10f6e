#include "lm/low_rank.h"

#include <ATen/ATen.h>

#include "base/check.h"

namespace candor {

namespace {

// The matrix where it lies; from_blob asks for a pointer that is not const.
at::Tensor matrix(const std::vector<float>& values, int64_t rows, int64_t columns) {
  CANDOR_CHECK(values.size() == static_cast<size_t>(rows * columns));
  return at::from_blob(const_cast<float*>(values.data()), {rows, columns}, at::kFloat);
}

}  // namespace

void add_low_rank(const LoraFactors& factors, int64_t rank, float scale,
                  std::vector<float>& weight) {
  matrix(weight, factors.outputs, factors.inputs)
      .addmm_(matrix(factors.b, factors.outputs, rank), matrix(factors.a, rank, factors.inputs), 1,
              scale);
}

}  // namespace candor
