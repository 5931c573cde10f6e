#include "adversarial_draw.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/rng.h"
#include "base/strings.h"

namespace candor {

namespace {

constexpr double kLargestSize = 2147483647.0;
constexpr uint64_t kLargeEvery = 199;  // coprime to the number of laws
constexpr size_t kLargeCopies = 32768;

enum LawRow : size_t {
  kKlRow,
  kChi2Row,
  kReverseKlRow,
  kJsRow,
  kHellingerRow,
  kJeffreysRow,
  kTvRow,
  kAlphaNegativeRow,
  kAlphaFractionRow,
  kAlphaNearOneRow,
  kAlphaToTwoRow,
  kAlphaLargeRow,
};

double log_uniform(RandomStream& random, double low, double high) {
  return low * std::exp(random.uniform() * std::log(high / low));
}

double power_of_ten_between(RandomStream& random, double low, double high) {
  return std::pow(10.0, low + (high - low) * random.uniform());
}

double pick(RandomStream& random, const std::vector<double>& values) {
  return values[random.below(values.size())];
}

double draw_order(RandomStream& random, size_t row) {
  const double sign = random.below(2) == 0 ? -1 : 1;
  switch (row) {
    case kAlphaNegativeRow:
      if (random.below(3) == 0) return -power_of_ten_between(random, -9, -1);  // near reverse_kl
      return -log_uniform(random, 0.1, 50);
    case kAlphaFractionRow: {
      const uint64_t kind = random.below(4);
      if (kind == 0) return power_of_ten_between(random, -9, -1);
      if (kind == 1) return pick(random, {0.3, 0.5, 0.5 + 1e-12, 0.89, 0.9, 0.9 - 1e-12});
      return 0.05 + 0.85 * random.uniform();
    }
    case kAlphaNearOneRow: {
      if (random.below(16) == 0) return 1 + sign * power_of_ten_between(random, -15, -9);
      return 1 + sign * power_of_ten_between(random, -9, -1);
    }
    case kAlphaToTwoRow:
      if (random.below(4) == 0) return pick(random, {1.5, 2 - 1e-12, 2, 2 + 1e-12});
      return 1.1 + 0.9 * random.uniform();
    default:
      if (random.below(2) == 0) return pick(random, {2.5, 3, 5, 10, 40});
      return log_uniform(random, 2.001, 50);
  }
}

std::vector<double> draw_initial(RandomStream& random, size_t outcomes) {
  std::vector<double> initial(outcomes);
  const uint64_t shape = random.below(6);
  const double span = pick(random, {0.5, 3, 10, 40});
  for (double& value : initial) {
    value = power_of_ten_between(random, -span, 0);
    if (shape == 0) value = 1;
    if (shape == 1) value = std::ldexp(1.0, -static_cast<int>(random.below(8)));
    if (shape == 2) value = 1e-9 + random.uniform();
  }
  if (shape == 3) initial[random.below(outcomes)] = 1e-300;
  if (shape == 4) initial[random.below(outcomes)] *= 1e-16;
  if (shape == 5 && random.below(3) == 0) {
    for (double& value : initial) value = power_of_ten_between(random, -300, 0);
  }
  return initial;
}

std::vector<double> draw_reward(RandomStream& random, const std::vector<double>& initial) {
  const size_t outcomes = initial.size();
  std::vector<double> reward(outcomes);
  const uint64_t shape = random.below(9);
  const double base = 0.1 + 0.9 * random.uniform();
  const double step = power_of_ten_between(random, -16, -9);
  const double span = pick(random, {3, 12, 40, 200});
  for (double& value : reward) {
    value = random.uniform();
    if (shape == 1) value = value < 0.5 ? 0.0 : 1.0;
    if (shape == 2) value = std::round(100 * value) / 100;
    if (shape == 3) value = base;
    if (shape == 4) value = base + step * static_cast<double>(random.below(5));
    if (shape == 5) value = base * (1 + 0x1p-52 * static_cast<double>(random.below(3)));
    if (shape == 6) value = power_of_ten_between(random, -span, 0);
    if (shape == 7) value = 1e-3 * value;
    if (shape == 8) value = std::floor(8 * value) / 8;
  }
  // One outcome on top, the least likely of all.
  if (shape == 7) {
    reward[static_cast<size_t>(std::ranges::min_element(initial) - initial.begin())] = 1;
  }
  if (std::ranges::max(reward) <= 0) reward[random.below(outcomes)] = 1;
  return reward;
}

// w_i rm_i summed, in doubles: good enough to choose a strength by.
std::vector<double> rough_totals(const ExactGame& game) {
  std::vector<double> totals(game.initial.size());
  for (const ExactGame::Group& group : game.groups) {
    double divisor = 1;
    if (game.normalization == "max") divisor = std::ranges::max(group.reward);
    if (game.normalization == "sum") {
      divisor = 0;
      for (const double value : group.reward) divisor += value;
    }
    for (size_t x = 0; x < totals.size(); ++x) totals[x] += group.size * group.reward[x] / divisor;
  }
  return totals;
}

// The strength at which the outcome of least total is exactly about to lose its mass: with u = s -
// min s, sum p0 u = 2L (chi2), sum p0 ((a-1) u / L)^{1/(a-1)} = 1 (alpha > 1). 0 where there is
// none.
double edge_strength(const ExactGame& game) {
  const std::vector<double> totals = rough_totals(game);
  const double low = std::ranges::min(totals);
  const double slope = game.divergence == "chi2" ? 1 : game.alpha - 1;
  double mass = 0;
  double sum = 0;
  for (size_t x = 0; x < totals.size(); ++x) {
    mass += game.initial[x];
    sum += game.initial[x] * std::pow(totals[x] - low, 1 / slope);
  }
  const double strength = slope * std::pow(sum / mass, slope);
  return game.divergence == "chi2" ? strength / 2 : strength;
}

double draw_strength(RandomStream& random, const ExactGame& game, bool clips) {
  double sizes = 0;
  double stakes = 0;
  for (const ExactGame::Group& group : game.groups) sizes += group.size;
  for (const double total : rough_totals(game)) stakes = std::max(stakes, total);
  if (clips && random.below(3) == 0) {
    const double edge = edge_strength(game);
    static const std::vector<double> kNudges = {0, 0, 0, 0x1p-52, -0x1p-52, 1e-12, -1e-9, 1e-6};
    const double strength = edge * (1 + pick(random, kNudges));
    if (std::isfinite(strength) && strength > 1e-290) return strength;
  }
  if (random.below(2) == 0) return stakes * log_uniform(random, 0.003, 30);
  return log_uniform(random, 1e-8 * sizes, 1e4);
}

void draw_groups(RandomStream& random, ExactGame& game, size_t count) {
  const uint64_t crowd = random.below(5);
  for (size_t i = 0; i < count; ++i) {
    ExactGame::Group group;
    group.name = str_cat("g", i);
    group.size = std::floor(log_uniform(random, 1, 31));
    if (crowd == 0) group.size = std::floor(log_uniform(random, 1, kLargestSize + 1));
    if (crowd == 1 && random.below(2) == 0) group.size = 1;
    group.reward = draw_reward(random, game.initial);
    if (i > 0 && random.below(6) == 0) group.reward = game.groups[0].reward;
    if (i > 0 && random.below(8) == 0) {  // opposed
      for (size_t x = 0; x < group.reward.size(); ++x) {
        group.reward[x] =
            std::abs(std::ranges::max(game.groups[0].reward) - game.groups[0].reward[x]);
      }
      if (std::ranges::max(group.reward) <= 0) group.reward[0] = 1;
      if (crowd == 2) group.size = game.groups[0].size = kLargestSize;
    }
    group.size = std::min(group.size, kLargestSize);
    game.groups.push_back(std::move(group));
  }
}

void draw_blocks(RandomStream& random, ExactGame& game) {
  const size_t m = game.initial.size();
  game.block_begin = {0, m};
  if (random.below(5) < 3 || m < 2) return;
  const size_t wanted = 1 + random.below(3);
  for (size_t k = 0; k < wanted; ++k) game.block_begin.push_back(1 + random.below(m - 1));
  std::ranges::sort(game.block_begin);
  const auto twice = std::unique(game.block_begin.begin(), game.block_begin.end());
  game.block_begin.erase(twice, game.block_begin.end());
}

}  // namespace

const std::vector<std::string>& adversarial_laws() {
  static const std::vector<std::string> kLaws = {
      "kl", "chi2",      "reverse_kl",     "js",           "hellinger",         "jeffreys",
      "tv", "alpha < 0", "0 < alpha < .9", "alpha near 1", "1.1 <= alpha <= 2", "alpha > 2"};
  return kLaws;
}

AdversarialGame draw_adversarial(uint64_t seed) {
  RandomStream random({.seed = seed, .stream = 0x61647672});
  AdversarialGame out;
  out.law = seed % adversarial_laws().size();
  ExactGame& game = out.game;
  const bool alpha = out.law >= kAlphaNegativeRow;
  game.divergence = alpha ? "alpha" : adversarial_laws()[out.law];
  if (alpha) game.alpha = draw_order(random, out.law);
  const bool large = seed % kLargeEvery == kLargeEvery - 1;
  auto outcomes = static_cast<size_t>(log_uniform(random, 1, 41));
  if (random.below(60) == 0) outcomes = 100 + random.below(200);
  if (large) outcomes = 18 + random.below(8);
  game.initial = draw_initial(random, outcomes);
  const uint64_t normalization = random.below(large ? 2 : 4);
  game.normalization = normalization == 1 ? "none" : normalization == 2 ? "sum" : "max";
  draw_groups(random, game, static_cast<size_t>(log_uniform(random, 1, 7)));
  if (!large) draw_blocks(random, game);
  out.single = random.below(6) == 0;
  for (ExactGame::Group& group : game.groups) {
    if (!out.single) break;
    for (double& value : group.reward) value = static_cast<float>(value);
    if (std::ranges::max(group.reward) <= 0) group.reward[0] = 1;
  }
  const bool clips = game.divergence == "chi2" || (alpha && game.alpha > 1);
  game.lambda = draw_strength(random, game, clips);
  for (size_t x = 0; large && x < outcomes; ++x) {
    out.copies.push_back(kLargeCopies >> random.below(3));
  }
  return out;
}

ExactGame with_copies(const AdversarialGame& drawn) {
  ExactGame out = drawn.game;
  if (drawn.copies.empty()) return out;
  out.initial.clear();
  for (ExactGame::Group& group : out.groups) group.reward.clear();
  for (size_t x = 0; x < drawn.copies.size(); ++x) {
    const double share = drawn.game.initial[x] / static_cast<double>(drawn.copies[x]);
    out.initial.insert(out.initial.end(), drawn.copies[x], share);
    for (size_t i = 0; i < out.groups.size(); ++i) {
      out.groups[i].reward.insert(out.groups[i].reward.end(), drawn.copies[x],
                                  drawn.game.groups[i].reward[x]);
    }
  }
  out.block_begin = {0, out.initial.size()};
  return out;
}

}  // namespace candor
