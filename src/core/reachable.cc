#include "core/reachable.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <set>

#include "core/linear_program.h"

namespace candor {

namespace {

constexpr double kInfinity = LinearProgram::kInfinity;

// The others' welfare of every candidate and what the group could gain there.
struct Menu {
  std::vector<std::vector<double>> models;  // [K][m], divided by the number of blocks
  std::vector<double> others;               // [K], B_i(k)
  std::vector<double> utility;              // [K], true value less the fixed price
};

Menu menu_of(const LieSearch& search) {
  const Game& game = search.game();
  const CandidateTable table = tabulate(game);
  Menu menu;
  for (size_t k = 0; k < game.candidates.size(); ++k) {
    menu.others.push_back(table.welfare(k, search.group()));
    menu.utility.push_back(table.valuations[search.group()][k] - search.fixed_price(table, k));
    menu.models.push_back(game.candidates[k]);
    for (double& p : menu.models.back()) p /= static_cast<double>(game.block_count());
  }
  return menu;
}

// Stakes bounded by `cap` that make k win by a margin t, the last unknown, of at most `most`.
// Rivals that no such stake can lift past k are left out, so that they do not set the scale.
LinearProgram winning_stakes(const Menu& menu, size_t k, double cap, double most, bool sum) {
  const size_t m = menu.models[k].size();
  LinearProgram program;
  program.cost.assign(m + 1, 0.0);
  program.lower.assign(m + 1, 0.0);
  program.upper.assign(m + 1, cap);
  program.lower[m] = -kInfinity;
  program.upper[m] = most;
  for (size_t j = 0; j < menu.models.size(); ++j) {
    if (j == k || std::isinf(menu.others[j])) continue;
    if (menu.others[k] - menu.others[j] > cap + (std::isfinite(most) ? most : 0)) continue;
    std::vector<double> row(m + 1, -1.0);
    for (size_t x = 0; x < m; ++x) row[x] = menu.models[k][x] - menu.models[j][x];
    program.rows.push_back(std::move(row));
    program.row_lower.push_back(menu.others[j] - menu.others[k]);
    program.row_upper.push_back(kInfinity);
  }
  if (sum) {
    program.rows.emplace_back(m + 1, 1.0);
    program.rows.back()[m] = 0;
    program.row_lower.push_back(cap);
    program.row_upper.push_back(cap);
  }
  return program;
}

enum class Reach { kYes, kNo, kUnclear };

// Whether k can be made to win, and a stake that does.
struct Witness {
  Reach reach = Reach::kUnclear;
  std::vector<double> stake;  // [m]
};

// Caps grow step by step: the smallest that suffices keeps the programme well scaled.
Witness reach(const LieSearch& search, const Menu& menu, size_t k) {
  static constexpr double kMargin = 1e-7;
  const Game& game = search.game();
  const bool sum = game.normalization == Normalization::kSum;
  double largest = search.max_size();
  if (game.normalization == Normalization::kNone) {
    largest *= std::max(1.0, std::ranges::max(search.truth().reward));
  }
  Witness out;
  for (double cap = 1;; cap = std::min(cap * 30, largest)) {
    cap = std::min(cap, largest);
    // What the stakes have to make up for; who is further behind than the cap does not count.
    double scale = 1;
    for (const double others : menu.others) {
      const double apart = std::abs(others - menu.others[k]);
      if (apart <= cap) scale = std::max(scale, apart);
    }
    LinearProgram program = winning_stakes(menu, k, cap, scale, sum);
    program.cost.back() = -1;  // the widest margin
    const LinearSolution solution = solve_linear_program(program);
    if (solution.status == LinearSolution::Status::kOptimal) {
      const double margin = solution.x.back();
      out.stake.assign(solution.x.begin(), solution.x.end() - 1);
      if (margin > kMargin * scale) return {Reach::kYes, std::move(out.stake)};
      if (cap >= largest) out.reach = margin < -kMargin * scale ? Reach::kNo : Reach::kUnclear;
    }
    if (cap >= largest) return out;
  }
}

// The stake as a report: lifted so that its largest value is a whole size.
std::optional<Report> report_of(const LieSearch& search, std::vector<double> stake) {
  const Game& game = search.game();
  double size = search.max_size();
  if (game.normalization == Normalization::kSum) {
    size = std::round(std::accumulate(stake.begin(), stake.end(), 0.0));
  } else {
    const double top = std::ranges::max(stake);
    size = std::clamp(std::ceil(top), 1.0, search.max_size());
    if (game.normalization == Normalization::kMax) {
      for (double& value : stake) value += size - top;  // a constant changes no comparison
    }
  }
  if (!(size >= 1)) return std::nullopt;
  for (double& value : stake) value /= size;
  return Report{.name = search.truth().name, .group_size = size, .reward = std::move(stake)};
}

// Tries the cheapest report of the programme's stakes, of size `size`; a little dearer where ties
// go against k.
void try_stakes(LieSearch& search, const LinearProgram& program, size_t rivals, double size) {
  for (const double slack : {0.0, 2e-10, 2e-9, 1e-7}) {
    LinearProgram strict = program;
    for (size_t r = 0; r < rivals; ++r) strict.row_lower[r] += slack;
    const LinearSolution found = solve_linear_program(strict);
    if (found.status != LinearSolution::Status::kOptimal) return;
    std::vector<double> reward(found.x.begin(), found.x.end() - 1);
    for (double& entry : reward) entry = std::max(0.0, entry / size);
    search.try_report("reachable", std::move(reward), size);
  }
}

// The least payment under one form of the programme, and a report of it with a whole size.
struct Cheapest {
  double payment = kInfinity;  // infinite where k cannot win
  double size = 1;             // the least whole size that holds the stakes
};

Cheapest cheapest(const LinearProgram& program, bool sum) {
  const LinearSolution found = solve_linear_program(program);
  if (found.status == LinearSolution::Status::kInfeasible) return {};
  if (found.status != LinearSolution::Status::kOptimal) return {.payment = 0};
  const auto end = found.x.end() - 1;
  const double total =
      sum ? std::accumulate(found.x.begin(), end, 0.0) : *std::max_element(found.x.begin(), end);
  return {.payment = std::max(0.0, found.value), .size = std::max(1.0, std::ceil(total - 1e-9))};
}

// The cheapest stakes of one whole reported size under max normalisation: each outcome is tried as
// the one that carries it. `program` has no bounds on the outcomes yet.
void try_size(LieSearch& search, const LinearProgram& program, size_t rivals, double size) {
  const size_t m = program.cost.size() - 1;
  LinearProgram best;
  double least = kInfinity;
  for (size_t carrier = 0; carrier < m; ++carrier) {
    LinearProgram carried = program;
    std::fill(carried.upper.begin(), carried.upper.end() - 1, size);
    carried.lower[carrier] = size;
    const Cheapest found = cheapest(carried, false);
    if (!(found.payment < least)) continue;
    least = found.payment;
    best = std::move(carried);
  }
  if (std::isfinite(least)) try_stakes(search, best, rivals, size);
}

// pay_report: the least payment <P_k, r> that makes k win. Under max normalisation some outcome
// must carry a stake of the whole size, which is at least 1: each outcome is tried as the one that
// does, first with 1 at least, which no whole size beats, then with the sizes that this needs, one
// less and one more.
void try_cheapest(LieSearch& search, const Menu& menu, size_t k, double* ceiling) {
  static constexpr size_t kMostCarriers = 64;
  const bool sum = search.game().normalization == Normalization::kSum;
  const size_t m = menu.models[k].size();
  LinearProgram program = winning_stakes(menu, k, search.max_size(), kInfinity, sum);
  const size_t rivals = program.rows.size() - (sum ? 1 : 0);
  program.lower[m] = program.upper[m] = 0;
  std::copy(menu.models[k].begin(), menu.models[k].end(), program.cost.begin());
  if (sum || search.game().normalization == Normalization::kNone || m > kMostCarriers) {
    if (sum) program.row_lower.back() = 1;  // any whole size from 1 on
    const Cheapest found = cheapest(program, sum);
    *ceiling = std::max(*ceiling, menu.utility[k] - found.payment);
    if (sum) program.row_lower.back() = program.row_upper.back() = found.size;
    if (std::isfinite(found.payment)) try_stakes(search, program, rivals, found.size);
    return;
  }
  std::set<double> sizes;
  for (size_t carrier = 0; carrier < m; ++carrier) {
    LinearProgram carried = program;
    carried.lower[carrier] = 1;
    const Cheapest found = cheapest(carried, sum);
    *ceiling = std::max(*ceiling, menu.utility[k] - found.payment);
    if (menu.utility[k] - found.payment <= search.result().best_utility) continue;
    for (const double step : {-1.0, 0.0, 1.0}) {
      sizes.insert(std::clamp(found.size + step, 1.0, search.max_size()));
    }
  }
  for (const double size : sizes) try_size(search, program, rivals, size);
}

}  // namespace

double try_reachable(LieSearch& search) {
  const Game& game = search.game();
  const size_t count = game.candidates.size();
  if (count * game.outcome_count() > kMostReachableEntries) return search.certificate();
  const Menu menu = menu_of(search);
  std::vector<size_t> order;
  for (size_t k = 0; k < count; ++k) {
    if (std::isfinite(menu.others[k])) order.push_back(k);
  }
  std::ranges::sort(order, std::greater<>(), [&](size_t k) { return menu.utility[k]; });
  double ceiling = search.result().utility_truth;
  for (const size_t k : order) {
    // In falling order of worth: what follows cannot beat what was reached.
    if (menu.utility[k] <= search.result().best_utility) break;
    if (search.options().payments == PaymentRule::kPayReport) {
      try_cheapest(search, menu, k, &ceiling);
      continue;
    }
    Witness witness = reach(search, menu, k);
    if (witness.reach == Reach::kNo) continue;
    ceiling = std::max(ceiling, menu.utility[k]);
    if (witness.reach != Reach::kYes) continue;
    const auto report = report_of(search, std::move(witness.stake));
    if (report.has_value()) {
      search.try_report("reachable", report->reward, report->group_size, static_cast<double>(k));
    }
  }
  return std::max(ceiling, search.result().best_utility) - search.result().utility_truth;
}

}  // namespace candor
