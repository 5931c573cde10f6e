#include <algorithm>
#include <cmath>
#include <limits>

#include "core/block_parts.h"
#include "core/stream_parts.h"
#include "core/sum.h"

namespace candor {

namespace {

constexpr double kNone = -std::numeric_limits<double>::infinity();

// The outcome that takes the mass of all that lie more than 2L below it, and the others' highest
// totals.
struct Top {
  DoubleDouble total{kNone, 0};  // s
  double initial = 0;            // p0 there, as reported
  size_t outcome = 0;
  std::vector<double> rewards;       // [n], as reported
  std::vector<DoubleDouble> others;  // [n], max s_{-i}
};

// Whether the groups, asked in order, would rather have a than b: the tie order of MATH 1.
template <typename Reward>
bool precedes(const Reward& a, size_t a_outcome, const std::vector<double>& b, size_t b_outcome) {
  for (size_t i = 0; i < b.size(); ++i) {
    if (a(i) != b[i]) return a(i) > b[i];
  }
  return a_outcome < b_outcome;
}

// Totals decide which mass moves. They are taken in plain arithmetic first, and to 106 bits where
// its rounding leaves a decision open; what is open then widens the enclosures.
class TvStream {
 public:
  TvStream(const StreamGame& game, SegmentPasses& passes)
      : game_(game), passes_(passes), totals_(game), reach_(2 * game.divergence.regularization) {}

  std::optional<Solution> run() {
    if (!find_top()) return std::nullopt;
    const auto parts = passes_.run("tv", [&](size_t segment) { return sums_of(segment); });
    if (!parts.has_value()) return std::nullopt;
    return price(*parts);
  }

 private:
  // What pass "tv" adds up, the top outcome left out where it is what the moved mass changes.
  struct TvSums {
    Sum moved, lost, open, rivals;  // mass, kept mass times drop, undecided mass, rivals of the top
    std::vector<Sum> kept;          // [n], kept mass times reward
    std::vector<Sum> below;         // [n], kept mass times (max reward - reward)
    std::vector<Sum> lack;          // [n]
    std::vector<Sum> lost_without, moved_without;  // [n], of the leave-one-out optima
    explicit TvSums(size_t n) : kept(n), below(n), lack(n), lost_without(n), moved_without(n) {}

    [[nodiscard]] std::vector<Sum*> all() {
      std::vector<Sum*> out = {&moved, &lost, &open, &rivals};
      for (auto* list : {&kept, &below, &lack, &lost_without, &moved_without}) {
        for (Sum& sum : *list) out.push_back(&sum);
      }
      return out;
    }
  };

  [[nodiscard]] size_t n() const { return game_.groups.size(); }
  template <typename Reward>
  [[nodiscard]] double plain_total(const Reward& reward) const {
    double sum = 0;
    for (size_t i = 0; i < n(); ++i) sum += plain_stake(i, reward(i));
    return sum;
  }
  [[nodiscard]] double plain_stake(size_t group, double reward) const {
    return totals_.rate(group).high * (reward - game_.groups[group].offset);
  }
  [[nodiscard]] double margin() const { return 2 * totals_.plain_error(); }

  // One pass: segment tops as [s high, s low, p0, outcome, rewards, others high, others low].
  bool find_top() {
    const auto parts = passes_.run("top", [&](size_t segment) {
      Top top{.rewards = std::vector<double>(n()),
              .others = std::vector<DoubleDouble>(n(), {kNone, 0})};
      visit_segment(game_, segment, [&](size_t outcome, double initial, const auto& reward) {
        raise(outcome, initial, reward, top);
      });
      SegmentPart part = {top.total.high, top.total.low, top.initial,
                          static_cast<double>(top.outcome)};
      part.insert(part.end(), top.rewards.begin(), top.rewards.end());
      for (const DoubleDouble& one : top.others) part.push_back(one.high);
      for (const DoubleDouble& one : top.others) part.push_back(one.low);
      return part;
    });
    if (!parts.has_value()) return false;
    top_.rewards.assign(n(), 0);
    top_.others.assign(n(), {kNone, 0});
    for (const SegmentPart& part : *parts) merge(part);
    return true;
  }

  template <typename Reward>
  void raise(size_t outcome, double initial, const Reward& reward, Top& top) const {
    const double plain = plain_total(reward);
    bool near = plain + margin() >= top.total.high;
    for (size_t i = 0; i < n(); ++i) {
      const double others = plain - plain_stake(i, reward(i));
      near = near || others + margin() >= top.others[i].high;
    }
    if (!near) return;
    const DoubleDouble total = totals_.total(reward);
    for (size_t i = 0; i < n(); ++i) {
      const DoubleDouble others = total - totals_.stake(i, reward(i));
      if (top.others[i] < others) top.others[i] = others;
    }
    if (!leads(total, reward, outcome, top)) return;
    top.total = total;
    top.initial = initial;
    top.outcome = outcome;
    for (size_t i = 0; i < n(); ++i) top.rewards[i] = reward(i);
  }

  template <typename Reward>
  static bool leads(const DoubleDouble& total, const Reward& reward, size_t outcome,
                    const Top& top) {
    if (top.total < total) return true;
    return !(total < top.total) && precedes(reward, outcome, top.rewards, top.outcome);
  }

  void merge(const SegmentPart& part) {
    for (size_t i = 0; i < n(); ++i) {
      const DoubleDouble others{part[4 + n() + i], part[4 + 2 * n() + i]};
      if (top_.others[i] < others) top_.others[i] = others;
    }
    const DoubleDouble total{part[0], part[1]};
    const auto outcome = static_cast<size_t>(part[3]);
    if (!leads(
            total, [&](size_t i) { return part[4 + i]; }, outcome, top_))
      return;
    top_.total = total;
    top_.initial = part[2];
    top_.outcome = outcome;
    top_.rewards.assign(part.begin() + 4, part.begin() + static_cast<ptrdiff_t>(4 + n()));
  }

  // How far an outcome lies below the top, and whether its mass moves there.
  struct Place {
    double drop = 0;
    bool gone = false;
    bool open = false;   // rounding leaves that undecided
    bool rival = false;  // or whether the top is the top
  };
  template <typename Reward>
  [[nodiscard]] Place place_of(size_t outcome, const Reward& reward) const {
    const double plain = top_.total.high - plain_total(reward);
    if (outcome == top_.outcome) return {};
    if (plain > margin() && std::abs(plain - reach_) > margin()) {
      return {.drop = plain, .gone = plain > reach_};
    }
    const DoubleDouble total = totals_.total(reward);
    const DoubleDouble drop = top_.total - total;
    const double surplus = (drop - DoubleDouble{reach_, 0}).value();
    const bool exact = totals_.exact() && total.low == 0 && top_.total.low == 0 && drop.low == 0;
    Place out{.drop = std::max(0.0, drop.value())};
    out.gone =
        surplus > 0 || (surplus == 0 && !precedes(reward, outcome, top_.rewards, top_.outcome));
    out.open = !exact && std::abs(surplus) <= totals_.error();
    out.rival = !exact && out.drop <= totals_.error() && !same_as_top(reward);
    return out;
  }
  template <typename Reward>
  [[nodiscard]] bool same_as_top(const Reward& reward) const {
    for (size_t i = 0; i < n(); ++i) {
      if (reward(i) != top_.rewards[i]) return false;
    }
    return true;
  }

  SegmentPart sums_of(size_t segment) const {
    const double strength = game_.divergence.regularization;
    TvSums sums(n());
    visit_segment(game_, segment, [&](size_t outcome, double raw, const auto& reward) {
      const double weight = raw * game_.initial_scale;
      const Place place = place_of(outcome, reward);
      if (place.gone) sums.moved.add(weight);
      if (!place.gone) sums.lost.add(weight * place.drop);
      if (place.open) sums.open.add(weight);
      if (place.rival) sums.rivals.add(1);
      const double total = plain_total(reward);
      for (size_t i = 0; i < n(); ++i) {
        const double drop =
            std::max(0.0, top_.others[i].high - (total - plain_stake(i, reward(i))));
        if (!place.gone) sums.kept[i].add(weight * (reward(i) - game_.groups[i].offset));
        if (!place.gone) sums.below[i].add(weight * (game_.groups[i].top - reward(i)));
        sums.lack[i].add(
            weight * tv_lack(strength - drop, place.gone ? 0 : 1, place.gone ? -1 : 0, strength));
        if (drop <= reach_) sums.lost_without[i].add(weight * drop);
        if (drop > reach_) sums.moved_without[i].add(weight);
      }
    });
    SegmentPart part;
    for (const Sum* sum : sums.all()) part.push_back(sum->value());
    return part;
  }

  [[nodiscard]] Solution price(const std::vector<SegmentPart>& parts) const {
    TvSums sums(n());
    const std::vector<Sum*> all = sums.all();
    for (const SegmentPart& part : parts) {
      for (size_t k = 0; k < all.size(); ++k) all[k]->add(part[k]);
    }
    const double moved = sums.moved.value();
    const double relative = 16 * kUnitRoundoff + 2 * game_.initial_scale_error;
    const auto optimum = [&](double lost, double mass) {
      const double value = -lost - reach_ * mass;
      return Bounded{value, around(value, relative * std::abs(value) + margin())};
    };
    const Bounded full = optimum(sums.lost.value(), moved);
    const double open =
        sums.open.value() + (sums.rivals.value() > 0 ? moved + sums.open.value() : 0) + relative;
    Solution out = outcomes_of(game_);
    out.reads = 2;
    out.divergence = reach_ * moved;
    out.divergence_enclosure =
        around(out.divergence, relative * out.divergence + reach_ * sums.open.value());
    const double top = top_.total.value();
    out.welfare = top + full.value;
    out.welfare_enclosure = around(top, margin()) + full.enclosure;
    std::vector<Bounded> without;
    for (size_t i = 0; i < n(); ++i) {
      without.push_back(optimum(sums.lost_without[i].value(), sums.moved_without[i].value()));
      set_group(sums, full, without[i], open, i, out.groups[i]);
    }
    finish_outcomes(out);
    for (size_t i = 0; i < n(); ++i) {
      const double others = top_.others[i].value();
      out.groups[i].welfare_without = others + without[i].value;
      out.groups[i].welfare_without_enclosure = around(others, margin()) + without[i].enclosure;
    }
    return out;
  }

  void set_group(const TvSums& sums, const Bounded& full, const Bounded& without, double open,
                 size_t i, GroupOutcome& out) const {
    const StreamGroup& group = game_.groups[i];
    const double rate = totals_.rate(i).value();
    const double range = totals_.range(i);
    const double moved = sums.moved.value();
    const double relative = 2 * open + 2 * game_.reward_scale_error;
    out.valuation = rate * (sums.kept[i].value() + moved * (top_.rewards[i] - group.offset));
    const double rounding =
        16 * kUnitRoundoff + 2 * (game_.initial_scale_error + game_.reward_scale_error);
    out.valuation_enclosure = around(out.valuation, range * relative + rounding * out.valuation);
    if (range == 0) return;  // a constant reward pays nothing
    const DoubleDouble others_at_top = top_.total - totals_.stake(i, top_.rewards[i]);
    // The mass that moved lifts the top outcome above p0, which its own lack sees.
    const double top_drop = (top_.others[i] - others_at_top).value();
    out.payment = sums.lack[i].value() + top_drop * moved;
    const double shortfall = rate * (sums.below[i].value() + moved * (group.top - top_.rewards[i]));
    const DoubleDouble lead = (top_.others[i] - top_.total) + totals_.stake(i, group.top);
    out.payment_enclosure =
        both(around(lead.value(), 4 * totals_.error()) + (without.enclosure - full.enclosure) -
                 around(shortfall, range * relative + rounding * shortfall),
             {0, range});
  }

  const StreamGame& game_;
  SegmentPasses& passes_;
  StreamTotals totals_;
  double reach_;  // 2L
  Top top_;
};

}  // namespace

std::optional<Solution> solve_tv_stream(const StreamGame& game, SegmentPasses& passes) {
  return TvStream(game, passes).run();
}

}  // namespace candor
