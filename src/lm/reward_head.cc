#include "lm/reward_head.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "base/strings.h"

namespace candor {

namespace {

// log(1 + e^x) without overflow.
double softplus(double x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }
double sigmoid(double x) {
  return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x));
}

// One logistic regression: parameters are the weights, then the bias. A row that is a difference of
// two texts' features has no bias: it cancels.
class Problem {
 public:
  Problem(const HeadRows& rows, size_t width, double l2) : rows_(rows), width_(width), l2_(l2) {}

  [[nodiscard]] double score(size_t row, const std::vector<double>& parameters) const {
    double sum = is_difference(row) ? 0 : parameters[width_];
    const float* x = rows_.features.data() + row * width_;
    for (size_t i = 0; i < width_; ++i) sum += double{x[i]} * parameters[i];
    return sum;
  }

  [[nodiscard]] double loss(const std::vector<double>& parameters) const {
    double sum = 0;
    for (size_t row = 0; row < rows_.labels.size(); ++row) {
      const double z = score(row, parameters);
      sum += softplus(rows_.labels[row] == 1 ? -z : z);
    }
    double penalty = 0;
    for (size_t i = 0; i < width_; ++i) penalty += parameters[i] * parameters[i];
    return sum / static_cast<double>(rows_.labels.size()) + l2_ / 2 * penalty;
  }

  // Gradient, and the lower triangle of the Hessian row-major. Rows go through in blocks that stay
  // in the cache; every entry is still summed in the order of the rows.
  void derivatives(const std::vector<double>& parameters, std::vector<double>& gradient,
                   std::vector<double>& hessian) const {
    const size_t size = width_ + 1;
    gradient.assign(size, 0.0);
    hessian.assign(size * size, 0.0);
    for (size_t first = 0; first < rows_.labels.size(); first += kBlock) {
      add_block(first, std::min(kBlock, rows_.labels.size() - first), parameters, gradient,
                hessian);
    }
    for (size_t i = 0; i < width_; ++i) {
      gradient[i] += l2_ * parameters[i];
      hessian[i * size + i] += l2_;
    }
    // Differences alone say nothing of the bias: it stays where it is.
    double& bias_curvature = hessian[size * size - 1];
    if (bias_curvature == 0) bias_curvature = 1;
  }

 private:
  static constexpr size_t kBlock = 32;

  [[nodiscard]] bool is_difference(size_t row) const {
    return !rows_.is_difference.empty() && rows_.is_difference[row] != 0;
  }

  void add_block(size_t first, size_t count, const std::vector<double>& parameters,
                 std::vector<double>& gradient, std::vector<double>& hessian) const {
    const size_t size = width_ + 1;
    const auto total = static_cast<double>(rows_.labels.size());
    std::vector<double> x(count * size);
    std::vector<double> curvature(count);
    for (size_t r = 0; r < count; ++r) {
      double* row = x.data() + r * size;
      const float* source = rows_.features.data() + (first + r) * width_;
      for (size_t i = 0; i < width_; ++i) row[i] = source[i];
      row[width_] = is_difference(first + r) ? 0 : 1;
      const double p = sigmoid(score(first + r, parameters));
      const double residual = (p - rows_.labels[first + r]) / total;
      curvature[r] = p * (1 - p) / total;
      for (size_t i = 0; i < size; ++i) gradient[i] += residual * row[i];
    }
    for (size_t i = 0; i < size; ++i) {
      double* line = hessian.data() + i * size;
      for (size_t r = 0; r < count; ++r) {
        const double* row = x.data() + r * size;
        const double scaled = curvature[r] * row[i];
        for (size_t j = 0; j <= i; ++j) line[j] += scaled * row[j];
      }
    }
  }

  HeadRows rows_;
  size_t width_;
  double l2_;
};

// Solves H x = g in place by Cholesky (H's lower triangle); false where H is not positive definite.
bool cholesky_solve(std::vector<double>& matrix, std::vector<double>& vector) {
  const size_t size = vector.size();
  for (size_t j = 0; j < size; ++j) {
    for (size_t i = j; i < size; ++i) {
      double sum = matrix[i * size + j];
      for (size_t k = 0; k < j; ++k) sum -= matrix[i * size + k] * matrix[j * size + k];
      if (i == j) {
        if (!(sum > 0)) return false;
        matrix[j * size + j] = std::sqrt(sum);
      } else {
        matrix[i * size + j] = sum / matrix[j * size + j];
      }
    }
  }
  for (size_t i = 0; i < size; ++i) {
    for (size_t k = 0; k < i; ++k) vector[i] -= matrix[i * size + k] * vector[k];
    vector[i] /= matrix[i * size + i];
  }
  for (size_t i = size; i-- > 0;) {
    for (size_t k = i + 1; k < size; ++k) vector[i] -= matrix[k * size + i] * vector[k];
    vector[i] /= matrix[i * size + i];
  }
  return true;
}

}  // namespace

double RewardHead::logit(std::span<const float> embedding) const {
  CANDOR_CHECK(embedding.size() == weight.size());
  double sum = bias;
  for (size_t i = 0; i < weight.size(); ++i) sum += weight[i] * double{embedding[i]};
  return sum;
}

double RewardHead::probability(std::span<const float> embedding) const {
  return sigmoid(logit(embedding));
}

namespace {

// Labelled rows of one class alone leave the bias without a minimum.
Status check_classes(const HeadRows& rows) {
  size_t texts = 0;
  size_t positives = 0;
  for (size_t row = 0; row < rows.labels.size(); ++row) {
    if (!rows.is_difference.empty() && rows.is_difference[row] != 0) continue;
    ++texts;
    positives += rows.labels[row] == 1 ? 1 : 0;
  }
  if (texts == 0 && !rows.labels.empty()) return {};
  if (positives == 0 || positives == texts) {
    return invalid_argument(str_cat("the training texts hold one class only (", positives, " of ",
                                    texts, " positive); both are needed"));
  }
  return {};
}

}  // namespace

Result<RewardHead> train_reward_head(const HeadRows& rows, int64_t width,
                                     const RewardHeadOptions& options) {
  const auto size = static_cast<size_t>(width);
  CANDOR_CHECK(width > 0 && rows.features.size() == rows.labels.size() * size && options.l2 > 0);
  CANDOR_CHECK(rows.is_difference.empty() || rows.is_difference.size() == rows.labels.size());
  CANDOR_RETURN_IF_ERROR(check_classes(rows));
  const Problem problem(rows, size, options.l2);
  std::vector<double> parameters(size + 1, 0.0);
  std::vector<double> step;
  std::vector<double> hessian;
  double loss = problem.loss(parameters);
  for (int iteration = 0; iteration < options.max_iterations; ++iteration) {
    problem.derivatives(parameters, step, hessian);
    const double steepest = std::abs(*std::ranges::max_element(
        step, [](double a, double b) { return std::abs(a) < std::abs(b); }));
    if (steepest <= options.tolerance) {
      RewardHead head;
      head.bias = parameters.back();
      parameters.pop_back();
      head.weight = std::move(parameters);
      return head;
    }
    if (!cholesky_solve(hessian, step)) break;
    double length = 1;  // halve until the loss does not rise: the objective is convex
    std::vector<double> trial(parameters.size());
    double trial_loss = 0;
    do {
      for (size_t i = 0; i < trial.size(); ++i) trial[i] = parameters[i] - length * step[i];
      trial_loss = problem.loss(trial);
      length /= 2;
    } while (trial_loss > loss + 1e-15 * std::abs(loss) && length > 1e-10);
    parameters = std::move(trial);
    loss = trial_loss;
  }
  return invalid_argument(str_cat("the reward head did not converge in ", options.max_iterations,
                                  " Newton steps; raise l2 (now ", options.l2, ")"));
}

Result<RewardHead> train_reward_head(std::span<const float> embeddings, std::span<const int> labels,
                                     int64_t width, const RewardHeadOptions& options) {
  return train_reward_head({.features = embeddings, .labels = labels, .is_difference = {}}, width,
                           options);
}

std::optional<double> area_under_roc(std::span<const double> scores, std::span<const int> labels) {
  CANDOR_CHECK(scores.size() == labels.size());
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] < scores[b]; });
  // Mann-Whitney: the sum of the positives' ranks, equal scores sharing their mean rank.
  double rank_sum = 0;
  double positives = 0;
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin;
    while (end < order.size() && scores[order[end]] == scores[order[begin]]) ++end;
    const double rank = 0.5 * static_cast<double>(begin + 1 + end);
    for (size_t i = begin; i < end; ++i) {
      if (labels[order[i]] == 1) {
        rank_sum += rank;
        ++positives;
      }
    }
    begin = end;
  }
  const double negatives = static_cast<double>(scores.size()) - positives;
  if (positives == 0 || negatives == 0) return std::nullopt;
  return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives);
}

std::vector<CalibrationBin> calibration_bins(std::span<const double> probabilities,
                                             std::span<const int> labels) {
  static constexpr size_t kBins = 10;
  std::vector<CalibrationBin> bins(kBins);
  for (size_t i = 0; i < probabilities.size(); ++i) {
    const auto place = std::min(kBins - 1, static_cast<size_t>(probabilities[i] * kBins));
    ++bins[place].count;
    bins[place].mean_probability += probabilities[i];
    bins[place].positive_share += labels[i];
  }
  for (CalibrationBin& bin : bins) {
    if (bin.count == 0) continue;
    bin.mean_probability /= static_cast<double>(bin.count);
    bin.positive_share /= static_cast<double>(bin.count);
  }
  return bins;
}

Judgement judge(std::span<const double> probabilities, std::span<const int> labels) {
  CANDOR_CHECK(probabilities.size() == labels.size() && !labels.empty());
  Judgement out;
  out.count = static_cast<int64_t>(labels.size());
  const auto count = static_cast<double>(labels.size());
  static constexpr double kFloor = 1e-15;
  for (size_t i = 0; i < labels.size(); ++i) {
    const double p = std::clamp(probabilities[i], kFloor, 1 - kFloor);
    out.positive_share += labels[i] / count;
    out.accuracy += (probabilities[i] >= 0.5) == (labels[i] == 1) ? 1 / count : 0;
    out.log_loss -= std::log(labels[i] == 1 ? p : 1 - p) / count;
  }
  out.auc = area_under_roc(probabilities, labels);
  for (const CalibrationBin& bin : calibration_bins(probabilities, labels)) {
    out.calibration_error += static_cast<double>(bin.count) / count *
                             std::abs(bin.mean_probability - bin.positive_share);
  }
  return out;
}

}  // namespace candor
