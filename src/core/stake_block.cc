#include "core/stake_block.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>

#include "core/block_solver.h"
#include "core/divergence.h"

namespace candor {

namespace {

std::vector<double> model_under(const StakeBlock& block, const std::vector<double>& stake) {
  std::vector<double> totals = block.others;
  for (size_t x = 0; x < totals.size(); ++x) totals[x] += stake[x];
  return solve_block({.divergence = block.divergence,
                      .initial = block.initial,
                      .rewards = {totals},
                      .sizes = {1.0}},
                     Scope::kModel)
      .allocation;
}

double utility_at(const StakeBlock& block, const std::vector<double>& stake,
                  const std::vector<double>& model) {
  double utility = 0;
  for (size_t x = 0; x < stake.size(); ++x) utility += (block.worth[x] - stake[x]) * model[x];
  return std::isfinite(utility) ? utility : -std::numeric_limits<double>::infinity();
}

// ---------------------------------------------------------------- tv

// Above the rounding of total rewards, below anything that is worth a report's while. An outcome
// this near an edge may fall on either side of it once a stake has become a report.
double tv_margin(const StakeBlock& block, double largest_stake) {
  const auto [low, high] = std::ranges::minmax(block.others);
  return 1e-13 * (high - low + 2 * block.divergence.regularization + largest_stake);
}

// <worth - r, p> with outcome `best` on top and every near edge decided against the group.
double tv_utility_with(const StakeBlock& block, const std::vector<double>& stake, size_t best,
                       double margin) {
  const double reach = 2 * block.divergence.regularization;
  const double moved = block.worth[best] - stake[best];
  double utility = 0;
  for (size_t x = 0; x < stake.size(); ++x) {
    const double kept = block.worth[x] - stake[x];
    const double surplus = block.others[best] + stake[best] - block.others[x] - stake[x] - reach;
    const bool near = std::abs(surplus) <= margin;
    utility += block.initial[x] * (x == best ? moved
                                   : near    ? std::min(kept, moved)
                                             : (surplus > 0 ? moved : kept));
  }
  return utility;
}

double tv_utility(const StakeBlock& block, const std::vector<double>& stake) {
  const double margin = 0.5 * tv_margin(block, std::ranges::max(stake));
  double highest = -std::numeric_limits<double>::infinity();
  for (size_t x = 0; x < stake.size(); ++x) {
    highest = std::max(highest, block.others[x] + stake[x]);
  }
  double worst = std::numeric_limits<double>::infinity();
  for (size_t x = 0; x < stake.size(); ++x) {
    if (block.others[x] + stake[x] < highest - margin) continue;
    worst = std::min(worst, tv_utility_with(block, stake, x, margin));
  }
  return worst;
}

// The best stakes with outcome `best` on top.
class TvStakes {
 public:
  TvStakes(const StakeBlock& block, double cap, std::optional<size_t> carrier)
      : block_(block), cap_(cap), carrier_(carrier) {
    const auto [low, high] = std::ranges::minmax(block.others);
    reach_ = 2 * block.divergence.regularization;
    const double needed = std::ranges::max(block.worth) + (high - low) + reach_;
    margin_ = tv_margin(block, carrier.has_value() ? cap : std::min(cap, needed));
  }

  void look_at(size_t best) {
    double least = 0;
    for (size_t x = 0; x < block_.outcome_count(); ++x) {
      if (x != best) least = std::max(least, lead(x, best) + held(x) + margin_);
    }
    if (least > cap_) return;
    if (carrier_ == best) {
      try_top(best, cap_);
      return;
    }
    try_top(best, least);
    std::vector<double> falls;  // rho where an outcome loses its mass
    for (size_t x = 0; x < block_.outcome_count(); ++x) {
      if (x == best) continue;
      const double fall = lead(x, best) + held(x) + reach_ + margin_;
      if (fall > least && fall <= cap_) falls.push_back(fall);
    }
    std::ranges::sort(falls);
    look_between(best, falls, 0, falls.size());
  }

  [[nodiscard]] Stake take() { return std::move(found_); }

 private:
  // s(x) - s(best)
  [[nodiscard]] double lead(size_t x, size_t best) const {
    return block_.others[x] - block_.others[best];
  }
  [[nodiscard]] double held(size_t x) const { return carrier_ == x ? cap_ : 0; }

  // What outcome x brings per unit of p0, and the stake that does it.
  struct Choice {
    double utility;
    double stake;
  };
  [[nodiscard]] Choice choose(size_t x, size_t best, double rho) const {
    const double moved = block_.worth[best] - rho;
    const double needed = rho - lead(x, best) - reach_;  // c(x)
    if (carrier_ == x) return {needed - cap_ > 0 ? moved : block_.worth[x] - cap_, cap_};
    if (needed < 0) return {block_.worth[x], 0};
    const double kept = needed + margin_;
    if (kept <= cap_ && block_.worth[x] - kept > moved) return {block_.worth[x] - kept, kept};
    // So near the edge rounding would decide whether x keeps its mass.
    if (needed < margin_ / 2) return {std::min(moved, block_.worth[x]), 0};
    return {moved, 0};
  }

  // Every one of few; of more, evenly spread ones and then those around the best.
  void look_between(size_t best, const std::vector<double>& falls, size_t begin, size_t end) {
    static constexpr size_t kLooks = 128;
    const size_t stride = (end - begin + kLooks - 1) / kLooks;
    double most = -std::numeric_limits<double>::infinity();
    size_t at = begin;
    for (size_t i = begin; i < end; i += stride) {
      const double utility = try_top(best, falls[i]);
      if (utility > most) {
        most = utility;
        at = i;
      }
    }
    if (stride <= 1) return;
    look_between(best, falls, at < begin + stride ? begin : at - stride,
                 std::min(end, at + stride));
  }

  double try_top(size_t best, double rho) {
    double utility = block_.initial[best] * (block_.worth[best] - rho);
    for (size_t x = 0; x < block_.outcome_count(); ++x) {
      if (x != best) utility += block_.initial[x] * choose(x, best, rho).utility;
    }
    if (!found_.value.empty() && !(utility > found_.utility)) return utility;
    found_.utility = utility;
    found_.value.assign(block_.outcome_count(), 0.0);
    for (size_t x = 0; x < found_.value.size(); ++x) {
      found_.value[x] = x == best ? rho : choose(x, best, rho).stake;
    }
    return utility;
  }

  const StakeBlock& block_;
  double cap_;
  std::optional<size_t> carrier_;
  double reach_ = 0;
  double margin_ = 0;
  Stake found_;
};

// The outcomes of highest worth + others.
std::vector<size_t> likely_tops(const StakeBlock& block, size_t most) {
  std::vector<size_t> tops(block.outcome_count());
  std::iota(tops.begin(), tops.end(), size_t{0});
  if (tops.size() <= most) return tops;
  std::ranges::stable_sort(tops, std::greater<>(),
                           [&](size_t x) { return block.worth[x] + block.others[x]; });
  tops.resize(most);
  return tops;
}

Stake best_tv_stake(const StakeBlock& block, double cap, std::optional<size_t> carrier) {
  static constexpr size_t kMostTops = 64;
  static constexpr size_t kMany = 1024;
  const size_t most = block.outcome_count() > kMany ? kMostTops / 4 : kMostTops;
  TvStakes stakes(block, cap, carrier);
  for (const size_t top : likely_tops(block, most)) stakes.look_at(top);
  Stake found = stakes.take();
  if (found.value.empty()) {  // every top that was looked at needs more than the cap
    found.value.assign(block.outcome_count(), 0.0);
    if (carrier.has_value()) found.value[*carrier] = cap;
  }
  found.utility = stake_utility(block, found.value);
  return found;
}

// The stakes of one total with outcome `best` on top; c(x) = rho - threshold(x).
class TvStakesOfTotal {
 public:
  TvStakesOfTotal(const StakeBlock& block, double total, size_t best)
      : block_(block), total_(total), best_(best), reach_(2 * block.divergence.regularization) {
    margin_ = tv_margin(block, total);
    for (size_t x = 0; x < block.outcome_count(); ++x) {
      thresholds_.push_back(block.others[x] - block.others[best] + reach_);
    }
  }

  [[nodiscard]] std::vector<std::vector<double>> all() const {
    static constexpr size_t kMostTopped = 8;
    const double least = std::max(0.0, std::ranges::max(thresholds_) - reach_ + margin_);
    std::vector<double> thresholds = thresholds_;
    std::vector<std::vector<double>> out;
    std::vector<size_t> topped;  // stakes as high as may be, where p0 is least
    for (const size_t x : by_mass()) {
      if (topped.size() > kMostTopped) break;
      if (x == best_) continue;
      std::vector<double> rhos = {least, filled(thresholds)};
      for (const double threshold : thresholds_) rhos.push_back(threshold + margin_);
      for (const double rho : rhos) {
        if (rho >= least && rho <= total_) out.push_back(at(rho, topped));
      }
      topped.push_back(x);
      thresholds[x] -= reach_;
    }
    return out;
  }

 private:
  [[nodiscard]] std::vector<size_t> by_mass() const {
    std::vector<size_t> order(block_.outcome_count());
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::sort(order, {}, [&](size_t x) { return block_.initial[x]; });
    return order;
  }

  // rho + sum of max(0, rho - threshold) = total.
  [[nodiscard]] double filled(std::vector<double> thresholds) const {
    thresholds.erase(thresholds.begin() + static_cast<ptrdiff_t>(best_));
    std::ranges::sort(thresholds);
    double passed = 0;  // the sum of the thresholds below rho
    for (size_t count = 0;; ++count) {
      const double rho = (total_ + passed) / static_cast<double>(1 + count);
      if (count == thresholds.size() || rho <= thresholds[count]) return rho;
      passed += thresholds[count];
    }
  }

  [[nodiscard]] std::vector<double> at(double rho, const std::vector<size_t>& topped) const {
    const size_t m = block_.outcome_count();
    std::vector<double> stake(m, 0.0);
    std::vector<double> room(m, 0.0);  // what it takes up besides, for nothing
    stake[best_] = rho;
    double left = total_ - rho;
    for (const size_t x : topped) {
      stake[x] = std::clamp(rho - thresholds_[x] + reach_ - margin_, 0.0, left);
      left -= stake[x];
    }
    for (size_t x = 0; x < m; ++x) {
      const double needed = rho - thresholds_[x];
      if (stake[x] > 0 || x == best_ || needed < 0) continue;
      const double kept = needed + margin_;
      if (block_.worth[x] - kept > block_.worth[best_] - rho && kept <= left) {
        stake[x] = kept;
        left -= kept;
      } else {
        room[x] = std::max(0.0, needed - margin_);
      }
    }
    for (size_t x = 0; x < m && left > 0; ++x) {
      const double taken = std::min(left, room[x]);
      stake[x] += taken;
      left -= taken;
    }
    heap(stake, rho, left);
    return stake;
  }

  // The rest where its mass is least, as far as the top stays on top; then on the top.
  void heap(std::vector<double>& stake, double rho, double left) const {
    for (const size_t x : by_mass()) {
      if (!(left > 0)) return;
      // Not where the mass is lost: it would be won back.
      if (x == best_ || stake[x] < rho - thresholds_[x]) continue;
      const double top = rho - thresholds_[x] + reach_ - margin_;
      const double taken = std::clamp(top - stake[x], 0.0, left);
      stake[x] += taken;
      left -= taken;
    }
    stake[best_] += left;
  }

  const StakeBlock& block_;
  double total_;
  size_t best_;
  double reach_;
  double margin_ = 0;
  std::vector<double> thresholds_;  // [m]
};

// ---------------------------------------------------------------- f with curvature

class SmoothStakes {
 public:
  SmoothStakes(const StakeBlock& block, double cap, std::optional<size_t> carrier)
      : block_(block), cap_(cap), carrier_(carrier), most_(std::ranges::max(block.worth)) {}

  [[nodiscard]] Stake search() {
    static constexpr size_t kMostSingles = 24;
    static constexpr int kRounds = 4;
    try_levels();
    Stake second = best_;
    try_cuts();
    if (second.value != best_.value) ascend(std::move(second));
    ascend(best_);
    ascend(at_level(0.5 * most_));
    if (block_.outcome_count() > kMostSingles) return best_;
    for (int round = 0; round < kRounds && jump(); ++round) ascend(best_);
    return best_;
  }

 private:
  [[nodiscard]] Stake measured(std::vector<double> value) const {
    if (carrier_.has_value()) value[*carrier_] = cap_;
    const double utility = stake_utility(block_, value);
    return {.utility = utility, .value = std::move(value)};
  }

  bool keep(Stake stake) {
    if (!best_.value.empty() && !(stake.utility > best_.utility)) return false;
    best_ = std::move(stake);
    return true;
  }

  [[nodiscard]] Stake at_level(double theta) const {
    std::vector<double> value(block_.outcome_count());
    for (size_t x = 0; x < value.size(); ++x) {
      value[x] = std::clamp(block_.worth[x] - theta, 0.0, cap_);
    }
    return measured(std::move(value));
  }

  void try_levels() {
    static constexpr int kLevels = 16;
    for (int i = 0; i <= kLevels; ++i) keep(at_level(most_ * i / kLevels));
  }

  // The cap, or the most that any outcome is worth, on the outcomes of highest worth + others.
  void try_cuts() {
    static constexpr size_t kMostCuts = 16;
    const size_t m = block_.outcome_count();
    std::vector<size_t> order(m);
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::stable_sort(order, std::greater<>(),
                             [&](size_t x) { return block_.worth[x] + block_.others[x]; });
    const double high = std::min(cap_, most_);
    std::vector<double> value(m, 0.0);
    for (size_t cut = 0; cut < std::min(m, kMostCuts); ++cut) {
      value[order[cut]] = high;
      keep(measured(value));
    }
  }

  // Newton's step on each outcome's own equation, shortened until it gains.
  void ascend(Stake at) {
    static constexpr int kSteps = 30;
    static constexpr double kLeast = 1e-14;  // what a step must gain, of the largest worth
    const size_t m = block_.outcome_count();
    for (int step = 0; step < kSteps; ++step) {
      const std::vector<double> target = target_of(at);
      bool gained = false;
      for (double share = 1; share > 1e-4 && !gained; share *= 0.4) {
        std::vector<double> value(m);
        for (size_t x = 0; x < m; ++x) {
          value[x] = at.value[x] + share * (target[x] - at.value[x]);
        }
        Stake next = measured(std::move(value));
        gained = next.utility > at.utility + kLeast * most_;
        if (gained) at = std::move(next);
      }
      if (!gained) break;
    }
    keep(std::move(at));
  }

  [[nodiscard]] std::vector<double> target_of(const Stake& at) const {
    const size_t m = block_.outcome_count();
    const std::vector<double> model = model_under(block_, at.value);
    std::vector<double> curvature(m, 0.0);
    double mass = 0;
    double mean = 0;
    for (size_t x = 0; x < m; ++x) {
      const double ratio = model[x] / block_.initial[x];
      if (!(ratio > 0)) continue;
      curvature[x] = generator_curvature(block_.divergence, ratio);
      const double sensitivity = block_.initial[x] / curvature[x];
      if (!std::isfinite(sensitivity)) continue;
      mass += sensitivity;
      mean += sensitivity * (block_.worth[x] - at.value[x]);
    }
    std::vector<double> target = at.value;
    if (!(mass > 0)) return target;
    for (size_t x = 0; x < m; ++x) {
      if (!(model[x] > 0)) continue;
      const double interior =
          block_.worth[x] - mean / mass - model[x] / block_.initial[x] * curvature[x];
      if (std::isfinite(interior)) target[x] = std::clamp(interior, 0.0, cap_);
    }
    return target;
  }

  // Each outcome by itself: no stake, the cap, all it is worth, and steps either way.
  bool jump() {
    bool gained = false;
    for (size_t x = 0; x < block_.outcome_count(); ++x) {
      if (carrier_ == x) continue;
      const double here = best_.value[x];
      for (const double to : {0.0, std::min(cap_, most_), block_.worth[x], 0.5 * here,
                              here + 0.1 * most_, here + 0.01 * most_, here - 0.01 * most_}) {
        const double value = std::clamp(to, 0.0, cap_);
        if (value == best_.value[x]) continue;
        std::vector<double> moved = best_.value;
        moved[x] = value;
        gained = keep(measured(std::move(moved))) || gained;
      }
    }
    return gained;
  }

  const StakeBlock& block_;
  double cap_;
  std::optional<size_t> carrier_;
  double most_;
  Stake best_;
};

}  // namespace

double stake_utility(const StakeBlock& block, const std::vector<double>& stake) {
  if (block.divergence.kind == DivergenceKind::kTv) return tv_utility(block, stake);
  return utility_at(block, stake, model_under(block, stake));
}

std::vector<std::vector<double>> tv_stakes_of_total(const StakeBlock& block, double total) {
  static constexpr size_t kMostTops = 32;
  std::vector<std::vector<double>> out;
  for (const size_t top : likely_tops(block, kMostTops)) {
    for (std::vector<double>& stake : TvStakesOfTotal(block, total, top).all()) {
      out.push_back(std::move(stake));
    }
  }
  return out;
}

Stake best_stake(const StakeBlock& block, double cap, std::optional<size_t> carrier) {
  if (block.divergence.kind == DivergenceKind::kTv) return best_tv_stake(block, cap, carrier);
  return SmoothStakes(block, cap, carrier).search();
}

}  // namespace candor
