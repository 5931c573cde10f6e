#include <algorithm>
#include <cmath>
#include <variant>
#include <vector>

#include "base/strings.h"
#include "core/divergence_law.h"
#include "core/dual_search.h"
#include "core/stream_parts.h"
#include "core/sum.h"

namespace candor {

namespace {

// One outcome as all n+1 problems see it: problem 0 is the full one, i + 1 leaves group i out.
struct Outcome {
  double initial = 0;          // p0, scaled
  double total = 0;            // s around the centres
  std::vector<double> stakes;  // [n], w_i (rm_i - centre_i)
  std::vector<double> drops;   // [n + 1], max s_j - s_j
};

// All n+1 problems of a game under one law, advanced together.
template <typename Law>
class LockStep {
 public:
  LockStep(const StreamGame& game, const GameMoments& moments, const Law& law,
           SegmentPasses& passes)
      : game_(game), moments_(moments), law_(law), passes_(passes) {
    highest_.push_back(moments.sums.high);
    highest_.insert(highest_.end(), moments.sums.others_high.begin(),
                    moments.sums.others_high.end());
  }

  std::optional<Solution> run() {
    start_from_sample();
    int reads = 2;  // the moments, and the pricing
    while (std::ranges::any_of(searches_, [](const DualSearch& s) { return !s.done(); })) {
      if (!advance(str_cat("newton ", reads - 1))) return std::nullopt;
      ++reads;
    }
    std::optional<Solution> out = price();
    if (out.has_value()) out->reads = reads;
    return out;
  }

 private:
  struct MassSums {
    std::vector<Sum> mass, steepness;  // [n + 1]
    explicit MassSums(size_t problems) : mass(problems), steepness(problems) {}

    [[nodiscard]] std::vector<Sum*> all() { return pointers({}, {&mass, &steepness}); }
  };
  struct PriceSums {
    Sum mass, divergence, drop, dual;
    std::vector<Sum> stake, payment, dual_without, others;  // [n]
    explicit PriceSums(size_t n) : stake(n), payment(n), dual_without(n), others(n) {}

    [[nodiscard]] std::vector<Sum*> all() {
      return pointers({&mass, &divergence, &drop, &dual},
                      {&stake, &payment, &dual_without, &others});
    }
  };

  // Every sum of a pass in one order, in which a part lists their values.
  static std::vector<Sum*> pointers(std::vector<Sum*> out,
                                    const std::vector<std::vector<Sum>*>& lists) {
    for (std::vector<Sum>* list : lists) {
      for (Sum& sum : *list) out.push_back(&sum);
    }
    return out;
  }

  [[nodiscard]] size_t group_count() const { return game_.groups.size(); }

  [[nodiscard]] Outcome blank() const {
    return {.initial = 0,
            .total = 0,
            .stakes = std::vector<double>(group_count()),
            .drops = std::vector<double>(group_count() + 1)};
  }

  // `reward(i)` is group i's reported reward there.
  template <typename Reward>
  void fill(double initial, const Reward& reward, Outcome& out) const {
    out.initial = initial * game_.initial_scale;
    out.total = 0;
    for (size_t i = 0; i < group_count(); ++i) {
      out.stakes[i] = moments_.rates.rate[i] * (reward(i) - moments_.rates.centre[i]);
      out.total += out.stakes[i];
    }
    out.drops[0] = highest_[0] - out.total;
    for (size_t i = 0; i < group_count(); ++i) {
      // Rounding must not lift an outcome above the highest.
      out.drops[i + 1] = std::max(0.0, highest_[i + 1] - (out.total - out.stakes[i]));
    }
  }

  // One pass: the sums of every segment added up in order; nothing where it is not known.
  // add(outcome, sums); `empty` is what a segment starts from.
  template <typename Sums, typename Add>
  std::optional<Sums> sum_segments(const std::string& name, const Sums& empty, const Add& add) {
    const auto parts = passes_.run(name, [&](size_t index) {
      Sums sums = empty;
      Outcome outcome = blank();
      visit_segment(game_, index, [&](size_t, double initial, const auto& reward) {
        fill(initial, reward, outcome);
        add(outcome, sums);
      });
      SegmentPart part;
      for (const Sum* sum : sums.all()) part.push_back(sum->value());
      return part;
    });
    if (!parts.has_value()) return std::nullopt;
    Sums total = empty;
    const std::vector<Sum*> sums = total.all();
    for (const SegmentPart& part : *parts) {
      for (size_t k = 0; k < sums.size(); ++k) sums[k]->add(part[k]);
    }
    return total;
  }

  [[nodiscard]] DualSearch::Options bracket(size_t problem) const {
    const stream::Moments& sums = moments_.sums;
    const double range = problem == 0
                             ? sums.high - sums.low
                             : sums.others_high[problem - 1] - sums.others_low[problem - 1];
    return dual_bracket(law_, range, game_.initial_low, game_.divergence.regularization);
  }

  // Each problem solved on a sample of outcomes, evenly spread: Newton then starts close by.
  void start_from_sample() {
    const size_t width = group_count() + 1;
    const size_t count = moments_.sample.size() / width;
    std::vector<Outcome> sample(count, blank());
    Sum mass;
    for (size_t k = 0; k < count; ++k) {
      const double* row = moments_.sample.data() + k * width;
      fill(
          row[0], [&](size_t i) { return row[i + 1]; }, sample[k]);
      mass.add(sample[k].initial);
    }
    for (size_t problem = 0; problem <= group_count(); ++problem) {
      DualSearch::Options options = bracket(problem);
      DualSearch trial(options);
      while (!trial.done()) {
        Sum value;
        Sum steepness;
        for (const Outcome& outcome : sample) {
          const double ratio = law_.ratio(trial.depth() + outcome.drops[problem]);
          value.add(outcome.initial / mass.value() * ratio);
          if (ratio > 0) {
            steepness.add(outcome.initial / mass.value() / law_.curvature(ratio));
          }
        }
        trial.tell(value.value(), steepness.value());
      }
      options.trusted_residual = 1e-7;
      options.start = std::clamp(trial.best_depth(), options.low, options.high);
      searches_.emplace_back(options);
    }
  }

  // One Newton step of every problem; false where the pass is not known.
  bool advance(const std::string& name) {
    const size_t problems = searches_.size();
    const auto sums =
        sum_segments(name, MassSums(problems), [&](const Outcome& outcome, MassSums& into) {
          for (size_t j = 0; j < problems; ++j) {
            if (searches_[j].done()) continue;
            const double ratio = law_.ratio(searches_[j].depth() + outcome.drops[j]);
            if (!(ratio > 0)) continue;
            into.mass[j].add(outcome.initial * ratio);
            into.steepness[j].add(outcome.initial / law_.curvature(ratio));
          }
        });
    if (!sums.has_value()) return false;
    for (size_t j = 0; j < problems; ++j) {
      if (searches_[j].done()) continue;
      searches_[j].tell(sums->mass[j].value(), sums->steepness[j].value());
    }
    return true;
  }

  // What one outcome adds to welfare and to every payment.
  void add_prices(const Outcome& outcome, PriceSums& sums) const {
    const double weight = outcome.initial;
    const double depth = searches_[0].best_depth() + outcome.drops[0];
    const double ratio = law_.ratio(depth);
    sums.mass.add(weight * ratio);
    sums.divergence.add(weight * law_.bregman(ratio, 1, ratio - 1));
    sums.drop.add(weight * ratio * outcome.drops[0]);
    sums.dual.add(weight * law_.conjugate_at(ratio));
    for (size_t i = 0; i < group_count(); ++i) {
      const double depth_without = searches_[i + 1].best_depth() + outcome.drops[i + 1];
      double without = law_.ratio(depth_without);
      double change = ratio - without;
      // Close ratios are not subtracted: f'(r_p) - f'(r_q) = stake - (mu_p - mu_q). An error of
      // the difference of the mu enters a payment squared, because q maximises.
      const bool precise = !law_.has_pole() || std::abs(outcome.stakes[i]) < 1e3 * depth_without;
      if (precise && without < 2 * ratio && ratio < 2 * without) {
        change = law_.difference(without, outcome.stakes[i] - shift(i));
      }
      sums.stake[i].add(weight * ratio * outcome.stakes[i]);
      sums.payment[i].add(weight * bregman_at_depth(law_, ratio, without, change, depth_without));
      sums.dual_without[i].add(weight * law_.conjugate_at(without));
      sums.others[i].add(weight * ratio * (outcome.total - outcome.stakes[i]));
    }
  }

  // mu_p - mu_q of group i, around the centres.
  [[nodiscard]] double shift(size_t i) const {
    return (highest_[0] - highest_[i + 1]) +
           (searches_[0].best_depth() - searches_[i + 1].best_depth());
  }

  // What the group's centre is worth to it, normalised.
  [[nodiscard]] double centre_value(size_t i) const {
    return moments_.rates.rate[i] * (moments_.rates.centre[i] - game_.groups[i].offset);
  }

  [[nodiscard]] std::optional<Solution> price() {
    const auto found =
        sum_segments("price", PriceSums(group_count()),
                     [&](const Outcome& outcome, PriceSums& into) { add_prices(outcome, into); });
    if (!found.has_value()) return std::nullopt;
    const PriceSums& sums = *found;
    const double mass = sums.mass.value();
    Solution out = outcomes_of(game_);
    out.divergence = sums.divergence.value();
    Sum constant;
    for (size_t i = 0; i < group_count(); ++i) {
      constant.add(centre_value(i));
    }
    const double value = -sums.drop.value() / mass - out.divergence;
    const double dual = (searches_[0].best_depth() - law_.top()) + sums.dual.value();
    out.welfare = constant.value() + (highest_[0] + value);
    out.gap = std::abs(dual - value);
    const double range = moments_.sums.high - moments_.sums.low;
    for (size_t i = 0; i < group_count(); ++i) {
      GroupOutcome& outcome = out.groups[i];
      outcome.valuation = centre_value(i) + sums.stake[i].value() / mass;
      const bool constant_reward = !(game_.groups[i].top > game_.groups[i].low);
      outcome.payment = constant_reward ? 0 : sums.payment[i].value();
      outcome.utility = outcome.valuation - outcome.payment;
      outcome.welfare_without = out.welfare - outcome.valuation + outcome.payment;
      const double without = highest_[i + 1] + (searches_[i + 1].best_depth() - law_.top()) +
                             sums.dual_without[i].value();
      const double direct = without - (sums.others[i].value() / mass - out.divergence);
      outcome.payment_error =
          std::abs(outcome.payment - direct) +
          16 * std::numeric_limits<double>::epsilon() * (range + out.divergence);
    }
    return out;
  }

  const StreamGame& game_;
  const GameMoments& moments_;
  Law law_;
  SegmentPasses& passes_;
  std::vector<double> highest_;  // [n + 1], max s_j around the centres
  std::vector<DualSearch> searches_;
};

}  // namespace

std::optional<Solution> solve_lock_step(const StreamGame& game, const GameMoments& moments,
                                        SegmentPasses& passes) {
  return std::visit([&](const auto& law) { return LockStep(game, moments, law, passes).run(); },
                    law_of(game.divergence));
}

}  // namespace candor
