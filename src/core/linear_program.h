#pragma once

#include <limits>
#include <vector>

namespace candor {

// minimise cost.x subject to row_lower <= rows x <= row_upper and lower <= x <= upper.
struct LinearProgram {
  static constexpr double kInfinity = std::numeric_limits<double>::infinity();
  std::vector<double> cost;               // [v]
  std::vector<double> lower;              // [v]
  std::vector<double> upper;              // [v]
  std::vector<std::vector<double>> rows;  // [r][v], dense
  std::vector<double> row_lower;          // [r]
  std::vector<double> row_upper;          // [r]
};

struct LinearSolution {
  enum class Status { kOptimal, kInfeasible, kUnbounded, kFailed };
  Status status = Status::kFailed;
  double value = 0;
  std::vector<double> x;  // [v]
};

// CLP's dual simplex, in doubles: constraints hold within 1e-9 of their scale.
[[nodiscard]] LinearSolution solve_linear_program(const LinearProgram& program);

}  // namespace candor
