#include <algorithm>
#include <cmath>
#include <limits>
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
  double initial = 0;                // p0, scaled
  std::vector<double> stakes;        // [n], w_i (rm_i - centre_i)
  std::vector<double> drops;         // [n + 1], max s_j - s_j,
  std::vector<double> rests;         // [n + 1], plus this
  std::vector<DoubleDouble> totals;  // [2 (n + 1)], scratch
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
  [[nodiscard]] bool precise() const { return precise_; }
  void make_precise() { precise_ = true; }
  [[nodiscard]] const StreamTotals& totals() const { return totals_; }
  [[nodiscard]] DropError error() const {
    return {.absolute = 2 * (precise_ ? totals_.error() : totals_.plain_error()),
            .initial = game_.initial_scale_error};
  }
  [[nodiscard]] Outcome blank() const {
    return {.initial = 0,
            .stakes = std::vector<double>(group_count()),
            .drops = std::vector<double>(group_count() + 1),
            .rests = std::vector<double>(group_count() + 1),
            .totals = std::vector<DoubleDouble>(2 * group_count() + 2)};
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
  [[nodiscard]] DoubleDouble lead(size_t i) const {
    const DoubleDouble origin = totals_.stake(i, moments_.rates.centre[i]);
    return (moments_.tops[0] - moments_.tops[i + 1]) - origin;
  }

 private:
  [[nodiscard]] double own_origin(size_t i) const {
    return moments_.rates.rate[i] * (moments_.rates.centre[i] - game_.groups[i].offset);
  }
  template <typename Reward>
  void fill_precisely(const Reward& reward, Outcome& out) const {
    totals_.all(reward, out.totals);
    for (size_t j = 0; j < out.drops.size(); ++j) {
      const DoubleDouble loose = loose_sum(moments_.tops[j], -out.totals[j]);
      if (anchor_ == Anchor::kPole) {  // nothing cancels there: no rests
        out.drops[j] = std::max(0.0, loose.value());
        continue;
      }
      const DoubleDouble drop = exact_sum(loose.high, loose.low);
      const bool below = drop.high > 0;
      out.drops[j] = below ? drop.high : 0;
      out.rests[j] = below ? drop.low : 0;
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

// One problem while it is solved, and where it is priced.
struct Problem {
  explicit Problem(const DualSearch::Options& options) : search(options) {}

  RefinedSearch search;
  bool resumed = false;
  // Where doubles do not come close enough to the pole (beyond_doubles): what the top outcomes'
  // ratio then is, once a pass has measured it.
  enum class Pin { kNone, kUnknown, kKnown } pin = Pin::kNone;
  double top_ratio = 0;

  // Ratios are those at `v`, or where the mass jumps over 1 between `v` and `other`, `share` of the
  // first and the rest of the second.
  DoubleDouble v, other;
  double share = 1;

  [[nodiscard]] bool done() const { return search.done() && pin != Pin::kUnknown; }
  [[nodiscard]] bool mixes() const { return share < 1; }
  void settle() {
    v = pin == Pin::kKnown ? DoubleDouble{} : search.low();
    other = search.high();
    share = pin == Pin::kKnown ? 1 : search.share();
  }
};

// What pricing adds up for one problem.
struct ProblemSums {
  Certificate proof;  // at Problem::v
  // Of the ratios, from the second pricing pass on: their mass less 1, E drop + D with the
  // magnitude of its terms, and how far each p0 r is from the closest dual variables', summed and
  // at most.
  Sum excess = {}, lost = {};
  double magnitude = 0, jump = 0, widest = 0;

  static constexpr size_t kNumbers = Certificate::kNumbers + 5;
  void append_to(SegmentPart& part) const {
    proof.append_to(part);
    part.insert(part.end(), {excess.value(), lost.value(), magnitude, jump, widest});
  }
  void add_part(const double* part) {
    proof.add_part(part);
    part += Certificate::kNumbers;
    excess.add(part[0]);
    lost.add(part[1]);
    magnitude += part[2];
    jump += part[3];
    widest = std::max(widest, part[4]);
  }
};

// What the pricing pass adds up.
struct PriceSums {
  std::vector<ProblemSums> problems;  // [n + 1]
  std::vector<double> shift;          // [n], no sum: mu_p - mu_q around the centres
  Sum divergence, drop;
  std::vector<Sum> valuation, below, payment;  // [n]: rm_i, max rm_i - rm_i under p
};

// All n+1 problems of a game under one law, advanced together.
template <typename Law>
class LockStep {
 public:
  LockStep(const StreamGame& game, const GameMoments& moments, StreamProblems& problems,
           const Law& law, SegmentPasses& passes)
      : game_(game), moments_(moments), problems_(problems), law_(law), passes_(passes) {}

  // Newton, then a pass that prices and proves. Where that finds a mass that is not 1 after all,
  // Newton goes on from there.
  std::optional<Solution> run() {
    start_from_sample();
    static constexpr int kMostRounds = 8;
    for (int round = 1;; ++round) {
      do {
        while (std::ranges::any_of(searched_, [](const Problem& one) { return !one.done(); })) {
          if (!advance(str_cat("newton ", reads_ - 1))) return std::nullopt;
          ++reads_;
        }
      } while (pin_some());
      for (Problem& one : searched_) one.settle();
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
      for (double& number : part) number = finite(number);
      return part;
    });
  }

  // A sum far from the solution can overflow, and a part is written down as plain numbers.
  static double finite(double number) {
    static constexpr double kLargest = std::numeric_limits<double>::max();
    return std::isnan(number) ? kLargest : std::clamp(number, -kLargest, kLargest);
  }

  // No drop of the problem exceeds this.
  [[nodiscard]] double drop_range(size_t problem) const {
    const double own = problem == 0 ? 0 : problems_.totals().range(problem - 1);
    return (problems_.totals().range() - own) * (1 + 1e-12) + problems_.error().absolute;
  }

  [[nodiscard]] DualSearch::Options bracket(size_t problem) const {
    return dual_bracket(law_, drop_range(problem), game_.initial_low * (1 - 1e-12),
                        game_.divergence.regularization);
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
      searched_.emplace_back(options);
    }
  }

  [[nodiscard]] DoubleDouble depth_of(const Outcome& outcome, size_t j,
                                      const DoubleDouble& v) const {
    // From a pole nothing cancels.
    if (!problems_.precise() || law_.has_pole()) return {v.value() + outcome.drops[j], 0};
    return depth_at(v, outcome.drops[j], outcome.rests[j]);
  }
  [[nodiscard]] LawPoint point_at(const DoubleDouble& depth) const {
    return problems_.precise() ? law_.at(depth) : law_.at(depth.high);
  }

  // One Newton step of every problem; false where the pass is not known.
  bool advance(const std::string& name) {
    const size_t problems = searched_.size();
    const MassSums empty{std::vector<Sum>(problems), std::vector<double>(problems)};
    const auto parts = run_pass(
        name, empty,
        [&](const Outcome& outcome, const auto&, MassSums& into) {
          for (size_t j = 0; j < problems; ++j) {
            if (searched_[j].done()) continue;
            add_mass(outcome, j, into.excess[j], into.spread[j]);
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
      Problem& one = searched_[j];
      if (one.pin == Problem::Pin::kUnknown) {
        one.pin = Problem::Pin::kKnown;
        one.top_ratio = (1 - total.excess[j].value()) / total.spread[j];
      } else if (!one.done()) {
        one.search.tell(total.excess[j].value(), total.spread[j]);
      }
    }
    return true;
  }

  void add_mass(const Outcome& outcome, size_t j, Sum& excess, double& spread) const {
    if (searched_[j].pin == Problem::Pin::kUnknown) {
      // The mass of the others at v = 0, and p0 of the top.
      if (outcome.drops[j] == 0) {
        spread += outcome.initial;
      } else {
        excess.add(outcome.initial * law_.ratio(outcome.drops[j]));
      }
      return;
    }
    const LawPoint point = point_at(depth_of(outcome, j, searched_[j].search.next()));
    excess.add(outcome.initial * point.excess);
    spread += outcome.initial * point.ratio * point.reach;
  }

  // Whether some problem turns out to need one more pass, because v is beyond doubles.
  bool pin_some() {
    bool any = false;
    for (Problem& one : searched_) {
      if (one.pin != Problem::Pin::kNone) continue;
      if (!beyond_doubles(law_, one.search.best().high)) continue;
      one.pin = Problem::Pin::kUnknown;
      any = true;
    }
    return any;
  }

  [[nodiscard]] PriceSums empty_prices() const {
    PriceSums sums;
    for (auto* list : {&sums.valuation, &sums.below, &sums.payment}) list->resize(group_count());
    for (size_t i = 0; i < group_count(); ++i) sums.shift.push_back(shift(i));
    for (const Problem& one : searched_) {
      // In plain arithmetic depths are rounded to doubles; from a pole nothing cancels.
      DropError error = problems_.error();
      if (!problems_.precise()) error.absolute += 2 * kUnitRoundoff * std::abs(one.v.high);
      sums.problems.push_back({.proof = Certificate(law_, one.v, error)});
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
          for (const ProblemSums& one : sums.problems) one.append_to(part);
          for (const Sum* sum : plain_sums(sums)) part.push_back(sum->value());
        });
    if (!parts.has_value()) return std::nullopt;
    PriceSums total = empty_prices();
    const std::vector<Sum*> sums = plain_sums(total);
    for (const SegmentPart& part : *parts) {
      const double* at = part.data();
      for (ProblemSums& one : total.problems) {
        one.add_part(at);
        at += ProblemSums::kNumbers;
      }
      for (Sum* sum : sums) sum->add(*at++);
    }
    return total;
  }

  // An outcome as a problem's solution sees it.
  struct Placed {
    DoubleDouble depth;
    LawPoint point;
  };

  // One outcome of one problem, added to what proves it.
  Placed place(const Outcome& outcome, size_t j, ProblemSums& sums) const {
    const Problem& one = searched_[j];
    const double weight = outcome.initial;
    const double drop = outcome.drops[j];
    Placed out{.depth = depth_of(outcome, j, one.v), .point = {}};
    const bool pinned = one.pin == Problem::Pin::kKnown && drop == 0;
    out.point = pinned ? LawPoint{one.top_ratio, one.top_ratio - 1, 0} : point_at(out.depth);
    sums.proof.add(law_, weight, drop, out.depth, out.point);
    if (!thorough_) return out;
    if (one.mixes()) {
      const LawPoint other = point_at(depth_of(outcome, j, one.other));
      const double jump = weight * std::abs(out.point.ratio - other.ratio);
      sums.jump += jump;
      sums.widest = std::max(sums.widest, jump);
      out.point.ratio = one.share * out.point.ratio + (1 - one.share) * other.ratio;
      out.point.excess = one.share * out.point.excess + (1 - one.share) * other.excess;
    }
    const double cost = weight * law_.bregman(out.point.ratio, 1, out.point.excess);
    const double mass = weight * out.point.ratio;
    sums.excess.add(weight * out.point.excess);
    sums.lost.add(mass * drop);
    sums.lost.add(cost);
    sums.magnitude += mass * (drop + std::abs(out.depth.high) + law_.top()) + cost;
    return out;
  }

  // What one outcome adds to every certificate and to every payment.
  template <typename Reward>
  void add_prices(const Outcome& outcome, const Reward& reward, PriceSums& sums) const {
    const double weight = outcome.initial;
    const LawPoint chosen = place(outcome, 0, sums.problems[0]).point;
    sums.divergence.add(weight * law_.bregman(chosen.ratio, 1, chosen.excess));
    sums.drop.add(weight * chosen.ratio * outcome.drops[0]);
    for (size_t i = 0; i < group_count(); ++i) {
      const Placed other = place(outcome, i + 1, sums.problems[i + 1]);
      const LawPoint& without = other.point;
      double change = ratio_change(chosen, without);
      // Close ratios are not subtracted: f'(r_p) - f'(r_q) = stake - (mu_p - mu_q). An error of
      // the difference of the mu enters a payment squared, because q maximises.
      const double step = outcome.stakes[i] - sums.shift[i];
      if (std::abs(step) <= law_.safe_step(without)) change = law_.difference(without, step);
      sums.payment[i].add(
          weight * bregman_at_depth(law_, chosen.ratio, without.ratio, change, other.depth.high));
      const double value = reward(i);
      sums.valuation[i].add(weight * chosen.ratio * (value - game_.groups[i].offset));
      sums.below[i].add(weight * chosen.ratio * (game_.groups[i].top - value));
    }
  }

  // mu_p - mu_q of group i, around the centres; not a number where ratios lie between those of two
  // dual variables.
  [[nodiscard]] double shift(size_t i) const {
    const Problem& all = searched_[0];
    const Problem& others = searched_[i + 1];
    const bool one_each = !all.mixes() && !others.mixes() && all.pin == Problem::Pin::kNone &&
                          others.pin == Problem::Pin::kNone;
    if (!one_each) return std::numeric_limits<double>::quiet_NaN();
    return (problems_.lead(i) + (all.v - others.v)).value();
  }

  // Whether some mass is further from 1 than rounding explains, or not known well: those searches
  // go on, and the next pass prices with more care.
  bool reopen(const PriceSums& sums) {
    const bool was_precise = problems_.precise();
    bool again = false;
    for (size_t j = 0; j < searched_.size(); ++j) {
      const bool coarse = is_coarse(sums.problems[j].proof);
      again = again || (coarse && !thorough_);
      const bool hopeless = searched_[j].resumed || !is_open(j, sums);
      if (coarse && hopeless) problems_.make_precise();
    }
    again = again || problems_.precise() != was_precise;
    for (size_t j = 0; j < searched_.size(); ++j) {
      if (!is_open(j, sums)) continue;
      RefinedSearch& search = searched_[j].search;
      const bool refines = problems_.precise() && !search.refined();
      if (refines) {
        search.refine(16 * kUnitRoundoff * drop_range(j) + 4 * problems_.totals().plain_error());
      } else {
        search.resume();
      }
      searched_[j].resumed = true;
      // What plain arithmetic found is no mass of the precise drops.
      const Certificate& found = sums.problems[j].proof;
      if (problems_.precise() == was_precise) search.tell(found.excess(), found.spread());
      again = again || !search.done();
    }
    thorough_ = thorough_ || again;
    return again;
  }
  [[nodiscard]] bool is_open(size_t j, const PriceSums& sums) const {
    const Certificate& found = sums.problems[j].proof;
    if (searched_[j].pin != Problem::Pin::kNone || searched_[j].search.jumps()) return false;
    return !(std::abs(found.excess()) <= 2 * found.mass_error());
  }
  // Whether its ratios leave much open.
  static bool is_coarse(const Certificate& found) {
    static constexpr double kCoarse = 1e-9;
    return !(std::abs(found.excess()) + found.mass_error() + found.edges() <= kCoarse);
  }

  // max_p {sum p s - D} less max s of a problem.
  [[nodiscard]] Bounded value(const PriceSums& sums, size_t problem) const {
    const ProblemSums& found = sums.problems[problem];
    Bounded out = found.proof.value(law_);
    out.enclosure.low = std::max(reached(found), out.enclosure.low);
    // What p0 itself reaches; and the outcome of the highest total alone reaches no more than 0.
    return out.within({-drop_range(problem), 0});
  }

  // Surely no more than what the model p0 r, normalised, reaches; minus infinity where its mass is
  // too far from 1 or not known.
  [[nodiscard]] double reached(const ProblemSums& found) const {
    static constexpr double kNear = 1e-6;
    const double off = std::abs(found.excess.value()) + problems_.error().initial;
    if (!thorough_ || !(off < kNear)) return -std::numeric_limits<double>::infinity();
    const double magnitude = found.magnitude + game_.divergence.regularization;
    const double low = -found.lost.value() - (3 * off + 64 * kUnitRoundoff) * magnitude -
                       problems_.error().absolute;
    return std::isnan(low) ? -std::numeric_limits<double>::infinity() : low;
  }

  // |E_p g - E_p* g| <= range(g) times this, p the model.
  [[nodiscard]] double model_error(const PriceSums& sums) const {
    const Problem& one = searched_[0];
    const ProblemSums& found = sums.problems[0];
    double error = found.proof.model_error();
    if (one.mixes()) {
      // One outcome alone has the mass that the others leave it.
      error = 2 * (found.proof.mass_error() + std::abs(found.excess.value())) + found.jump -
              found.widest;
    }
    const bool pinned = one.pin == Problem::Pin::kKnown;
    return pinned && !found.proof.tops_decided() ? 1 : error <= 1 ? error : 1;
  }

  [[nodiscard]] Solution conclude(const PriceSums& sums) const {
    const ProblemSums& all = sums.problems[0];
    const double mass = 1 + (thorough_ ? all.excess.value() : all.proof.excess());
    const double model_error = this->model_error(sums);
    const StreamTotals& totals = problems_.totals();
    const auto optimum = [&](size_t problem) {
      const double top = moments_.tops[problem].value();
      const Bounded found = value(sums, problem);
      const double scale = totals.plain_error();  // of the scales that make up the highest total
      return Bounded{top + found.value, around(top, scale) + found.enclosure};
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
        -value(sums, 0).enclosure -
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
    const Enclosure optima = value(sums, i + 1).enclosure - value(sums, 0).enclosure;
    out.payment_enclosure = both(around(lead.value(), 4 * totals.error()) + optima -
                                     around(shortfall, range * model_error + rounding * shortfall),
                                 {0, range});
  }

  const StreamGame& game_;
  const GameMoments& moments_;
  StreamProblems& problems_;
  const Law& law_;
  SegmentPasses& passes_;
  std::vector<Problem> searched_;  // [n + 1]
  bool thorough_ = false;          // whether pricing went wrong once: ProblemSums then are complete
  int reads_ = 1;                  // the moments
};

}  // namespace

size_t price_numbers(size_t groups) {
  return ProblemSums::kNumbers * (groups + 1) + 2 + 3 * groups;
}

std::optional<Solution> solve_lock_step(const StreamGame& game, const GameMoments& moments,
                                        SegmentPasses& passes) {
  StreamProblems problems(game, moments);
  return std::visit(
      [&](const auto& law) { return LockStep(game, moments, problems, law, passes).run(); },
      law_of(game.divergence, problems.anchor()));
}

}  // namespace candor
