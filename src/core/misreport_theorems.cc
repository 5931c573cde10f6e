#include "core/misreport_theorems.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/strings.h"
#include "core/concave_rule.h"

namespace candor {

namespace {

constexpr double kRounding = 1e-12;

std::string shown(double value) { return format_short(value, 4); }

size_t place_of(const std::vector<double>& values, std::vector<double>::const_iterator at) {
  return static_cast<size_t>(at - values.begin());
}

class Checker {
 public:
  Checker(const Game& game, size_t group, const std::vector<double>& model)
      : game_(game),
        reward_(game.groups[group].reward),
        least_(std::ranges::min(reward_)),
        largest_(std::ranges::max(reward_)),
        standing_(standing_assumptions(model)) {
    if (standing_.empty()) find_slopes(model);
  }

  [[nodiscard]] MisreportTheorems all() {
    MisreportTheorems out;
    check_3_2(out);
    out.thm_a_1 = check_a_1();
    out.thm_e_2 = {check_e_2_max(), check_e_2_down(), check_e_2_pair()};
    sum_up_e_2(out);
    out.t = std::move(t_);
    out.gentle_change = gentle_change_;
    return out;
  }

 private:
  // What Sec. 3 assumes of every theorem; the first that fails, or nothing.
  [[nodiscard]] std::string standing_assumptions(const std::vector<double>& model) const {
    if (!game_.candidates.empty()) {
      return str_cat("the models are a menu of ", game_.candidates.size(),
                     "; the theorem is about all distributions");
    }
    if (game_.divergence.kind == DivergenceKind::kTv) return "tv is not strictly convex";
    const auto zero = std::ranges::find_if(model, [](double p) { return !(p > 0); });
    if (zero == model.end()) return "";
    return str_cat("the truthful model gives outcome ", place_of(model, zero), " no mass");
  }

  void find_slopes(const std::vector<double>& model) {
    sensitivity_ = mass_sensitivity(game_, model);
    t_.resize(reward_.size());
    rounding_.resize(reward_.size());
    double steepest = 0;
    for (size_t block = 0; block < game_.block_count(); ++block) {
      const size_t begin = game_.block_begin[block];
      const size_t end = game_.block_begin[block + 1];
      double mass = 0;
      double sum = 0;
      for (size_t x = begin; x < end; ++x) {
        mass += sensitivity_[x];
        sum += sensitivity_[x] * reward_[x];
        steepest = std::max(steepest, sensitivity_[x] / model[x]);
      }
      for (size_t x = begin; x < end; ++x) {
        t_[x] = reward_[x] * mass - sum;
        rounding_[x] = kRounding * (reward_[x] * mass + sum);
      }
    }
    gentle_change_ = steepest > 0 ? 0.01 / steepest : 0;
  }

  [[nodiscard]] bool positive_t(size_t x) const { return t_[x] > rounding_[x]; }
  [[nodiscard]] bool negative_t(size_t x) const { return t_[x] < -rounding_[x]; }
  [[nodiscard]] bool is_sum() const { return game_.normalization == Normalization::kSum; }
  [[nodiscard]] double top() const {
    return game_.normalization == Normalization::kNone ? std::max(1.0, largest_) : 1.0;
  }
  [[nodiscard]] bool inner(size_t x) const { return reward_[x] > 0 && reward_[x] < top(); }

  // Thm 3.2: the worst outcome of every prompt with two values.
  [[nodiscard]] std::vector<RewardMove> moves_3_2() const {
    std::vector<RewardMove> moves;
    for (size_t block = 0; block < game_.block_count(); ++block) {
      const auto begin = reward_.begin() + static_cast<ptrdiff_t>(game_.block_begin[block]);
      const auto end = reward_.begin() + static_cast<ptrdiff_t>(game_.block_begin[block + 1]);
      const auto [worst, best] = std::minmax_element(begin, end);
      if (*worst == *best) continue;
      RewardMove move{.up = {}, .down = place_of(reward_, worst), .most = *worst};
      if (is_sum()) move.up = place_of(reward_, best);
      moves.push_back(move);
    }
    return moves;
  }

  void check_3_2(MisreportTheorems& out) const {
    std::vector<RewardMove> moves = moves_3_2();
    TheoremCheck& check = out.thm_3_2;
    if (moves.empty()) {
      check.holds = true;
      out.thm_3_2_case = 1;
      check.why = least_ == largest_
                      ? "one reward value: every model is worth the same"
                      : "one reward value in each prompt: every model is worth the same";
      return;
    }
    if (!(least_ > 0)) {
      check.why = "the least reward is 0, which Thm E.2 is about";
      return;
    }
    check.moves = std::move(moves);
    check.why = standing_;
    if (!standing_.empty()) return;
    check.holds = true;
    out.thm_3_2_case = 2;
    std::vector<double> values = reward_;
    std::ranges::sort(values);
    const auto different = std::unique(values.begin(), values.end()) - values.begin();
    check.why = str_cat(different, " reward values, the least ", shown(least_),
                        ", and a model that is positive everywhere");
  }

  [[nodiscard]] TheoremCheck check_a_1() const {
    TheoremCheck check{.holds = false, .why = standing_, .moves = {}};
    if (!standing_.empty()) return check;
    const auto at = std::ranges::max_element(
        t_, [](double left, double right) { return std::abs(left) < std::abs(right); });
    const size_t x = place_of(t_, at);
    check.holds = positive_t(x) || negative_t(x);
    check.why =
        check.holds ? str_cat("t is ", shown(t_[x]), " at outcome ", x) : "t is 0 at every outcome";
    return check;
  }

  // What the three statements share; the first assumption that fails, or nothing.
  [[nodiscard]] std::string shared_e_2(bool sum) const {
    if (sum != is_sum()) {
      return sum ? "it is about sum normalisation" : "it is about max normalisation";
    }
    if (least_ == largest_) return "there is one reward value alone";
    if (least_ > 0) return str_cat("the least reward is ", shown(least_), ", not 0");
    return standing_;
  }

  [[nodiscard]] TheoremCheck check_e_2_max() const {
    TheoremCheck check{.holds = false, .why = shared_e_2(false), .moves = {}};
    if (!check.why.empty()) return check;
    size_t best = reward_.size();
    for (size_t x = 0; x < reward_.size(); ++x) {
      if (!inner(x) || !(positive_t(x) || negative_t(x))) continue;
      if (best == reward_.size() || effect(x) > effect(best)) best = x;
    }
    if (best == reward_.size()) {
      bool any = false;
      for (size_t x = 0; x < reward_.size(); ++x) any = any || inner(x);
      check.why = any ? "t is 0 wherever the reward lies strictly between 0 and 1"
                      : "no reward lies strictly between 0 and 1";
      return check;
    }
    check.holds = true;
    check.why = str_cat("t is ", shown(t_[best]), " at outcome ", best, ", whose reward is ",
                        shown(reward_[best]));
    check.moves.push_back(t_[best] > 0
                              ? RewardMove{.up = best, .down = {}, .most = top() - reward_[best]}
                              : RewardMove{.up = {}, .down = best, .most = reward_[best]});
    return check;
  }

  [[nodiscard]] TheoremCheck check_e_2_down() const {
    TheoremCheck check{.holds = false, .why = shared_e_2(true), .moves = {}};
    if (!check.why.empty()) return check;
    size_t worst = reward_.size();
    for (size_t x = 0; x < reward_.size(); ++x) {
      if (!inner(x) || !negative_t(x)) continue;
      if (worst == reward_.size() || effect(x) > effect(worst)) worst = x;
    }
    if (worst == reward_.size()) {
      check.why = "t is negative at no outcome of positive reward";
      return check;
    }
    const size_t best = place_of(reward_, std::ranges::max_element(reward_));
    check.holds = true;
    check.why = str_cat("t is ", shown(t_[worst]), " at outcome ", worst, ", whose reward is ",
                        shown(reward_[worst]));
    check.moves.push_back(
        {.up = best, .down = worst, .most = std::min(reward_[worst], 1 - reward_[best])});
    return check;
  }

  // For each x1 the outcome of the same prompt with the least p0/f'' among those of a positive
  // reward that is not larger: where that one does not answer less, none does.
  [[nodiscard]] TheoremCheck check_e_2_pair() const {
    TheoremCheck check{.holds = false, .why = shared_e_2(true), .moves = {}};
    if (!check.why.empty()) return check;
    RewardMove found;
    double most = 0;
    for (size_t block = 0; block < game_.block_count(); ++block) {
      std::vector<size_t> order(game_.block_begin[block + 1] - game_.block_begin[block]);
      std::iota(order.begin(), order.end(), game_.block_begin[block]);
      std::ranges::sort(order, {}, [&](size_t x) { return reward_[x]; });
      size_t stiffest = reward_.size();
      size_t next = 0;  // of `order`: not yet looked at as x2
      for (const size_t x : order) {
        for (; next < order.size() && reward_[order[next]] <= reward_[x]; ++next) {
          const size_t y = order[next];
          if (!(reward_[y] > 0)) continue;
          if (stiffest == reward_.size() || sensitivity_[y] < sensitivity_[stiffest]) stiffest = y;
        }
        if (stiffest == reward_.size() || !positive_t(x) || !inner(x)) continue;
        if (!(sensitivity_[stiffest] < sensitivity_[x] * (1 - kRounding))) continue;
        const double gain = effect(x) - t_[stiffest] * sensitivity_[stiffest];
        if (found.up.has_value() && gain <= most) continue;
        most = gain;
        found = {.up = x, .down = stiffest, .most = std::min(1 - reward_[x], reward_[stiffest])};
      }
    }
    if (!found.up.has_value()) {
      check.why = "no outcome of positive t has one of lesser positive reward that answers less";
      return check;
    }
    check.holds = true;
    check.why = str_cat("t is ", shown(t_[*found.up]), " at outcome ", *found.up, ", and outcome ",
                        *found.down, " of lesser reward answers less");
    check.moves.push_back(found);
    return check;
  }

  void sum_up_e_2(MisreportTheorems& out) const {
    for (size_t i = out.thm_e_2.size(); i-- > 0;) {
      if (!out.thm_e_2[i].holds) continue;
      out.thm_e_2_case = static_cast<int>(i + 1);
      out.thm_e_2_why = out.thm_e_2[i].why;
    }
    if (out.thm_e_2_case > 0) return;
    out.thm_e_2_why = out.thm_e_2[is_sum() ? 1 : 0].why;
    if (is_sum() && out.thm_e_2[2].why != out.thm_e_2[1].why) {
      out.thm_e_2_why = str_cat("(2) ", out.thm_e_2[1].why, "; (3) ", out.thm_e_2[2].why);
    }
  }

  // |dv_i/drm'(x)| up to a factor that all outcomes share.
  [[nodiscard]] double effect(size_t x) const { return std::abs(t_[x]) * sensitivity_[x]; }

  const Game& game_;
  const std::vector<double>& reward_;
  double least_;
  double largest_;
  std::string standing_;  // what fails
  std::vector<double> sensitivity_;
  std::vector<double> t_;
  std::vector<double> rounding_;
  double gentle_change_ = 0;
};

}  // namespace

MisreportTheorems check_misreport_theorems(const Game& game, size_t group,
                                           const std::vector<double>& model) {
  return Checker(game, group, model).all();
}

}  // namespace candor
