#include "lm/reward_head.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"

namespace candor {
namespace {

struct Data {
  std::vector<float> features;
  std::vector<int> labels;
};

Data noisy_data(uint64_t seed, size_t count, size_t width) {
  RandomStream random({.seed = seed});
  Data data;
  for (size_t row = 0; row < count; ++row) {
    double z = 0.3;
    for (size_t i = 0; i < width; ++i) {
      const double x = random.normal();
      data.features.push_back(static_cast<float>(x));
      z += (i % 2 == 0 ? 1.0 : -0.5) * x;
    }
    data.labels.push_back(random.uniform() < 1 / (1 + std::exp(-z)) ? 1 : 0);
  }
  return data;
}

// Plain gradient descent on the same objective, written out again.
TEST(RewardHead, AgreesWithGradientDescent) {
  static constexpr size_t kWidth = 4;
  static constexpr double kL2 = 0.01;
  const Data data = noisy_data(1, 500, kWidth);
  const RewardHead head = *train_reward_head(data.features, data.labels, kWidth, {.l2 = kL2});
  std::vector<double> w(kWidth + 1, 0.0);
  for (int step = 0; step < 20000; ++step) {
    std::vector<double> gradient(kWidth + 1, 0.0);
    for (size_t row = 0; row < data.labels.size(); ++row) {
      double z = w[kWidth];
      for (size_t i = 0; i < kWidth; ++i) z += w[i] * data.features[row * kWidth + i];
      const double r = (1 / (1 + std::exp(-z)) - data.labels[row]) / 500;
      for (size_t i = 0; i < kWidth; ++i) gradient[i] += r * data.features[row * kWidth + i];
      gradient[kWidth] += r;
    }
    for (size_t i = 0; i < kWidth; ++i) gradient[i] += kL2 * w[i];
    for (size_t i = 0; i <= kWidth; ++i) w[i] -= gradient[i];
  }
  for (size_t i = 0; i < kWidth; ++i) EXPECT_NEAR(head.weight[i], w[i], 1e-6);
  EXPECT_NEAR(head.bias, w[kWidth], 1e-6);
}

// Pairs and labelled rows in one objective, by plain gradient descent written out again; a pair is
// the labelled row of its difference, whose bias cancels.
TEST(RewardHead, PairsAgreeWithGradientDescent) {
  static constexpr size_t kWidth = 3;
  static constexpr double kL2 = 0.02;
  for (const size_t labelled : {size_t{0}, size_t{150}}) {
    Data data = noisy_data(2, 400, kWidth);
    std::vector<uint8_t> is_difference(400, 1);
    for (size_t row = 0; row < 400; ++row) {
      if (row < labelled) {
        is_difference[row] = 0;
      } else if (data.labels[row] == 0) {  // the same comparison with its texts in order
        for (size_t i = 0; i < kWidth; ++i) data.features[row * kWidth + i] *= -1;
        data.labels[row] = 1;
      }
    }
    const RewardHead head = *train_reward_head(
        {.features = data.features, .labels = data.labels, .is_difference = is_difference}, kWidth,
        {.l2 = kL2});
    std::vector<double> w(kWidth + 1, 0.0);
    for (int step = 0; step < 20000; ++step) {
      std::vector<double> gradient(kWidth + 1, 0.0);
      for (size_t row = 0; row < 400; ++row) {
        double z = is_difference[row] != 0 ? 0 : w[kWidth];
        for (size_t i = 0; i < kWidth; ++i) z += w[i] * data.features[row * kWidth + i];
        const double r = (1 / (1 + std::exp(-z)) - data.labels[row]) / 400;
        for (size_t i = 0; i < kWidth; ++i) gradient[i] += r * data.features[row * kWidth + i];
        if (is_difference[row] == 0) gradient[kWidth] += r;
      }
      for (size_t i = 0; i < kWidth; ++i) gradient[i] += kL2 * w[i];
      for (size_t i = 0; i <= kWidth; ++i) w[i] -= gradient[i];
    }
    for (size_t i = 0; i < kWidth; ++i) EXPECT_NEAR(head.weight[i], w[i], 1e-6);
    EXPECT_NEAR(head.bias, w[kWidth], 1e-6);
    if (labelled == 0) {
      EXPECT_EQ(head.bias, 0.0);
    }
  }
}

TEST(RewardHead, SeparableDataAndOneClass) {
  const std::vector<float> x = {-2, -1, 1, 2};
  const RewardHead head = *train_reward_head(x, std::vector<int>{0, 0, 1, 1}, 1, {.l2 = 1e-4});
  EXPECT_GT(head.probability(std::vector<float>{1}), 0.95);
  EXPECT_FALSE(train_reward_head(x, std::vector<int>{1, 1, 1, 1}, 1, {}).ok());
  EXPECT_FALSE(
      train_reward_head(x, std::vector<int>{0, 0, 1, 1}, 1, {.l2 = 1e-4, .max_iterations = 1})
          .ok());
}

TEST(Judge, AucByEveryPair) {
  RandomStream random({.seed = 5});
  for (int trial = 0; trial < 50; ++trial) {
    std::vector<double> scores;
    std::vector<int> labels;
    for (int i = 0; i < 40; ++i) {
      scores.push_back(static_cast<double>(random.below(7)) / 7);
      labels.push_back(static_cast<int>(random.below(2)));
    }
    labels[0] = 0;
    labels[1] = 1;
    double wins = 0;
    double pairs = 0;
    for (size_t i = 0; i < 40; ++i) {
      for (size_t j = 0; j < 40; ++j) {
        if (labels[i] != 1 || labels[j] != 0) continue;
        wins += scores[i] > scores[j] ? 1 : scores[i] == scores[j] ? 0.5 : 0;
        ++pairs;
      }
    }
    EXPECT_NEAR(area_under_roc(scores, labels).value(), wins / pairs, 1e-12);
  }
}

TEST(Judge, Figures) {
  const Judgement out =
      judge(std::vector<double>{0.9, 0.8, 0.3, 0.6}, std::vector<int>{1, 1, 0, 0});
  EXPECT_EQ(out.count, 4);
  EXPECT_NEAR(out.accuracy, 0.75, 1e-15);
  EXPECT_NEAR(out.auc.value(), 1.0, 1e-15);
  EXPECT_NEAR(out.log_loss, -(std::log(.9) + std::log(.8) + std::log(.7) + std::log(.4)) / 4,
              1e-12);
  EXPECT_NEAR(out.calibration_error, (0.1 + 0.2 + 0.3 + 0.6) / 4, 1e-12);
  // One class alone has no curve.
  EXPECT_FALSE(judge(std::vector<double>{0.9, 0.2}, std::vector<int>{1, 1}).auc.has_value());
}

}  // namespace
}  // namespace candor
