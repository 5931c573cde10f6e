#include "core/noise.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "base/check.h"
#include "base/interrupt.h"
#include "base/rng.h"
#include "base/strings.h"
#include "core/implementability.h"
#include "core/sampling_plan.h"
#include "core/series.h"
#include "core/solution.h"

namespace candor {

namespace {

constexpr uint32_t kNoiseStream = 0x6e6f6973;   // "nois"
constexpr uint32_t kSearchStream = 0x776f7273;  // "wors"

double truncated_normal(RandomStream& random) {  // standard deviation 1/2, cut at +-1
  for (;;) {
    const double value = 0.5 * random.normal();
    if (std::abs(value) <= 1) return value;
  }
}

// Noise for one group's report in one draw, keyed by group and draw alone: the truth and every lie
// meet the same randomness.
std::vector<double> noisy(const std::vector<double>& reward, size_t group, int draw,
                          const NoiseOptions& options, double epsilon) {
  RandomStream random({.seed = options.seed,
                       .stream = kNoiseStream,
                       .prompt = static_cast<uint32_t>(group),
                       .sample = static_cast<uint32_t>(draw)});
  std::vector<double> out = reward;
  for (double& value : out) {
    switch (options.model) {
      case NoiseModel::kUniform:
        value += epsilon * (2 * random.uniform() - 1);
        break;
      case NoiseModel::kTruncatedGaussian:
        value += epsilon * truncated_normal(random);
        break;
      case NoiseModel::kSign:
        value += random.below(2) == 0 ? -epsilon : epsilon;
        break;
      case NoiseModel::kSampling: {
        int yes = 0;
        for (int vote = 0; vote < options.votes; ++vote) yes += random.uniform() < value ? 1 : 0;
        value = static_cast<double>(yes) / options.votes;
        break;
      }
    }
  }
  return out;
}

double largest_error(const std::vector<double>& left, const std::vector<double>& right) {
  double most = 0;
  for (size_t x = 0; x < left.size(); ++x) most = std::max(most, std::abs(left[x] - right[x]));
  return most;
}

// One game under noise, with what the true types make of it.
class NoisyGame {
 public:
  NoisyGame(const Game& game, const NoiseOptions& options, double epsilon)
      : game_(game), options_(options), epsilon_(epsilon) {}

  // The mechanism's input in draw `draw` when `liar` reports `lie` (nobody lies: kNobody).
  [[nodiscard]] Game draw(int draw, size_t liar, const Report* lie) const {
    Game out = game_;
    for (size_t group = 0; group < out.groups.size(); ++group) {
      Report& report = out.groups[group];
      if (group == liar) {
        report.group_size = lie->group_size;
        report.reward = lie->reward;
      }
      report.reward = noisy(report.reward, group, draw, options_, epsilon_);
      report.reward_rest.clear();
    }
    return out;
  }

  // True w_i v_i of what the mechanism chooses, less what it charges on its noisy input.
  [[nodiscard]] Result<double> utility(const Game& noisy_game, size_t group) const {
    CANDOR_TRY(const Solution solution, solve(noisy_game));
    return group_valuation(game_, game_.groups[group], solution.allocation) -
           solution.groups[group].payment;
  }

 private:
  const Game& game_;
  const NoiseOptions& options_;
  double epsilon_;
};

// ---------------------------------------------------------------- the worst noise

// Welfare lost when the total reward moves by amplitude x sign.
class WorstNoise {
 public:
  WorstNoise(const Game& game, double amplitude, uint64_t seed)
      : game_(game), amplitude_(amplitude), random_({.seed = seed, .stream = kSearchStream}) {
    totals_.assign(game.outcome_count(), 0.0);
    for (const Report& group : game.groups) {
      for (size_t x = 0; x < totals_.size(); ++x) {
        totals_[x] += group.group_size * group.reward[x];
      }
    }
    const auto truth = choice({});
    CANDOR_CHECK(truth.has_value());  // study_noise has solved this game
    best_welfare_ = affine_social_welfare(game, *truth);
  }

  double search() {
    std::vector<double> sorted = totals_;
    std::ranges::sort(sorted);
    sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
    static constexpr size_t kMostCuts = 64;
    const size_t stride = std::max<size_t>(1, sorted.size() / kMostCuts);
    for (size_t i = 0; i < sorted.size(); i += stride) {
      std::vector<double> sign(totals_.size());
      for (size_t x = 0; x < sign.size(); ++x) sign[x] = totals_[x] > sorted[i] ? -1 : 1;
      keep(sign);
      for (double& value : sign) value = -value;
      keep(sign);
    }
    for (int trial = 0; trial < 32; ++trial) {
      std::vector<double> sign(totals_.size());
      for (double& value : sign) value = random_.below(2) == 0 ? -1 : 1;
      keep(sign);
    }
    climb();
    return std::max(0.0, worst_);
  }

 private:
  // What is chosen: an argmax rule sees the sum of the groups' rewards alone. Nothing where the
  // noisy game overflows.
  [[nodiscard]] std::optional<std::vector<double>> choice(const std::vector<double>& sign) const {
    Game one = game_;
    Report total{.name = "total", .group_size = 1, .reward = totals_};
    for (size_t x = 0; x < sign.size(); ++x) total.reward[x] += amplitude_ * sign[x];
    one.groups = {std::move(total)};
    Result<Solution> solution = solve(one);
    if (!solution.ok()) return std::nullopt;
    return std::move(solution)->allocation;
  }

  bool keep(const std::vector<double>& sign) {
    const auto chosen = choice(sign);
    if (!chosen.has_value()) return false;
    const double loss = best_welfare_ - affine_social_welfare(game_, *chosen);
    if (!(loss > worst_)) return false;
    worst_ = loss;
    best_sign_ = sign;
    return true;
  }

  void climb() {
    static constexpr size_t kMostFlips = 64;
    const size_t flips = std::min(best_sign_.size(), kMostFlips);
    for (int round = 0; round < 8; ++round) {
      bool moved = false;
      for (size_t i = 0; i < flips; ++i) {
        std::vector<double> sign = best_sign_;
        const size_t x = flips == sign.size() ? i : random_.below(sign.size());
        sign[x] = -sign[x];
        moved = keep(sign) || moved;
      }
      if (!moved) return;
    }
  }

  const Game& game_;
  double amplitude_;
  RandomStream random_;
  std::vector<double> totals_;
  double best_welfare_ = 0;
  double worst_ = -std::numeric_limits<double>::infinity();
  std::vector<double> best_sign_;
};

// ---------------------------------------------------------------- Monte Carlo

Status study_losses(const Game& game, const NoiseOptions& options, const NoisyGame& noise,
                    double sizes, NoiseStudy& study) {
  CANDOR_TRY(const Solution truth, solve(game));
  const double best = affine_social_welfare(game, truth.allocation);
  Series losses;
  int beyond = 0;
  for (int draw = 0; draw < options.draws; ++draw) {
    const Game input = noise.draw(draw, kNobody, nullptr);
    CANDOR_TRY(const Solution solution, solve(input));
    double error = 0;
    for (size_t i = 0; i < game.groups.size(); ++i) {
      const double own = largest_error(game.groups[i].reward, input.groups[i].reward);
      error = std::max(error, own);
      if (!(own > 0)) continue;
      const double moved = group_valuation(game, input.groups[i], solution.allocation) -
                           group_valuation(game, game.groups[i], solution.allocation);
      study.closest_to_lemma_f_1 =
          std::max(study.closest_to_lemma_f_1, std::abs(moved) / (game.groups[i].group_size * own));
    }
    const double loss = best - affine_social_welfare(game, solution.allocation);
    losses.add(loss);
    study.largest_loss = std::max(study.largest_loss, loss);
    if (error > 0) {
      study.closest_to_bound = std::max(study.closest_to_bound, loss / (2 * error * sizes));
    }
    beyond += error > study.epsilon * (1 + 1e-12) ? 1 : 0;
  }
  study.expected_loss = losses.mean();
  study.beyond_epsilon = static_cast<double>(beyond) / options.draws;
  return {};
}

Result<NoiseGroup> study_group(const Game& game, size_t group, const NoiseOptions& options,
                               const NoisyGame& noise, double epsilon) {
  NoiseGroup out;
  out.name = game.groups[group].name;
  const double size = game.groups[group].group_size;
  out.gain_bound = 2 * size * epsilon;
  out.least_utility = std::numeric_limits<double>::infinity();
  std::vector<double> honest;
  Series utilities;
  for (int draw = 0; draw < options.draws; ++draw) {
    CANDOR_TRY(const double utility, noise.utility(noise.draw(draw, kNobody, nullptr), group));
    honest.push_back(utility);
    utilities.add(utility);
    out.least_utility = std::min(out.least_utility, utility);
  }
  out.truthful_utility = utilities.mean();
  // The lie is chosen on even draws and measured on odd ones: a maximum over lies flatters itself.
  const TypeSpace lies = default_types(game, group, options.lies + 1, options.seed);
  double best = -std::numeric_limits<double>::infinity();
  for (size_t lie = 1; lie < lies.types.size(); ++lie) {
    Series chosen_on;
    Series measured_on;
    for (int draw = 0; draw < options.draws; ++draw) {
      CANDOR_TRY(const double utility,
                 noise.utility(noise.draw(draw, group, &lies.types[lie]), group));
      (draw % 2 == 0 ? chosen_on : measured_on).add(utility - honest[static_cast<size_t>(draw)]);
    }
    if (chosen_on.mean().value <= best) continue;
    best = chosen_on.mean().value;
    out.best_lie = lies.types[lie].name;
    out.expected_gain = measured_on.mean();
  }
  // Against noise on its own report the group regains, by the lie that undoes it, what truth lost.
  out.worst_gain = WorstNoise(game, size * epsilon, options.seed).search();
  return out;
}

Status check_options(const Game& game, const NoiseOptions& options) {
  if (!(options.epsilon > 0) || !std::isfinite(options.epsilon)) {
    return invalid_argument(
        str_cat("epsilon: found ", options.epsilon, "; expected a finite number above 0"));
  }
  if (options.draws < 4) {
    return invalid_argument(str_cat("draws: found ", options.draws, "; expected at least 4"));
  }
  if (options.model != NoiseModel::kSampling) return {};
  if (options.votes < 1) {
    return invalid_argument(str_cat("votes: found ", options.votes, "; expected at least 1"));
  }
  for (const Report& group : game.groups) {
    const double top = std::ranges::max(group.reward);
    if (top <= 1) continue;
    return invalid_argument(str_cat("group ", quote(group.name), ": found a reward of ", top,
                                    "; yes-no votes need rewards in [0, 1]"));
  }
  return {};
}

}  // namespace

const std::vector<std::string>& noise_model_names() {
  static const std::vector<std::string> kNames = {"uniform", "gaussian", "sign", "sampling"};
  return kNames;
}

Result<NoiseModel> parse_noise_model(const std::string& name) {
  const std::vector<std::string>& names = noise_model_names();
  const auto found = std::ranges::find(names, name);
  if (found != names.end()) return static_cast<NoiseModel>(found - names.begin());
  return invalid_argument(str_cat("noise: found ", quote(name), "; expected one of ",
                                  join(names, ", "), did_you_mean(name, names)));
}

Result<NoiseStudy> study_noise(const Game& game, const NoiseOptions& options) {
  CANDOR_RETURN_IF_ERROR(check_options(game, options));
  NoiseStudy study;
  study.epsilon = options.epsilon;
  const auto entries = static_cast<double>(game.groups.size() * game.outcome_count());
  if (options.model == NoiseModel::kSampling) {
    study.epsilon = hoeffding_half_width(options.votes, 1, (1 - options.confidence) / entries);
  }
  double sizes = 0;
  double largest = 0;
  for (const Report& group : game.groups) {
    sizes += group.group_size;
    largest = std::max(largest, group.group_size);
  }
  const bool noisy_are_positive = options.model == NoiseModel::kSampling;
  study.epsilon_dsic = 2 * largest * study.epsilon;
  study.epsilon_ir = (noisy_are_positive ? 1 : 2) * largest * study.epsilon;
  study.loss_bound = 2 * study.epsilon * sizes;
  const NoisyGame noise(game, options, study.epsilon);
  CANDOR_RETURN_IF_ERROR(study_losses(game, options, noise, sizes, study));
  study.worst_loss = WorstNoise(game, sizes * study.epsilon, options.seed).search();
  for (size_t group = 0; group < game.groups.size(); ++group) {
    if (options.progress) options.progress(group, game.groups.size());
    CANDOR_TRY(NoiseGroup one, study_group(game, group, options, noise, study.epsilon));
    CANDOR_RETURN_IF_ERROR(check_interrupted());
    study.groups.push_back(std::move(one));
  }
  if (options.progress) options.progress(game.groups.size(), game.groups.size());
  return study;
}

std::vector<TableNoiseGroup> study_table_noise(const Table& table,
                                               const std::vector<std::vector<double>>& half_widths,
                                               int draws, uint64_t seed) {
  const Settlement settled = settle(table);
  std::vector<TableNoiseGroup> out;
  for (size_t i = 0; i < table.groups.size(); ++i) {
    const auto size = static_cast<double>(table.groups[i].group_size);
    TableNoiseGroup group;
    group.name = table.groups[i].name;
    group.half_width = std::ranges::max(half_widths[i]);
    group.gain_bound = 2 * size * group.half_width;
    group.utility_floor = -size * group.half_width;
    group.least_utility = std::numeric_limits<double>::infinity();
    Series gains;
    for (int draw = 0; draw < draws; ++draw) {
      RandomStream random({.seed = seed,
                           .stream = kNoiseStream,
                           .prompt = static_cast<uint32_t>(i),
                           .sample = static_cast<uint32_t>(draw)});
      double best = -std::numeric_limits<double>::infinity();
      double kept = 0;
      for (size_t k = 0; k < table.candidates.size(); ++k) {
        const double u = 2 * random.uniform() - 1;
        const double error = (draw % 2 == 0 ? u : (u < 0 ? -1 : 1)) * half_widths[i][k];
        // Prices are exact and do not depend on the group's own values (taxation principle).
        const double value =
            size * std::max(0.0, from_fixed_point(table.groups[i].valuations[k]) + error);
        const double utility = value - from_fixed_point(settled.groups[i].prices[k]);
        best = std::max(best, utility);
        if (k == settled.winner) kept = utility;
      }
      gains.add(best - kept);
      group.largest_gain = std::max(group.largest_gain, best - kept);
      group.least_utility = std::min(group.least_utility, kept);
    }
    group.gain = gains.mean();
    out.push_back(std::move(group));
  }
  return out;
}

}  // namespace candor
