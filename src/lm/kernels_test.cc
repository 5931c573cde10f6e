#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <string>
#include <thread>
#include <vector>

#include "base/cpu.h"
#include "base/rng.h"
#include "formats/half.h"
#include "lm/attention.h"
#include "lm/kv_cache.h"
#include "lm/packed_matrix.h"
#include "lm/team_barrier.h"
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

// Every instruction set that runs here.
std::vector<InstructionSet> instruction_sets() {
  std::vector<InstructionSet> out;
  for (int set = 0; set <= static_cast<int>(best_instruction_set()); ++set) {
    out.push_back(static_cast<InstructionSet>(set));
  }
  return out;
}

std::vector<float> random_floats(int64_t count, uint64_t seed) {
  RandomStream random({.seed = seed});
  std::vector<float> out(static_cast<size_t>(count));
  for (float& x : out) x = static_cast<float>(random.normal());
  return out;
}

float rounded(float value, Dtype dtype) {
  return dtype == Dtype::kF32 ? value : float_from_bf16(bf16_from_float(value));
}

// Rows of odd widths keep their values; what is packed in parts is what is packed at once.
TEST(PackedMatrix, KeepsItsRows) {
  for (const Dtype dtype : {Dtype::kF32, Dtype::kBf16}) {
    for (const int64_t inputs : {1, 63, 64, 65, 129}) {
      const int64_t outputs = 71;
      const std::vector<float> weights = random_floats(outputs * inputs, 2);
      const PackedMatrix whole(weights, outputs, inputs, dtype);
      PackedMatrix parts(outputs, inputs, dtype);
      for (int64_t begin = 0; begin < outputs; begin += 9) {
        const int64_t count = std::min<int64_t>(9, outputs - begin);
        parts.set_rows(begin, std::span(weights).subspan(static_cast<size_t>(begin * inputs),
                                                         static_cast<size_t>(count * inputs)));
      }
      std::vector<float> row(static_cast<size_t>(inputs));
      for (const PackedMatrix* matrix :
           std::initializer_list<const PackedMatrix*>{&whole, &parts}) {
        for (int64_t n = 0; n < outputs; ++n) {
          matrix->copy_row(n, row.data());
          for (int64_t k = 0; k < inputs; ++k) {
            const float value = weights[static_cast<size_t>(n * inputs + k)];
            ASSERT_EQ(row[static_cast<size_t>(k)], rounded(value, dtype)) << n << " " << k;
          }
        }
      }
    }
  }
}

// The kernels of every instruction set and number of rows against sums in double, and each row
// bit for bit as it comes out alone.
TEST(PackedMatrix, KernelsOfEveryInstructionSet) {
  static constexpr int64_t kDepth = 37;  // inputs, or pairs of them
  for (const Dtype dtype : {Dtype::kF32, Dtype::kBf16}) {
    const int64_t inputs = dtype == Dtype::kF32 ? kDepth : 2 * kDepth;
    const std::vector<float> weights = random_floats(32 * inputs, 3);
    const std::vector<float> input = random_floats(PackedMatrix::kTileRows * inputs, 4);
    const PackedMatrix matrix(weights, 32, inputs, dtype);
    std::vector<float> alone(32);
    std::vector<float> together(32 * PackedMatrix::kTileRows);
    std::vector<uint16_t> halves(input.size());
    round_to_bf16(input.data(), halves.data(), static_cast<int64_t>(halves.size()));
    const char* rows = dtype == Dtype::kF32 ? reinterpret_cast<const char*>(input.data())
                                            : reinterpret_cast<const char*>(halves.data());
    // The block as it lies in the matrix, rebuilt from the layout's definition.
    std::vector<char> block(matrix.size_bytes());
    for (int64_t n = 0; n < 32; ++n) {
      for (int64_t k = 0; k < inputs; ++k) {
        const float value = weights[static_cast<size_t>(n * inputs + k)];
        if (dtype == Dtype::kF32) {
          reinterpret_cast<float*>(block.data())[k * 32 + n] = value;
        } else {
          reinterpret_cast<uint16_t*>(block.data())[(k / 2 * 32 + n) * 2 + k % 2] =
              bf16_from_float(value);
        }
      }
    }
    for (const InstructionSet set : instruction_sets()) {
      const auto kernels = product_kernels(dtype, set);
      const auto run = [&](int64_t first, int64_t count, float* out) {
        kernels.at(static_cast<size_t>(count - 1))(
            {.weights = block.data(),
             .input = rows + first * inputs * element_size(dtype),
             .input_stride = inputs,
             .depth = kDepth,
             .rows = count,
             .output = out,
             .fetch = block.data(),
             .fetch_step = 0});
      };
      for (int64_t count = 1; count <= PackedMatrix::kTileRows; ++count) {
        run(0, count, together.data());
        for (int64_t row = 0; row < count; ++row) {
          run(row, 1, alone.data());
          for (int64_t n = 0; n < 32; ++n) {
            double sum = 0;
            double size = 0;
            for (int64_t k = 0; k < inputs; ++k) {
              const double term =
                  double{rounded(input[static_cast<size_t>(row * inputs + k)], dtype)} *
                  rounded(weights[static_cast<size_t>(n * inputs + k)], dtype);
              sum += term;
              size += std::abs(term);
            }
            const float got = together[static_cast<size_t>(row * 32 + n)];
            ASSERT_NEAR(got, sum, 2e-6 * size)
                << name_of(set) << " " << count << " " << row << " " << n;
            ASSERT_EQ(got, alone[static_cast<size_t>(n)]) << name_of(set) << " " << count;
          }
        }
      }
    }
  }
}

// Attention over a cache of odd sizes against the definition in double, for every instruction set
// and number of queries; a query's result does not depend on its neighbours.
TEST(Attention, AgreesWithTheDefinition) {
  for (const Dtype dtype : {Dtype::kF32, Dtype::kBf16}) {
    for (const int64_t width : {8, 64, 80}) {
      static constexpr int64_t kPositions = 37;
      KvCache cache({.slots = 2,
                     .layers = 1,
                     .kv_heads = 1,
                     .positions = kPositions,
                     .head_width = width,
                     .dtype = dtype});
      const std::vector<float> keys = random_floats(kPositions * width, 5);
      const std::vector<float> values = random_floats(kPositions * width, 6);
      for (int64_t t = 0; t < kPositions; ++t) {
        cache.store({0, 0, 0}, t, keys.data() + t * width, values.data() + t * width);
      }
      cache.copy(0, 1, kPositions);
      const int64_t padded = cache.padded_width();
      std::vector<float> queries(static_cast<size_t>(AttentionTile::kQueries * padded));
      const std::vector<float> random = random_floats(AttentionTile::kQueries * width, 7);
      for (int64_t q = 0; q < AttentionTile::kQueries; ++q) {
        std::copy_n(random.begin() + q * width, width, queries.begin() + q * padded);
      }
      std::vector<uint16_t> halves(queries.size());
      round_to_bf16(queries.data(), halves.data(), static_cast<int64_t>(halves.size()));
      std::vector<float> out(queries.size());
      std::vector<float> scores(static_cast<size_t>(AttentionTile::kQueries * 48));
      const auto run = [&](InstructionSet set, int64_t first, int64_t count) {
        AttentionTile tile;
        tile.keys = cache.keys({1, 0, 0});
        tile.values = cache.values({1, 0, 0});
        tile.query_count = count;
        tile.padded_width = padded;
        tile.scale = 0.3F;
        tile.scores = scores.data();
        tile.score_stride = 48;
        for (int64_t q = 0; q < count; ++q) {
          const int64_t place = (first + q) * padded;
          tile.queries[q] = dtype == Dtype::kF32 ? static_cast<const void*>(queries.data() + place)
                                                 : static_cast<const void*>(halves.data() + place);
          tile.counts[q] = 1 + (first + q) * 3;
          tile.outputs[q] = out.data() + q * padded;
        }
        attention_kernel(dtype, set)(tile);
      };
      for (const InstructionSet set : instruction_sets()) {
        for (int64_t q = 0; q < AttentionTile::kQueries; ++q) {
          std::vector<double> weights;
          double total = 0;
          for (int64_t t = 0; t < 1 + q * 3; ++t) {
            double sum = 0;
            for (int64_t w = 0; w < width; ++w) {
              sum += double{rounded(random[static_cast<size_t>(q * width + w)], dtype)} *
                     rounded(keys[static_cast<size_t>(t * width + w)], dtype);
            }
            weights.push_back(std::exp(0.3 * sum));
            total += weights.back();
          }
          run(set, q, 1);
          const std::vector<float> alone(out.begin(), out.begin() + width);
          for (int64_t w = 0; w < width; ++w) {
            double expected = 0;
            for (size_t t = 0; t < weights.size(); ++t) {
              expected +=
                  weights[t] / total *
                  rounded(values[t * static_cast<size_t>(width) + static_cast<size_t>(w)], dtype);
            }
            ASSERT_NEAR(alone[static_cast<size_t>(w)], expected, 3e-6) << name_of(set) << " " << q;
          }
          for (int64_t count = q + 1; count <= AttentionTile::kQueries; ++count) {
            run(set, 0, count);
            for (int64_t w = 0; w < width; ++w) {
              ASSERT_EQ(out[static_cast<size_t>(q * padded + w)], alone[static_cast<size_t>(w)])
                  << name_of(set) << " " << count << " " << q;
            }
          }
        }
      }
    }
  }
}

TEST(TeamBarrier, NobodyRunsAhead) {
  static constexpr int kThreads = 3;
  static constexpr int kTurns = 300;
  TeamBarrier barrier;
  std::atomic<int> count = 0;
  std::atomic<bool> wrong = false;
  std::vector<std::thread> team;
  for (int i = 0; i < kThreads; ++i) {
    team.emplace_back([&] {
      for (int turn = 0; turn < kTurns; ++turn) {
        ++count;
        barrier.wait(kThreads);
        if (count != kThreads * (turn + 1)) wrong = true;
        barrier.wait(kThreads);
      }
    });
  }
  for (std::thread& thread : team) thread.join();
  EXPECT_FALSE(wrong);
}

TEST(VectorMath, PartsOfALayer) {
  const std::vector<float> x = random_floats(53, 8);
  const std::vector<float> weight = random_floats(53, 9);
  std::vector<float> out(53);
  double square = 0;
  for (const float value : x) square += double{value} * value;
  rms_norm(x.data(), weight.data(), 1e-5F, 53, out.data());
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_NEAR(out[i], x[i] / std::sqrt(square / 53 + 1e-5) * weight[i], 2e-6);
  }
  for (const int64_t count : {1, 16, 53}) {
    EXPECT_EQ(largest_of(x.data(), count), *std::max_element(x.begin(), x.begin() + count));
    double plain = 0;
    for (int64_t i = 0; i < count; ++i) plain += x[static_cast<size_t>(i)];
    EXPECT_NEAR(sum_of(x.data(), count), plain, 1e-5);
  }
  // Two chunks put together against the definition.
  const std::vector<ExpSum> chunks = {exp_sum_of(x.data(), 37), exp_sum_of(x.data() + 37, 16)};
  double sum = 0;
  for (const float value : x) sum += std::exp(double{value});
  EXPECT_NEAR(log_sum_exp_of(chunks.data(), 2), std::log(sum), 1e-6);
  std::vector<float> tile = random_floats(3 * 32, 10);
  const std::vector<float> before = tile;
  swiglu_columns(tile.data(), 3);
  for (size_t row = 0; row < 3; ++row) {
    for (size_t i = 0; i < 16; ++i) {
      const double gate = before[row * 32 + i];
      EXPECT_NEAR(tile[row * 32 + i], gate / (1 + std::exp(-gate)) * before[row * 32 + 16 + i],
                  1e-5);
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
