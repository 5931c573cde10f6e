#include <algorithm>
#include <cmath>
#include <limits>

#include "core/block_parts.h"
#include "core/stream_parts.h"
#include "core/sum.h"

namespace candor {

namespace {

// The outcome that takes the mass of all that lie more than 2L below it, and the others' highest
// totals; totals around the groups' first means.
struct Top {
  double total = -std::numeric_limits<double>::infinity();  // s
  double initial = 0;                                       // p0 there, as reported
  size_t outcome = 0;
  std::vector<double> rewards;  // [n], as reported
  std::vector<double> others;   // [n], max s_{-i}
};

// Whether the groups, asked in order, would rather have a than b: the tie order of MATH 1.
template <typename Reward>
bool precedes(const Reward& a, size_t a_outcome, const std::vector<double>& b, size_t b_outcome) {
  for (size_t i = 0; i < b.size(); ++i) {
    if (a(i) != b[i]) return a(i) > b[i];
  }
  return a_outcome < b_outcome;
}

class TvStream {
 public:
  TvStream(const StreamGame& game, SegmentPasses& passes) : game_(game), passes_(passes) {}

  std::optional<Solution> run() {
    if (!find_top()) return std::nullopt;
    const auto parts = passes_.run("tv", [&](size_t segment) { return sums_of(segment); });
    if (!parts.has_value()) return std::nullopt;
    return price(*parts);
  }

 private:
  [[nodiscard]] size_t n() const { return game_.groups.size(); }
  // w_i (rm_i - centre_i)
  [[nodiscard]] double stake(size_t group, double reward) const {
    const StreamGroup& one = game_.groups[group];
    return one.group_size * one.scale * (reward - one.first_mean);
  }
  template <typename Reward>
  [[nodiscard]] double total(const Reward& reward) const {
    double sum = 0;
    for (size_t i = 0; i < n(); ++i) sum += stake(i, reward(i));
    return sum;
  }

  // One pass: segment tops as [s, p0, outcome, rewards, others].
  bool find_top() {
    const auto parts = passes_.run("top", [&](size_t segment) {
      Top top{.rewards = std::vector<double>(n()),
              .others = std::vector<double>(n(), -std::numeric_limits<double>::infinity())};
      visit_segment(game_, segment, [&](size_t outcome, double initial, const auto& reward) {
        const double sum = total(reward);
        for (size_t i = 0; i < n(); ++i) {
          top.others[i] = std::max(top.others[i], sum - stake(i, reward(i)));
        }
        const bool tie = sum == top.total;
        if (sum < top.total || (tie && !precedes(reward, outcome, top.rewards, top.outcome))) {
          return;
        }
        top.total = sum;
        top.initial = initial;
        top.outcome = outcome;
        for (size_t i = 0; i < n(); ++i) top.rewards[i] = reward(i);
      });
      SegmentPart part = {top.total, top.initial, static_cast<double>(top.outcome)};
      part.insert(part.end(), top.rewards.begin(), top.rewards.end());
      part.insert(part.end(), top.others.begin(), top.others.end());
      return part;
    });
    if (!parts.has_value()) return false;
    top_.others.assign(n(), -std::numeric_limits<double>::infinity());
    for (const SegmentPart& part : *parts) {
      const auto reward = [&](size_t i) { return part[3 + i]; };
      for (size_t i = 0; i < n(); ++i) top_.others[i] = std::max(top_.others[i], part[3 + n() + i]);
      const auto outcome = static_cast<size_t>(part[2]);
      const bool better =
          part[0] > top_.total ||
          (part[0] == top_.total && precedes(reward, outcome, top_.rewards, top_.outcome));
      if (!better) continue;
      top_.total = part[0];
      top_.initial = part[1];
      top_.outcome = outcome;
      top_.rewards.assign(part.begin() + 3, part.begin() + static_cast<ptrdiff_t>(3 + n()));
    }
    return true;
  }

  // The sums of one segment, the top outcome left out where it is what the moved mass changes:
  // moved mass, kept value, lack; then [n] each: stakes, others' totals, lacks, and of every
  // leave-one-out optimum its value and its moved mass.
  SegmentPart sums_of(size_t segment) const {
    const double strength = game_.divergence.regularization;
    std::vector<Sum> sums(3 + 5 * n());
    visit_segment(game_, segment, [&](size_t outcome, double raw, const auto& reward) {
      const double weight = raw * game_.initial_scale;
      const double sum = total(reward);
      const double surplus = top_.total - sum - 2 * strength;
      const bool is_top = outcome == top_.outcome;
      const bool gone =
          !is_top &&
          (surplus > 0 || (surplus == 0 && !precedes(reward, outcome, top_.rewards, top_.outcome)));
      const double ratio = gone ? 0 : 1;
      const double excess = gone ? -1 : 0;
      if (gone) sums[0].add(weight);
      if (!gone) sums[1].add(weight * (sum - top_.total));
      sums[2].add(weight * tv_lack(sum - top_.total + strength, ratio, excess, strength));
      for (size_t i = 0; i < n(); ++i) {
        const double own = stake(i, reward(i));
        const double below = sum - own - top_.others[i];  // s_{-i} - max s_{-i} <= 0
        if (!gone) sums[3 + i].add(weight * own);
        if (!gone) sums[3 + n() + i].add(weight * (sum - own));
        sums[3 + 2 * n() + i].add(weight * tv_lack(below + strength, ratio, excess, strength));
        const bool gone_without = -below > 2 * strength;
        if (!gone_without) sums[3 + 3 * n() + i].add(weight * below);
        if (gone_without) sums[3 + 4 * n() + i].add(weight);
      }
    });
    SegmentPart part;
    for (const Sum& one : sums) part.push_back(one.value());
    return part;
  }

  [[nodiscard]] Solution price(const std::vector<SegmentPart>& parts) const {
    const double strength = game_.divergence.regularization;
    std::vector<Sum> sums(3 + 5 * n());
    for (const SegmentPart& part : parts) {
      for (size_t k = 0; k < sums.size(); ++k) sums[k].add(part[k]);
    }
    const double moved = sums[0].value();
    const auto top_reward = [&](size_t i) { return top_.rewards[i]; };
    Solution out = outcomes_of(game_);
    out.divergence = 2 * strength * moved;
    Sum constant;
    double spread = strength;
    for (const StreamGroup& group : game_.groups) {
      const double rate = group.group_size * group.scale;
      constant.add(rate * (group.first_mean - group.offset));
      spread += rate * (group.top - group.low);
    }
    static constexpr double kRounding = 32 * std::numeric_limits<double>::epsilon();
    out.welfare = constant.value() + (top_.total + (sums[1].value() - out.divergence));
    out.gap = sums[2].value() + kRounding * spread;
    for (size_t i = 0; i < n(); ++i) {
      const StreamGroup& group = game_.groups[i];
      const double own = stake(i, top_reward(i));
      const double others_at_top = total(top_reward) - own;
      GroupOutcome& outcome = out.groups[i];
      outcome.valuation = group.group_size * group.scale * (group.first_mean - group.offset) +
                          (sums[3 + i].value() + moved * own);
      // The mass that moved lifts the top outcome above p0, which its own lack sees.
      const double slope = others_at_top - top_.others[i] + strength;
      outcome.payment =
          group.top > group.low ? sums[3 + 2 * n() + i].value() + (strength - slope) * moved : 0;
      const double without = top_.others[i] + sums[3 + 3 * n() + i].value() -
                             2 * strength * sums[3 + 4 * n() + i].value();
      const double others = sums[3 + n() + i].value() + moved * others_at_top;
      outcome.payment_error =
          std::abs(outcome.payment - (without - (others - out.divergence))) + kRounding * spread;
      outcome.utility = outcome.valuation - outcome.payment;
      outcome.welfare_without = out.welfare - outcome.valuation + outcome.payment;
    }
    out.reads = 2;
    return out;
  }

  const StreamGame& game_;
  SegmentPasses& passes_;
  Top top_;
};

}  // namespace

std::optional<Solution> solve_tv_stream(const StreamGame& game, SegmentPasses& passes) {
  return TvStream(game, passes).run();
}

}  // namespace candor
