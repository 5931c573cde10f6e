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

// A candidate wins or loses clearly by more than this times scale_of().
constexpr double kMargin = 1e-7;

// What stakes of `cap` have to make up for; who is further behind than the cap does not count.
double scale_of(const Menu& menu, size_t k, double cap) {
  double scale = 1;
  for (const double others : menu.others) {
    const double apart = std::abs(others - menu.others[k]);
    if (apart <= cap) scale = std::max(scale, apart);
  }
  return scale;
}

// Whether k can be made to win, and a stake that does.
struct Witness {
  Reach reach = Reach::kUnclear;
  std::vector<double> stake;  // [m]
};

// Caps grow step by step: the smallest that suffices keeps the programme well scaled.
Witness reach(const LieSearch& search, const Menu& menu, size_t k) {
  const Game& game = search.game();
  const bool sum = game.normalization == Normalization::kSum;
  double largest = search.max_size();
  if (game.normalization == Normalization::kNone) {
    largest *= std::max(1.0, std::ranges::max(search.truth().reward));
  }
  Witness out;
  for (double cap = 1;; cap = std::min(cap * 30, largest)) {
    cap = std::min(cap, largest);
    const double scale = scale_of(menu, k, cap);
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
    if (game.normalization == Normalization::kMinMax) {
      const double least = std::ranges::min(stake);
      for (double& value : stake) value -= least;
    }
    const double top = std::ranges::max(stake);
    const bool whole = game.normalization == Normalization::kMinMax;  // but for rounding
    size = std::clamp(std::ceil(whole ? top - 1e-7 : top), 1.0, search.max_size());
    if (game.normalization == Normalization::kMax) {
      for (double& value : stake) value += size - top;  // a constant changes no comparison
    }
  }
  if (!(size >= 1)) return std::nullopt;
  for (double& value : stake) value /= size;
  return Report{.name = search.truth().name, .group_size = size, .reward = std::move(stake)};
}

// Tries the cheapest report of the programme's stakes, of size `size`; a little dearer where ties
// go against k. The stakes are the programme's first unknowns.
void try_stakes(LieSearch& search, const LinearProgram& program, size_t rivals, double size) {
  const auto m = static_cast<ptrdiff_t>(search.truth().reward.size());
  for (const double slack : {0.0, 2e-10, 2e-9, 1e-7}) {
    LinearProgram strict = program;
    for (size_t r = 0; r < rivals; ++r) strict.row_lower[r] += slack;
    const LinearSolution found = solve_linear_program(strict);
    if (found.status != LinearSolution::Status::kOptimal) return;
    std::vector<double> reward(found.x.begin(), found.x.begin() + m);
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
  if (search.game().normalization != Normalization::kMax || m > kMostCarriers) {
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

namespace {

// ---------------------------------------------------------------- min_max

// winning_stakes with the size as one more unknown, the last one, above all stakes. Its rows are
// the rivals' and then one for each outcome: stake - size <= 0.
LinearProgram stretched_stakes(const Menu& menu, size_t k, double cap, double most) {
  const size_t m = menu.models[k].size();
  LinearProgram program = winning_stakes(menu, k, cap, most, false);
  for (std::vector<double>& row : program.rows) row.push_back(0);
  program.cost.push_back(0);
  program.lower.push_back(1);
  program.upper.push_back(cap);
  for (size_t x = 0; x < m; ++x) {
    std::vector<double>& row = program.rows.emplace_back(m + 2, 0.0);
    row[x] = 1;
    row[m + 1] = -1;
    program.row_lower.push_back(-kInfinity);
    program.row_upper.push_back(0);
  }
  return program;
}

// The best that a whole size attains for one pair, and the programme at that size.
struct WholeSize {
  double value = kInfinity;  // infinite where no whole size will do
  bool decided = true;       // false where a programme found no answer
  LinearProgram program;
  std::vector<double> stake;  // [m]
};

// The pair's optimum over real sizes is at `size`; the whole sizes beside it are tried.
WholeSize best_whole_size(const LinearProgram& pair, size_t m, double size) {
  WholeSize best;
  for (const double whole : {std::floor(size + 1e-9), std::ceil(size - 1e-9)}) {
    LinearProgram fixed = pair;
    fixed.lower.back() = fixed.upper.back() = whole;
    const LinearSolution found = solve_linear_program(fixed);
    if (found.status != LinearSolution::Status::kOptimal) {
      best.decided = best.decided && found.status == LinearSolution::Status::kInfeasible;
      continue;
    }
    if (found.value >= best.value) continue;
    best.value = found.value;
    best.program = std::move(fixed);
    best.stake.assign(found.x.begin(), found.x.begin() + static_cast<ptrdiff_t>(m));
  }
  return best;
}

// visit(programme of the pair) for every pair of outcomes; stops where it returns true.
template <typename Visit>
void for_each_pair(const LinearProgram& program, size_t m, const Visit& visit) {
  const size_t rivals = program.rows.size() - m;
  for (size_t top = 0; top < m; ++top) {
    for (size_t bottom = 0; bottom < m; ++bottom) {
      if (top == bottom) continue;
      LinearProgram pair = program;
      pair.row_lower[rivals + top] = 0;  // stake = size
      pair.upper[bottom] = 0;
      if (visit(pair)) return;
    }
  }
}

// reach() for stakes that are reports under min_max.
Witness reach_stretched(const LieSearch& search, const Menu& menu, size_t k) {
  Witness out = reach(search, menu, k);
  const size_t m = menu.models[k].size();
  if (out.reach == Reach::kNo || m > kMostEnds) {
    if (out.reach == Reach::kYes) out.reach = Reach::kUnclear;
    return out;
  }
  bool excluded = true;  // by every pair, at the largest size allowed
  for (double cap = 1;; cap = std::min(cap * 30, search.max_size())) {
    cap = std::min(cap, search.max_size());
    const double scale = scale_of(menu, k, cap);
    LinearProgram program = stretched_stakes(menu, k, cap, scale);
    program.cost[m] = -1;  // the widest margin
    excluded = true;
    WholeSize found;
    for_each_pair(program, m, [&](const LinearProgram& pair) {
      const LinearSolution real = solve_linear_program(pair);
      if (real.status != LinearSolution::Status::kOptimal) {
        excluded = excluded && real.status == LinearSolution::Status::kInfeasible;
        return false;
      }
      found = best_whole_size(pair, m, real.x.back());
      excluded = excluded && found.decided && found.value > kMargin * scale;
      return found.value < -kMargin * scale;
    });
    if (found.value < -kMargin * scale) return {Reach::kYes, std::move(found.stake)};
    if (cap >= search.max_size()) break;
  }
  return {excluded ? Reach::kNo : Reach::kUnclear, std::move(out.stake)};
}

// try_cheapest() for stakes that are reports under min_max.
void try_cheapest_stretched(LieSearch& search, const Menu& menu, size_t k, double* ceiling) {
  const size_t m = menu.models[k].size();
  LinearProgram program = stretched_stakes(menu, k, search.max_size(), kInfinity);
  program.lower[m] = program.upper[m] = 0;
  std::copy(menu.models[k].begin(), menu.models[k].end(), program.cost.begin());
  for_each_pair(program, m, [&](const LinearProgram& pair) {
    const LinearSolution real = solve_linear_program(pair);
    if (real.status == LinearSolution::Status::kInfeasible) return false;
    if (real.status != LinearSolution::Status::kOptimal) {
      *ceiling = std::max(*ceiling, menu.utility[k]);  // payments are not negative
      return false;
    }
    const WholeSize whole = best_whole_size(pair, m, real.x.back());
    const double utility = menu.utility[k] - std::max(0.0, whole.value);
    *ceiling = std::max(*ceiling, whole.decided ? utility : menu.utility[k]);
    if (utility <= search.result().best_utility) return false;
    try_stakes(search, whole.program, program.rows.size() - m, whole.program.upper.back());
    return false;
  });
}

}  // namespace

double try_reachable(LieSearch& search) {
  const Game& game = search.game();
  const size_t count = game.candidates.size();
  if (count * game.outcome_count() > kMostReachableEntries) return search.certificate();
  const Menu menu = menu_of(search);
  const bool stretched = game.normalization == Normalization::kMinMax;
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
      if (stretched && game.outcome_count() <= kMostEnds) {
        try_cheapest_stretched(search, menu, k, &ceiling);
      } else {
        try_cheapest(search, menu, k, &ceiling);
      }
      continue;
    }
    Witness witness = stretched ? reach_stretched(search, menu, k) : reach(search, menu, k);
    if (witness.reach == Reach::kNo) continue;
    ceiling = std::max(ceiling, menu.utility[k]);
    // Of more than kMostEnds outcomes the stakes are tried although they may not be a report.
    if (witness.reach != Reach::kYes && (!stretched || witness.stake.empty())) continue;
    const auto report = report_of(search, std::move(witness.stake));
    if (report.has_value()) {
      search.try_report("reachable", report->reward, report->group_size, static_cast<double>(k));
    }
  }
  return std::max(ceiling, search.result().best_utility) - search.result().utility_truth;
}

}  // namespace candor
