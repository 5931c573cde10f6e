#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"

namespace candor {

// What a head sees of a reply (reward_features.h).
enum class RewardLayout { kCompletion, kPromptCompletion };

// A head on a frozen encoder: P(label = 1 | text) = sigmoid(weight . features + bias); for pairs,
// P(a is preferred to b) = sigmoid(weight . (features of a - features of b)) (Bradley-Terry).
struct RewardHead {
  std::vector<double> weight;  // [width]
  double bias = 0;
  RewardLayout layout = RewardLayout::kCompletion;
  [[nodiscard]] double probability(std::span<const float> embedding) const;
  [[nodiscard]] double logit(std::span<const float> embedding) const;
};

struct RewardHeadOptions {
  double l2 = 1e-3;          // on the weight, per example: mean loss + l2/2 |weight|^2
  int max_iterations = 100;  // Newton steps; converged earlier as a rule
  double tolerance = 1e-8;   // on the gradient's largest entry
};

// The head that minimises mean logistic loss + l2/2 |weight|^2: Newton's method with a line search
// on a strictly convex objective, so the minimum is unique and the result does not depend on a
// seed. Shapes: embeddings [N, width], labels [N] of 0 / 1. Errors: one class only, not converged
// (said, never returned as a head).
Result<RewardHead> train_reward_head(std::span<const float> embeddings, std::span<const int> labels,
                                     int64_t width, const RewardHeadOptions& options);

// Texts and pairs in one objective: a row is a text's features with its label, or, where
// `is_difference` is set, chosen minus rejected with label 1 (Bradley-Terry: the same loss without
// a bias). Differences alone leave the bias 0. Shapes: features [N, width], labels [N],
// is_difference [N] or empty.
struct HeadRows {
  std::span<const float> features;
  std::span<const int> labels;
  std::span<const uint8_t> is_difference;
};
Result<RewardHead> train_reward_head(const HeadRows& rows, int64_t width,
                                     const RewardHeadOptions& options);

// How good a classifier is on held-out texts.
struct Judgement {
  int64_t count = 0;
  double positive_share = 0;
  double accuracy = 0;        // at 1/2
  std::optional<double> auc;  // ties count one half; none where all labels are of one class
  double log_loss = 0;
  double calibration_error = 0;  // expected calibration error, 10 equal-width bins
};
[[nodiscard]] Judgement judge(std::span<const double> probabilities, std::span<const int> labels);

// One of ten equal-width bins of predicted probability.
struct CalibrationBin {
  int64_t count = 0;
  double mean_probability = 0;
  double positive_share = 0;
};
[[nodiscard]] std::vector<CalibrationBin> calibration_bins(std::span<const double> probabilities,
                                                           std::span<const int> labels);

// Area under the ROC curve of a score, ties one half; none where one class is missing. O(N log N).
// NaN-free input required.
[[nodiscard]] std::optional<double> area_under_roc(std::span<const double> scores,
                                                   std::span<const int> labels);

}  // namespace candor
