#include "core/audit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/rng.h"
#include "base/strings.h"
#include "core/best_response.h"
#include "core/concave_rule.h"
#include "core/solution.h"
#include "core/sweep.h"

namespace candor {

namespace {

constexpr uint32_t kRandomReports = 0x6c696573;  // "lies"

// Tries lies of one group and keeps the best of each family and of all.
class LieSearch {
 public:
  LieSearch(const Game& game, size_t group, const AuditOptions& options, const Solution& truth)
      : game_(game), group_(group), options_(options), honest_(truth) {
    result_.name = game.groups[group].name;
    result_.utility_truth = utility(game.groups[group], truth);
    result_.best_utility = result_.utility_truth;
    result_.best_report = game.groups[group];
  }

  [[nodiscard]] const Report& truth() const { return game_.groups[group_]; }
  [[nodiscard]] double max_size() const { return static_cast<double>(game_.max_size); }
  [[nodiscard]] GroupAudit& result() { return result_; }

  // No lie gains more than this, by theory.
  [[nodiscard]] double certificate() const {
    if (!game_.candidates.empty()) return best_of_candidates() - result_.utility_truth;
    if (options_.payments == PaymentRule::kAffine) {
      return honest_.gap + honest_.groups[group_].payment_error;
    }
    // Payments are >= 0 and v_i is at most the mean over prompts of the best reward.
    double best = 0;
    for (size_t block = 0; block < game_.block_count(); ++block) {
      const auto reward = truth().reward.begin();
      best += *std::max_element(reward + static_cast<ptrdiff_t>(game_.block_begin[block]),
                                reward + static_cast<ptrdiff_t>(game_.block_begin[block + 1]));
    }
    const double best_mean = best / static_cast<double>(game_.block_count());
    return truth().group_size * best_mean - result_.utility_truth;
  }

  // Solves the game under the lie and records what it is worth to the group's true type.
  double try_report(const std::string& family, std::vector<double> reward, double size,
                    std::optional<double> parameter = std::nullopt) {
    if (!make_admissible(game_, group_, reward)) return result_.utility_truth;
    const Game lied = with_report(game_, group_, size, reward);
    const Result<Solution> solution = solve(lied);
    // A lie whose game overflows double precision decides nothing; the certificate covers it.
    if (!solution.ok()) return result_.utility_truth;
    Report report{.name = truth().name, .group_size = size, .reward = std::move(reward)};
    const double value = utility(report, *solution);
    record(family, value, std::move(report), parameter);
    return value;
  }

  void record(const std::string& family, double value, Report report,
              std::optional<double> parameter) {
    auto found = std::ranges::find(result_.families, family, &FamilyResult::family);
    if (found == result_.families.end()) {
      result_.families.push_back({family, 0.0, std::nullopt});
      found = result_.families.end() - 1;
    }
    const double gain = value - result_.utility_truth;
    if (gain > found->deviation_gain) {
      found->deviation_gain = gain;
      found->parameter = parameter;
    }
    if (value > result_.best_utility) {
      result_.best_utility = value;
      result_.best_report = std::move(report);
    }
  }

 private:
  [[nodiscard]] double utility(const Report& report, const Solution& solution) const {
    const double value = group_valuation(game_, truth(), solution.allocation);
    switch (options_.payments) {
      case PaymentRule::kAffine:
        return value - solution.groups[group_].payment;
      case PaymentRule::kZero:
        return value;
      case PaymentRule::kPayReport:
        return value - group_valuation(game_, report, solution.allocation);
      case PaymentRule::kGiven:
        return value - options_.given_prices[group_][*solution.winner];
    }
    CANDOR_CHECK(false, "unknown payment rule");
  }

  // Taxation principle (MATH 4): the group does no better than the best candidate at its price.
  // What pay_report charges is >= 0, so 0 bounds it from below.
  [[nodiscard]] double best_of_candidates() const {
    const CandidateTable table = tabulate(game_);
    double best = -std::numeric_limits<double>::infinity();
    for (size_t k = 0; k < table.divergences.size(); ++k) {
      if (std::isinf(table.divergences[k])) continue;
      double price = 0;
      if (options_.payments == PaymentRule::kAffine) {
        price = honest_.groups[group_].welfare_without - table.welfare(k, group_);
      } else if (options_.payments == PaymentRule::kGiven) {
        price = options_.given_prices[group_][k];
      }
      best = std::max(best, table.valuations[group_][k] - price);
    }
    return best;
  }

  const Game& game_;
  size_t group_;
  const AuditOptions& options_;
  const Solution& honest_;  // what telling the truth brings about
  GroupAudit result_;
};

// ---------------------------------------------------------------- families

// Whole sizes from 1 to max_size, close together where they are small.
std::vector<double> size_grid(double truth, double max_size) {
  std::vector<double> sizes;
  for (double size = 1; size <= std::min(16.0, max_size); ++size) sizes.push_back(size);
  for (double size = 16; size < max_size; size *= 1.5) sizes.push_back(std::floor(size));
  for (const double factor : {0.5, 1.5, 2.0, 3.0, 4.0, 8.0}) {
    sizes.push_back(std::clamp(std::round(truth * factor), 1.0, max_size));
  }
  sizes.push_back(max_size);
  std::sort(sizes.begin(), sizes.end());
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  return sizes;
}

void try_sizes(LieSearch& search) {
  for (const double size : size_grid(search.truth().group_size, search.max_size())) {
    search.try_report("size_inflation", search.truth().reward, size,
                      size / search.truth().group_size);
  }
}

void try_mixes(const Game& game, size_t group, LieSearch& search) {
  if (game.groups.size() < 2) return;
  const std::vector<double> others = others_mean_reward(game, group);
  static constexpr int kSteps = 80;
  static constexpr double kLargestMix = 4;
  for (int step = 0; step <= kSteps; ++step) {
    const double mix = kLargestMix * step / kSteps;
    Report report = mixed_report(search.truth(), others, mix, false);
    search.try_report("preference_mix", std::move(report.reward), report.group_size, mix);
  }
}

// Thm 3.2: lower the worst outcome (max normalisation), or move eps from the worst to the best
// (sum).
void try_theorem_3_2(const Game& game, LieSearch& search) {
  const std::vector<double>& reward = search.truth().reward;
  const auto [worst, best] = std::ranges::minmax_element(reward);
  if (*worst == *best) return;
  for (const double share : {1e-4, 1e-3, 1e-2, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0}) {
    const double eps = share * *worst;
    std::vector<double> lie = reward;
    lie[static_cast<size_t>(worst - reward.begin())] -= eps;
    if (game.normalization == Normalization::kSum) {
      lie[static_cast<size_t>(best - reward.begin())] += eps;
    }
    search.try_report("theorem_3_2", std::move(lie), search.truth().group_size, eps);
  }
}

// What Thm E.2 builds on: sensitivity(x) = p0(x)/f''(r(x)) at the truthful model, and t(z) = sum_x
// (rm_i(z) - rm_i(x)) sensitivity(x) over z's block, whose sign is the sign of the derivative of
// v_i in the reported rm_i(z).
struct RewardSlope {
  std::vector<double> sensitivity;  // [m]
  std::vector<double> t;            // [m]
};

RewardSlope reward_slope(const Game& game, const std::vector<double>& reward,
                         const std::vector<double>& model) {
  RewardSlope out{.sensitivity = mass_sensitivity(game, model),
                  .t = std::vector<double>(reward.size())};
  for (size_t block = 0; block < game.block_count(); ++block) {
    const size_t begin = game.block_begin[block];
    const size_t end = game.block_begin[block + 1];
    double mass = 0;
    double mean = 0;
    for (size_t x = begin; x < end; ++x) {
      mass += out.sensitivity[x];
      mean += out.sensitivity[x] * reward[x];
    }
    for (size_t x = begin; x < end; ++x) out.t[x] = reward[x] * mass - mean;
  }
  return out;
}

// The outcome of largest |weight(x)| where `allowed`; m where there is none.
template <typename Allowed>
size_t strongest(const std::vector<double>& weight, const Allowed& allowed) {
  size_t best = weight.size();
  for (size_t x = 0; x < weight.size(); ++x) {
    if (!allowed(x) || weight[x] == 0) continue;
    if (best == weight.size() || std::abs(weight[x]) > std::abs(weight[best])) best = x;
  }
  return best;
}

// Thm E.2, for a group whose least reward is 0. Max normalisation: move one reward strictly between
// 0 and 1 in the direction of t. Sum normalisation: from an outcome of t < 0 to the best one, or to
// an outcome of t > 0 from a lesser one that answers less.
void try_theorem_e_2(const Game& game, const std::vector<double>& model, LieSearch& search) {
  const std::vector<double>& reward = search.truth().reward;
  if (std::ranges::min(reward) > 0 || game.divergence.kind == DivergenceKind::kTv) return;
  const RewardSlope slope = reward_slope(game, reward, model);
  const size_t m = reward.size();
  std::vector<double> effect(m);
  for (size_t x = 0; x < m; ++x) effect[x] = slope.t[x] * slope.sensitivity[x];
  const auto inner = [&](size_t x) { return reward[x] > 0 && reward[x] < 1; };
  const auto move = [&](size_t up, size_t down, double most) {
    for (const double share : {1e-4, 1e-3, 1e-2, 0.05, 0.1, 0.25, 0.5, 0.75, 0.99}) {
      std::vector<double> lie = reward;
      if (up < m) lie[up] += share * most;
      if (down < m) lie[down] -= share * most;
      search.try_report("theorem_e_2", std::move(lie), search.truth().group_size, share * most);
    }
  };
  if (game.normalization != Normalization::kSum) {
    const size_t x = strongest(effect, inner);
    if (x == m) return;
    if (slope.t[x] > 0) move(x, m, 1 - reward[x]);
    if (slope.t[x] < 0) move(m, x, reward[x]);
    return;
  }
  const auto best = static_cast<size_t>(std::ranges::max_element(reward) - reward.begin());
  const size_t down = strongest(effect, [&](size_t x) { return inner(x) && slope.t[x] < 0; });
  if (down < m) move(best, down, std::min(reward[down], 1 - reward[best]));
  const size_t up = strongest(effect, [&](size_t x) { return inner(x) && slope.t[x] > 0; });
  if (up == m) return;
  const size_t from = strongest(reward, [&](size_t x) {
    return x != up && reward[x] > 0 && reward[x] <= reward[up] &&
           slope.sensitivity[x] < slope.sensitivity[up];
  });
  if (from < m) move(up, from, std::min(1 - reward[up], reward[from]));
}

// 1 above a cut of the true reward, 0 below: the shape of every best response without payments.
void try_cuts(LieSearch& search) {
  std::vector<double> levels = search.truth().reward;
  std::sort(levels.begin(), levels.end());
  levels.erase(std::unique(levels.begin(), levels.end()), levels.end());
  static constexpr size_t kMostCuts = 32;
  const size_t stride = std::max<size_t>(1, levels.size() / kMostCuts);
  for (size_t i = 0; i < levels.size(); i += stride) {
    std::vector<double> lie;
    for (const double value : search.truth().reward) lie.push_back(value >= levels[i] ? 1.0 : 0.0);
    for (const double size : {search.truth().group_size, search.max_size()}) {
      search.try_report("cut", lie, size, levels[i]);
    }
  }
}

void try_random(const Game& game, size_t group, const AuditOptions& options, LieSearch& search) {
  const size_t m = game.outcome_count();
  for (int i = 0; i < options.random_reports; ++i) {
    RandomStream random({.seed = options.seed,
                         .stream = kRandomReports,
                         .prompt = static_cast<uint32_t>(group),
                         .sample = static_cast<uint32_t>(i)});
    std::vector<double> lie(m);
    const int shape = i % 4;
    for (size_t x = 0; x < m; ++x) {
      const double truth = search.truth().reward[x];
      const double u = random.uniform();
      if (shape == 0) lie[x] = u;
      if (shape == 1) lie[x] = u < 0.5 ? 0.0 : 1.0;
      if (shape == 2) lie[x] = std::max(0.0, truth * (1 + 0.2 * (u - 0.5)));
      if (shape == 3) lie[x] = 0;
    }
    if (shape == 3) lie[random.below(m)] = 1;  // a vertex
    const double stretch = std::exp(2 * random.normal());
    const double size = i % 3 == 0 ? search.truth().group_size
                                   : std::clamp(std::round(search.truth().group_size * stretch),
                                                1.0, search.max_size());
    search.try_report("random", std::move(lie), size);
  }
}

// Climbs from the best lie so far, one outcome or the size at a time.
void climb(const Game& game, size_t group, const AuditOptions& options, LieSearch& search) {
  static constexpr size_t kMostCoordinates = 24;
  const size_t m = game.outcome_count();
  RandomStream random({.seed = options.seed,
                       .stream = kRandomReports,
                       .prompt = static_cast<uint32_t>(group),
                       .sample = UINT32_MAX});
  for (const double step : {0.5, 0.1, 0.02}) {
    for (size_t i = 0; i < std::min(m, kMostCoordinates); ++i) {
      const size_t x = m <= kMostCoordinates ? i : random.below(m);
      for (const double move : {-step, step}) {
        std::vector<double> lie = search.result().best_report.reward;
        lie[x] = std::max(0.0, lie[x] + move);
        search.try_report("local_search", std::move(lie), search.result().best_report.group_size);
      }
    }
    for (const double factor : {1 - step, 1 + step}) {
      const double size = std::clamp(std::round(search.result().best_report.group_size * factor),
                                     1.0, search.max_size());
      search.try_report("local_search", search.result().best_report.reward, size);
    }
  }
}

// Exact where the theory is: KL, nobody pays, no candidates, max normalisation (MATH 5).
bool try_best_response(const Game& game, size_t group, const AuditOptions& options,
                       LieSearch& search) {
  if (options.payments != PaymentRule::kZero || !game.candidates.empty() ||
      game.normalization == Normalization::kSum) {
    return false;
  }
  bool exact = game.normalization == Normalization::kMax;
  for (const double size : {search.truth().group_size, search.max_size()}) {
    BestResponse best = best_response_without_payments(game, group, size);
    exact = exact && best.exact;
    const char* family = size == search.max_size() ? "best_response" : "best_reward";
    search.record(family, best.valuation, std::move(best.report), size);
  }
  return exact;
}

GroupAudit audit_group(const Game& game, size_t group, const AuditOptions& options,
                       const Solution& truth) {
  LieSearch search(game, group, options, truth);
  try_sizes(search);
  try_mixes(game, group, search);
  try_theorem_3_2(game, search);
  if (game.candidates.empty()) try_theorem_e_2(game, truth.allocation, search);
  try_cuts(search);
  try_random(game, group, options, search);
  const bool exact = try_best_response(game, group, options, search);
  climb(game, group, options, search);
  const double certificate = search.certificate();
  GroupAudit result = std::move(search.result());
  result.deviation_gain = result.best_utility - result.utility_truth;
  result.certificate = certificate;
  const double slack = 1e-9 * (1 + std::abs(result.best_utility));
  const bool met = result.deviation_gain >= result.certificate - slack;
  result.bound = exact || met || options.payments == PaymentRule::kAffine ? "exact" : "lower";
  return result;
}

Status check_given_prices(const Game& game, const std::vector<std::vector<double>>& prices) {
  if (game.candidates.empty()) {
    return invalid_argument("given prices are prices of candidates; this game has no candidates");
  }
  if (prices.size() != game.groups.size()) {
    return invalid_argument(str_cat("prices: found rows for ", prices.size(), " groups; expected ",
                                    game.groups.size()));
  }
  for (size_t group = 0; group < prices.size(); ++group) {
    if (prices[group].size() != game.candidates.size()) {
      return invalid_argument(str_cat("prices[", group, "]: found ", prices[group].size(),
                                      " prices; expected one for each of ", game.candidates.size(),
                                      " candidates"));
    }
    for (size_t k = 0; k < prices[group].size(); ++k) {
      if (std::isfinite(prices[group][k])) continue;
      return invalid_argument(str_cat("prices[", group, "][", k, "]: found ", prices[group][k],
                                      "; expected a finite number"));
    }
  }
  return {};
}

}  // namespace

Result<Audit> audit_game(const Game& game, const AuditOptions& options) {
  if (options.payments == PaymentRule::kGiven) {
    CANDOR_RETURN_IF_ERROR(check_given_prices(game, options.given_prices));
  }
  CANDOR_TRY(const Solution truth, solve(game));
  Audit audit;
  audit.payments = options.payments;
  double sizes = 0;
  for (const Report& report : game.groups) sizes += report.group_size;
  audit.threshold = 1e-9 * (1 + sizes) + truth.gap;
  for (size_t group = 0; group < game.groups.size(); ++group) {
    audit.groups.push_back(audit_group(game, group, options, truth));
    audit.profitable = audit.profitable || audit.groups.back().deviation_gain > audit.threshold;
  }
  return audit;
}

}  // namespace candor
