#include <algorithm>
#include <cmath>
#include <variant>
#include <vector>

#include "base/strings.h"
#include "core/certificate.h"
#include "core/divergence_law.h"
#include "core/dual_search.h"
#include "core/law_payment.h"
#include "core/stream_parts.h"
#include "core/sum.h"

namespace candor {

namespace {

// One outcome as all n+1 problems see it: problem 0 is the full one, i + 1 leaves group i out.
struct Outcome {
  double initial = 0;          // p0, scaled
  std::vector<double> stakes;  // [n], w_i (rm_i - centre_i)
  std::vector<DoubleDouble> exact_stakes;  // [n], w_i rm_i, where drops need it
  std::vector<double> drops;   // [n + 1], max s_j - s_j
};

// The problems of a game as its outcomes see them: how far each lies below the best. Where ratios
// may grow towards a pole, or lambda is small beside the stakes, differences of totals far below
// their rounding decide, and they are taken to 106 bits; elsewhere plain arithmetic does.
class StreamProblems {
 public:
  StreamProblems(const StreamGame& game, const GameMoments& moments)
      : game_(game), moments_(moments), totals_(game) {
    const double strength = game.divergence.regularization;
    // No ratio exceeds 1/p0; the least p0 is known up to rounding.
    anchor_ = anchor_for(game.divergence, totals_.range(), 1 / game.initial_low);
    static constexpr double kPlain = 1e-11;
    precise_ = anchor_ == Anchor::kPole || totals_.plain_error() > kPlain * strength;
    double origin = 0;
    for (size_t i = 0; i < group_count(); ++i) origins_.push_back(own_origin(i));
    for (const double own : origins_) origin += own;
    for (size_t j = 0; j < moments.tops.size(); ++j) {
      const DoubleDouble centre{origin - (j == 0 ? 0 : origins_[j - 1]), 0};
      centred_tops_.push_back((moments.tops[j] - centre).value());
    }
  }

  [[nodiscard]] size_t group_count() const { return game_.groups.size(); }
  [[nodiscard]] Anchor anchor() const { return anchor_; }
  [[nodiscard]] const StreamTotals& totals() const { return totals_; }
  [[nodiscard]] DropError error() const {
    return {.absolute = 2 * (precise_ ? totals_.error() : totals_.plain_error()),
            .initial = game_.initial_scale_error};
  }
  [[nodiscard]] Outcome blank() const {
    return {.initial = 0,
            .stakes = std::vector<double>(group_count()),
            .exact_stakes = std::vector<DoubleDouble>(group_count()),
            .drops = std::vector<double>(group_count() + 1)};
  }

  // `reward(i)` is group i's reported reward there.
  template <typename Reward>
  void fill(double initial, const Reward& reward, Outcome& out) const {
    out.initial = initial * game_.initial_scale;
    double total = 0;
    for (size_t i = 0; i < group_count(); ++i) {
      out.stakes[i] = moments_.rates.rate[i] * (reward(i) - moments_.rates.centre[i]);
      total += out.stakes[i];
    }
    if (precise_) return fill_precisely(reward, out);
    out.drops[0] = std::max(0.0, centred_tops_[0] - total);
    for (size_t i = 0; i < group_count(); ++i) {
      out.drops[i + 1] = std::max(0.0, centred_tops_[i + 1] - (total - out.stakes[i]));
    }
  }

  // mu_p - mu_q less v_p - v_q for the problem without group i, in the frame of the stakes.
  [[nodiscard]] double lead(size_t i) const {
    const DoubleDouble origin = totals_.stake(i, moments_.rates.centre[i]);
    return ((moments_.tops[0] - moments_.tops[i + 1]) - origin).value();
  }

 private:
  [[nodiscard]] double own_origin(size_t i) const {
    return moments_.rates.rate[i] * (moments_.rates.centre[i] - game_.groups[i].offset);
  }
  template <typename Reward>
  void fill_precisely(const Reward& reward, Outcome& out) const {
    DoubleDouble total;
    for (size_t i = 0; i < group_count(); ++i) {
      out.exact_stakes[i] = totals_.stake(i, reward(i));
      total = loose_sum(total, out.exact_stakes[i]);
    }
    out.drops[0] = std::max(0.0, loose_sum(moments_.tops[0], -total).value());
    for (size_t i = 0; i < group_count(); ++i) {
      const DoubleDouble others = loose_sum(moments_.tops[i + 1], -total);
      out.drops[i + 1] = std::max(0.0, loose_sum(others, out.exact_stakes[i]).value());
    }
  }

  const StreamGame& game_;
  const GameMoments& moments_;
  StreamTotals totals_;
  Anchor anchor_ = Anchor::kOne;
  bool precise_ = false;
  std::vector<double> origins_;       // [n], rate_i centre_i
  std::vector<double> centred_tops_;  // [n + 1]
};

// What one pass adds up for Newton's steps.
struct MassSums {
  std::vector<Sum> excess;     // [n + 1]
  std::vector<double> spread;  // [n + 1], which only steers Newton
};

// What the pricing pass adds up.
struct PriceSums {
  std::vector<Certificate> problems;  // [n + 1]
  Sum divergence, drop;
  std::vector<Sum> valuation, below, payment;  // [n]: rm_i, max rm_i - rm_i under p
};

// All n+1 problems of a game under one law, advanced together.
template <typename Law>
class LockStep {
 public:
  LockStep(const StreamGame& game, const GameMoments& moments, const StreamProblems& problems,
           const Law& law, SegmentPasses& passes)
      : game_(game), moments_(moments), problems_(problems), law_(law), passes_(passes) {}

  // Newton, then a pass that prices and proves. Where that finds a mass that is not 1 after all,
  // Newton goes on from there.
  std::optional<Solution> run() {
    start_from_sample();
    static constexpr int kMostRounds = 4;
    for (int round = 1;; ++round) {
      while (std::ranges::any_of(searches_, [](const DualSearch& s) { return !s.done(); })) {
        if (!advance(str_cat("newton ", reads_ - 1))) return std::nullopt;
        ++reads_;
      }
      const auto sums = price(round == 1 ? "price" : str_cat("price ", round));
      if (!sums.has_value()) return std::nullopt;
      ++reads_;
      if (round == kMostRounds || !reopen(*sums)) return conclude(*sums);
    }
  }

 private:
  [[nodiscard]] size_t group_count() const { return game_.groups.size(); }

  // One pass: the parts of every segment in order, nothing where it is not known.
  // add(outcome, sums), write(sums, part); `empty` is what a segment starts from.
  template <typename Sums, typename Add, typename Write>
  std::optional<std::vector<SegmentPart>> run_pass(const std::string& name, const Sums& empty,
                                                   const Add& add, const Write& write) {
    return passes_.run(name, [&](size_t index) {
      Sums sums = empty;
      Outcome outcome = problems_.blank();
      visit_segment(game_, index, [&](size_t, double initial, const auto& reward) {
        problems_.fill(initial, reward, outcome);
        add(outcome, reward, sums);
      });
      SegmentPart part;
      write(sums, part);
      return part;
    });
  }

  [[nodiscard]] DualSearch::Options bracket(size_t problem) const {
    const double own = problem == 0 ? 0 : problems_.totals().range(problem - 1);
    const double range = problems_.totals().range() - own;
    return dual_bracket(law_, range * (1 + 1e-12) + problems_.error().absolute,
                        game_.initial_low * (1 - 1e-12), game_.divergence.regularization);
  }

  // Each problem solved on a sample of outcomes, evenly spread: Newton then starts close by.
  void start_from_sample() {
    const size_t width = group_count() + 1;
    const size_t count = moments_.sample.size() / width;
    std::vector<Outcome> sample(count, problems_.blank());
    Sum mass;
    for (size_t k = 0; k < count; ++k) {
      const double* row = moments_.sample.data() + k * width;
      problems_.fill(
          row[0], [&](size_t i) { return row[i + 1]; }, sample[k]);
      mass.add(sample[k].initial);
    }
    for (size_t problem = 0; problem <= group_count(); ++problem) {
      DualSearch::Options options = bracket(problem);
      DualSearch trial(options);
      while (!trial.done()) {
        Sum excess;
        Sum spread;
        for (const Outcome& outcome : sample) {
          const LawPoint point = law_.at(trial.depth() + outcome.drops[problem]);
          excess.add(outcome.initial / mass.value() * point.excess);
          spread.add(outcome.initial / mass.value() * point.ratio * point.reach);
        }
        trial.tell(excess.value(), spread.value());
      }
      options.trusted_residual = 1e-7;
      options.start = std::clamp(trial.best_depth(), options.low, options.high);
      searches_.emplace_back(options);
    }
  }

  // One Newton step of every problem; false where the pass is not known.
  bool advance(const std::string& name) {
    const size_t problems = searches_.size();
    const MassSums empty{std::vector<Sum>(problems), std::vector<double>(problems)};
    const auto parts = run_pass(
        name, empty,
        [&](const Outcome& outcome, const auto&, MassSums& into) {
          for (size_t j = 0; j < problems; ++j) {
            if (searches_[j].done()) continue;
            const LawPoint point = law_.at(searches_[j].depth() + outcome.drops[j]);
            into.excess[j].add(outcome.initial * point.excess);
            into.spread[j] += outcome.initial * point.ratio * point.reach;
          }
        },
        [&](const MassSums& sums, SegmentPart& part) {
          for (const Sum& sum : sums.excess) part.push_back(sum.value());
          part.insert(part.end(), sums.spread.begin(), sums.spread.end());
        });
    if (!parts.has_value()) return false;
    MassSums total = empty;
    for (const SegmentPart& part : *parts) {
      for (size_t j = 0; j < problems; ++j) {
        total.excess[j].add(part[j]);
        total.spread[j] += part[problems + j];
      }
    }
    for (size_t j = 0; j < problems; ++j) {
      if (!searches_[j].done()) searches_[j].tell(total.excess[j].value(), total.spread[j]);
    }
    return true;
  }

  [[nodiscard]] PriceSums empty_prices() const {
    PriceSums sums;
    for (auto* list : {&sums.valuation, &sums.below, &sums.payment}) list->resize(group_count());
    for (const DualSearch& search : searches_) {
      // Drops and depths are rounded to doubles here; from a pole nothing cancels.
      DropError error = problems_.error();
      if (!law_.has_pole()) error.absolute += 2 * kUnitRoundoff * std::abs(search.best_depth());
      sums.problems.emplace_back(law_, DoubleDouble{search.best_depth(), 0}, error);
    }
    return sums;
  }

  // Every sum of the pricing pass besides the certificates, in the order in which a part lists
  // them.
  static std::vector<Sum*> plain_sums(PriceSums& sums) {
    std::vector<Sum*> out = {&sums.divergence, &sums.drop};
    for (auto* list : {&sums.valuation, &sums.below, &sums.payment}) {
      for (Sum& sum : *list) out.push_back(&sum);
    }
    return out;
  }

  std::optional<PriceSums> price(const std::string& name) {
    const auto parts = run_pass(
        name, empty_prices(),
        [&](const Outcome& outcome, const auto& reward, PriceSums& into) {
          add_prices(outcome, reward, into);
        },
        [](PriceSums& sums, SegmentPart& part) {
          for (const Certificate& one : sums.problems) one.append_to(part);
          for (const Sum* sum : plain_sums(sums)) part.push_back(sum->value());
        });
    if (!parts.has_value()) return std::nullopt;
    PriceSums total = empty_prices();
    const std::vector<Sum*> sums = plain_sums(total);
    for (const SegmentPart& part : *parts) {
      const double* at = part.data();
      for (Certificate& one : total.problems) {
        one.add_part(at);
        at += Certificate::kNumbers;
      }
      for (Sum* sum : sums) sum->add(*at++);
    }
    return total;
  }

  // What one outcome adds to every certificate and to every payment.
  template <typename Reward>
  void add_prices(const Outcome& outcome, const Reward& reward, PriceSums& sums) const {
    const double weight = outcome.initial;
    const double depth = searches_[0].best_depth() + outcome.drops[0];
    const LawPoint chosen = law_.at(depth);
    sums.problems[0].add(law_, weight, outcome.drops[0], {depth, 0}, chosen);
    sums.divergence.add(weight * law_.bregman(chosen.ratio, 1, chosen.excess));
    sums.drop.add(weight * chosen.ratio * outcome.drops[0]);
    for (size_t i = 0; i < group_count(); ++i) {
      const double depth_without = searches_[i + 1].best_depth() + outcome.drops[i + 1];
      LawPoint without = law_.at(depth_without);
      sums.problems[i + 1].add(law_, weight, outcome.drops[i + 1], {depth_without, 0}, without);
      double change = ratio_change(chosen, without);
      // Close ratios are not subtracted: f'(r_p) - f'(r_q) = stake - (mu_p - mu_q). An error of
      // the difference of the mu enters a payment squared, because q maximises.
      const double step = outcome.stakes[i] - shift(i);
      if (std::abs(step) <= law_.safe_step(without)) change = law_.difference(without, step);
      sums.payment[i].add(
          weight * bregman_at_depth(law_, chosen.ratio, without.ratio, change, depth_without));
      const double value = reward(i);
      sums.valuation[i].add(weight * chosen.ratio * (value - game_.groups[i].offset));
      sums.below[i].add(weight * chosen.ratio * (game_.groups[i].top - value));
    }
  }

  // mu_p - mu_q of group i, around the centres.
  [[nodiscard]] double shift(size_t i) const {
    return problems_.lead(i) + (searches_[0].best_depth() - searches_[i + 1].best_depth());
  }

  // Whether some mass is further from 1 than rounding explains; those searches go on.
  bool reopen(const PriceSums& sums) {
    bool any = false;
    for (size_t j = 0; j < searches_.size(); ++j) {
      const Certificate& found = sums.problems[j];
      if (std::abs(found.excess()) <= 2 * found.mass_error()) continue;
      searches_[j].resume();
      searches_[j].tell(found.excess(), found.spread());
      any = any || !searches_[j].done();
    }
    return any;
  }

  [[nodiscard]] Solution conclude(const PriceSums& sums) const {
    const double mass = 1 + sums.problems[0].excess();
    const double model_error = sums.problems[0].model_error();
    const StreamTotals& totals = problems_.totals();
    const auto optimum = [&](size_t problem) {
      const double top = moments_.tops[problem].value();
      const Bounded value = sums.problems[problem].value(law_);
      const double scale = totals.plain_error();  // of the scales that make up the highest total
      return Bounded{top + value.value, around(top, scale) + value.enclosure};
    };
    Solution out = outcomes_of(game_);
    out.reads = reads_;
    const Bounded welfare = optimum(0);
    out.welfare_enclosure = welfare.enclosure;
    Sum direct;
    for (size_t i = 0; i < group_count(); ++i) {
      set_group(sums, mass, model_error, i, out.groups[i]);
      direct.add(out.groups[i].valuation);
    }
    direct.add(-sums.divergence.value());
    out.welfare = welfare.enclosure.nearest(direct.value());
    const double drop = sums.drop.value() / mass;
    out.divergence = sums.divergence.value();
    out.divergence_enclosure =
        -sums.problems[0].value(law_).enclosure -
        around(drop,
               totals.range() * model_error + 16 * kUnitRoundoff * drop + 2 * totals.plain_error());
    finish_outcomes(out);
    for (size_t i = 0; i < group_count(); ++i) {
      const Bounded without = optimum(i + 1);
      out.groups[i].welfare_without_enclosure = without.enclosure;
      out.groups[i].welfare_without = without.value;
    }
    return out;
  }

  void set_group(const PriceSums& sums, double mass, double model_error, size_t i,
                 GroupOutcome& out) const {
    const StreamTotals& totals = problems_.totals();
    const double rate = totals.rate(i).value();
    const double range = totals.range(i);
    const double rounding = 16 * kUnitRoundoff + 2 * game_.reward_scale_error;
    out.valuation = rate * (sums.valuation[i].value() / mass);
    out.valuation_enclosure = around(out.valuation, range * model_error + rounding * out.valuation);
    if (range == 0) return;  // a constant reward pays nothing
    out.payment = sums.payment[i].value();
    // (highest_{-i} - highest + w_i max rm_i) + (value_{-i} - value) - w_i (max rm_i - v_i)
    const DoubleDouble lead =
        (moments_.tops[i + 1] - moments_.tops[0]) + totals.stake(i, game_.groups[i].top);
    const double shortfall = rate * (sums.below[i].value() / mass);
    const Enclosure optima =
        sums.problems[i + 1].value(law_).enclosure - sums.problems[0].value(law_).enclosure;
    out.payment_enclosure = both(around(lead.value(), 4 * totals.error()) + optima -
                                     around(shortfall, range * model_error + rounding * shortfall),
                                 {0, range});
  }

  const StreamGame& game_;
  const GameMoments& moments_;
  const StreamProblems& problems_;
  const Law& law_;
  SegmentPasses& passes_;
  std::vector<DualSearch> searches_;
  int reads_ = 1;  // the moments
};

}  // namespace

std::optional<Solution> solve_lock_step(const StreamGame& game, const GameMoments& moments,
                                        SegmentPasses& passes) {
  const StreamProblems problems(game, moments);
  return std::visit(
      [&](const auto& law) { return LockStep(game, moments, problems, law, passes).run(); },
      law_of(game.divergence, problems.anchor()));
}

}  // namespace candor
