#include "core/concave_rule.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/model_error.h"
#include "core/solution.h"

namespace candor {

namespace {

using Vector = std::vector<double>;
using Matrix = std::vector<Vector>;

// g at one vector of weights, with its derivatives.
struct DualPoint {
  Vector weights;       // a
  Vector model;         // p(a)
  Vector valuations;    // v_i(p(a)), per agent: the gradient of g
  double value = 0;     // g(a)
  double distance = 0;  // of `model` from p(a), in L1

  // What that, and rounding, can do to a per-agent valuation.
  [[nodiscard]] double valuation_error(const Game& game, size_t group) const {
    return (distance + 4 * std::numeric_limits<double>::epsilon()) *
           std::ranges::max(game.groups[group].reward);
  }
};

DualPoint dual_point(const Game& game, Vector weights) {
  DualPoint out{.weights = std::move(weights), .model = {}, .valuations = {}};
  WeightedOptimum optimum = solve_weighted(game, out.weights);
  out.model = std::move(optimum.model);
  out.distance = optimum.distance;
  out.value = -divergence_from_initial(game, out.model);
  for (size_t i = 0; i < game.groups.size(); ++i) {
    const Report& group = game.groups[i];
    out.valuations.push_back(group_valuation(game, group, out.model) / group.group_size);
    out.value += out.weights[i] * out.valuations[i];
  }
  return out;
}

// dv_i/da_j: the mean over blocks of sum_x s(x) (rm_i - mean_i)(rm_j - mean_j), means under s.
Matrix hessian(const Game& game, const Vector& model) {
  const size_t n = game.groups.size();
  const Vector sensitivity = mass_sensitivity(game, model);
  Matrix out(n, Vector(n, 0.0));
  for (size_t block = 0; block < game.block_count(); ++block) {
    const size_t begin = game.block_begin[block];
    const size_t end = game.block_begin[block + 1];
    const double mass = std::accumulate(sensitivity.begin() + static_cast<ptrdiff_t>(begin),
                                        sensitivity.begin() + static_cast<ptrdiff_t>(end), 0.0);
    Vector means(n, 0.0);
    for (size_t i = 0; i < n && mass > 0; ++i) {
      for (size_t x = begin; x < end; ++x) {
        means[i] += sensitivity[x] / mass * game.groups[i].reward[x];
      }
    }
    for (size_t x = begin; x < end; ++x) {
      for (size_t i = 0; i < n; ++i) {
        const double left = sensitivity[x] * (game.groups[i].reward[x] - means[i]);
        for (size_t j = 0; j < n; ++j) {
          out[i][j] += left * (game.groups[j].reward[x] - means[j]);
        }
      }
    }
  }
  for (Vector& row : out) {
    for (double& value : row) value /= static_cast<double>(game.block_count());
  }
  return out;
}

// Gaussian elimination with partial pivoting; the systems here have one row per group.
Vector solve_linear(Matrix a, Vector b) {
  const size_t n = b.size();
  for (size_t column = 0; column < n; ++column) {
    size_t pivot = column;
    for (size_t row = column + 1; row < n; ++row) {
      if (std::abs(a[row][column]) > std::abs(a[pivot][column])) pivot = row;
    }
    std::swap(a[column], a[pivot]);
    std::swap(b[column], b[pivot]);
    for (size_t row = column + 1; row < n; ++row) {
      const double factor = a[row][column] / a[column][column];
      if (factor == 0) continue;
      for (size_t k = column; k < n; ++k) a[row][k] -= factor * a[column][k];
      b[row] -= factor * b[column];
    }
  }
  for (size_t row = n; row-- > 0;) {
    for (size_t k = row + 1; k < n; ++k) b[row] -= a[row][k] * b[k];
    b[row] /= a[row][row];
  }
  return b;
}

// g(a) - sum_i barrier_i log a_i, over a > 0 or, with `on_simplex`, over the simplex.
struct BarrierProblem {
  const Game& game;
  Vector barrier;
  bool on_simplex = false;

  [[nodiscard]] double value(const DualPoint& at) const {
    double total = at.value;
    for (size_t i = 0; i < barrier.size(); ++i) total -= barrier[i] * std::log(at.weights[i]);
    return total;
  }

  // The Newton step relative to a: d_i = a_i y_i keeps the system well scaled near the boundary.
  [[nodiscard]] Vector step(const DualPoint& at) const {
    const size_t n = barrier.size();
    const Matrix curvature = hessian(game, at.model);
    const size_t rows = n + (on_simplex ? 1 : 0);
    Matrix system(rows, Vector(rows, 0.0));
    Vector right(rows, 0.0);
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j) {
        system[i][j] = at.weights[i] * curvature[i][j] * at.weights[j];
      }
      system[i][i] += barrier[i];
      right[i] = barrier[i] - at.weights[i] * at.valuations[i];
      if (on_simplex) system[i][n] = system[n][i] = at.weights[i];
    }
    Vector relative = solve_linear(std::move(system), std::move(right));
    relative.resize(n);
    return relative;
  }

  [[nodiscard]] DualPoint minimise(DualPoint at, double tolerance) const {
    for (int iteration = 0; iteration < 60; ++iteration) {
      const Vector relative = step(at);
      double slope = 0;  // of the objective along the step, <= 0
      double most = 0;
      for (size_t i = 0; i < relative.size(); ++i) {
        slope += relative[i] * (at.weights[i] * at.valuations[i] - barrier[i]);
        most = std::max(most, -relative[i]);
      }
      if (!(slope < -tolerance)) break;
      const double before = value(at);
      double length = most > 0.9 ? 0.9 / most : 1.0;
      bool moved = false;
      for (int halving = 0; halving < 40 && !moved; ++halving, length /= 2) {
        Vector weights = at.weights;
        for (size_t i = 0; i < weights.size(); ++i) weights[i] *= 1 + length * relative[i];
        DualPoint next = dual_point(game, std::move(weights));
        moved = value(next) <= before + 1e-4 * length * slope;
        if (moved) at = std::move(next);
      }
      if (!moved) break;
    }
    return at;
  }
};

}  // namespace

std::vector<double> mass_sensitivity(const Game& game, const std::vector<double>& model) {
  std::vector<double> out(model.size(), 0.0);
  for (size_t x = 0; x < model.size(); ++x) {
    const double ratio = model[x] / game.initial[x];
    if (ratio > 0) out[x] = game.initial[x] / generator_curvature(game.divergence, ratio);
  }
  return out;
}

TrainedModel solve_nash(const Game& game) {
  Vector weights;
  Vector sizes;
  for (const Report& group : game.groups) {
    sizes.push_back(group.group_size);
    weights.push_back(group.group_size * group.group_size /
                      group_valuation(game, group, game.initial));
  }
  const double scale = std::accumulate(sizes.begin(), sizes.end(), 0.0);
  const BarrierProblem problem{.game = game, .barrier = sizes};
  const DualPoint best = problem.minimise(dual_point(game, std::move(weights)), 1e-15 * scale);
  double gap = 0;
  double exact_gap = 0;  // at most that of the exact p(a), whose valuations may be a little off
  for (size_t i = 0; i < sizes.size(); ++i) {
    const double excess = best.weights[i] * best.valuations[i] / sizes[i] - 1;
    gap += sizes[i] * (excess - std::log1p(excess));
    const double off = best.weights[i] / sizes[i] * best.valuation_error(game, i);
    const double below = std::max(-1.0, -std::abs(excess) - off);  // log falls fastest there
    exact_gap += sizes[i] * (below - std::log1p(below));
  }
  return {best.model, gap, distance_from_gap(game, exact_gap) + best.distance};
}

TrainedModel solve_max_min(const Game& game) {
  const size_t n = game.groups.size();
  DualPoint at = dual_point(game, Vector(n, 1.0 / static_cast<double>(n)));
  for (double barrier = 1e-2; n > 1 && barrier > 1e-14; barrier *= 0.05) {
    const BarrierProblem problem{.game = game, .barrier = Vector(n, barrier), .on_simplex = true};
    at = problem.minimise(std::move(at), 1e-2 * barrier);
  }
  double mean = 0;
  for (size_t i = 0; i < n; ++i) mean += at.weights[i] * at.valuations[i];
  const double worst = *std::ranges::min_element(at.valuations);
  const double gap = std::max(0.0, mean - worst);
  double off = 0;
  for (size_t i = 0; i < n; ++i) off = std::max(off, at.valuation_error(game, i));
  return {std::move(at.model), gap, distance_from_gap(game, gap + 2 * off) + at.distance};
}

}  // namespace candor
