#include "core/linear_program.h"

#include <ClpSimplex.hpp>
#include <CoinPackedMatrix.hpp>

#include "base/check.h"

namespace candor {

LinearSolution solve_linear_program(const LinearProgram& program) {
  const auto columns = static_cast<int>(program.cost.size());
  const auto rows = static_cast<int>(program.rows.size());
  CANDOR_CHECK(program.lower.size() == program.cost.size() &&
               program.upper.size() == program.cost.size() &&
               program.row_lower.size() == program.rows.size() &&
               program.row_upper.size() == program.rows.size());
  CoinPackedMatrix matrix(false, 0, 0);
  matrix.setDimensions(0, columns);
  for (const std::vector<double>& row : program.rows) {
    CANDOR_CHECK(row.size() == program.cost.size());
    std::vector<int> index;
    std::vector<double> value;
    for (int v = 0; v < columns; ++v) {
      if (row[static_cast<size_t>(v)] == 0) continue;
      index.push_back(v);
      value.push_back(row[static_cast<size_t>(v)]);
    }
    matrix.appendRow(static_cast<int>(index.size()), index.data(), value.data());
  }
  ClpSimplex solver;
  solver.setLogLevel(0);
  solver.setPrimalTolerance(1e-10);
  solver.setDualTolerance(1e-10);
  solver.loadProblem(matrix, program.lower.data(), program.upper.data(), program.cost.data(),
                     program.row_lower.data(), program.row_upper.data());
  solver.dual();
  LinearSolution out;
  if (solver.isProvenPrimalInfeasible()) {
    out.status = LinearSolution::Status::kInfeasible;
  } else if (solver.isProvenDualInfeasible()) {
    out.status = LinearSolution::Status::kUnbounded;
  } else if (solver.isProvenOptimal()) {
    out.status = LinearSolution::Status::kOptimal;
    out.value = solver.objectiveValue();
    const double* x = solver.getColSolution();
    out.x.assign(x, x + columns);
  }
  CANDOR_CHECK(rows == solver.getNumRows());
  return out;
}

}  // namespace candor
