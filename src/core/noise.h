#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/game.h"
#include "core/series.h"
#include "core/table.h"

namespace candor {

// How the rewards that reach the mechanism differ from the reported ones (App. B, Condition B.1:
// max_x |noisy rm_i(x) - rm_i(x)| <= epsilon). Noise is independent over groups and outcomes and is
// not clipped: a noisy reward may be negative or above 1.
enum class NoiseModel {
  kUniform,            // uniform on [-epsilon, epsilon]
  kTruncatedGaussian,  // standard deviation epsilon/2, cut at +-epsilon
  kSign,               // -epsilon or +epsilon, a fair coin
  kSampling,           // the mean of `votes` yes-no votes, yes with probability rm_i(x); epsilon is
                       // Hoeffding's at `confidence` for all groups and outcomes together
};
[[nodiscard]] const std::vector<std::string>& noise_model_names();
// Errors: kInvalidArgument, naming the models that there are.
Result<NoiseModel> parse_noise_model(const std::string& name);

struct NoiseOptions {
  NoiseModel model = NoiseModel::kUniform;
  double epsilon = 0.05;  // > 0; of kSampling computed from votes
  int votes = 64;
  double confidence = 0.95;
  int draws = 400;
  size_t lies = 16;  // per group, from default_types
  uint64_t seed = 1;
  std::function<void(size_t done, size_t total)> progress = {};
};

struct NoiseGroup {
  std::string name;
  double gain_bound = 0;     // 2 w_i epsilon (Thm B.3)
  std::string best_lie;      // chosen on one half of the draws ...
  Mean expected_gain;        // ... and measured on the other: U(lie) - U(truth), same noise
  double worst_gain = 0;     // the largest that adversarial noise on the group's own report reached
  Mean truthful_utility;     // expected, true rewards, p^AFF of the noisy ones
  double least_utility = 0;  // over draws; >= -2 w_i epsilon
};

struct NoiseStudy {
  double epsilon = 0;
  // In expectation over the noise the mechanism satisfies
  //   eq. 1, epsilon-DSIC, with epsilon_dsic = max_i 2 w_i epsilon (Thm B.3; its proof covers
  //   sizes) eq. 2, epsilon-IR [ours], with epsilon_ir = max_i 2 w_i epsilon, half of that where
  //   noisy rewards are >= 0 (kSampling, whose epsilon itself holds at the stated confidence): with
  //   theta of the noisy rewards, v^ their valuations, and Lemma F.1, |v^ - v| <= epsilon, twice,
  //   u_i >= w_i v^_i(theta_{-i}) - w_i epsilon >= w_i v_i(theta_{-i}) - 2 w_i epsilon.
  double epsilon_dsic = 0;
  double epsilon_ir = 0;
  double loss_bound = 0;    // 2 epsilon sum_i w_i (Lemma B.2)
  Mean expected_loss;       // ASW(theta) - ASW(theta of the noisy rewards)
  double largest_loss = 0;  // over draws
  double worst_loss = 0;    // the largest that adversarial noise reached
  double closest_to_bound =
      0;  // max over draws of loss / (2 x the draw's own largest error x sum w)
  double closest_to_lemma_f_1 = 0;  // ... of |v^_i - v_i| / the draw's largest error of group i
  double beyond_epsilon = 0;        // share of draws with an error above epsilon (kSampling alone)
  std::vector<NoiseGroup> groups;
};

// Monte Carlo of Lemma B.2 and Thm B.3 and a search for the worst noise, beside the bounds.
// Adversarial noise is +-epsilon on every outcome: thresholds of the total reward and random signs,
// improved one outcome at a time (at most 64 of them); what it finds is a lower bound of the worst.
// Errors   kInvalidArgument: epsilon not in (0, inf), votes or draws < 1 (draws < 4), sampling with
//          rewards above 1; a noisy game that cannot be solved in double precision.
// Cost     draws x (1 + groups x lies) solves.
Result<NoiseStudy> study_noise(const Game& game, const NoiseOptions& options);

// Noise at the menu level (MATH 7, [ours]). Candidates, bank and divergences fixed first, every
// |V_hat[i][k] - V[i][k]| <= half_widths[i][k]: no report, size included, gains more than
// w_i (e_i(k) + e_i(k*)) <= 2 w_i e_i, and truthful utility is >= -w_i e_i.
struct TableNoiseGroup {
  std::string name;
  double half_width = 0;     // e_i = max_k
  double gain_bound = 0;     // 2 w_i e_i
  double utility_floor = 0;  // -w_i e_i
  Mean gain;                 // what hindsight would have gained, true values within the half-widths
  double largest_gain = 0;   // over draws
  double least_utility = 0;
};
// Draws true tables uniformly inside the half-widths (every other one at their ends).
// Shapes   half_widths [n][K], one agent's, >= 0.
[[nodiscard]] std::vector<TableNoiseGroup> study_table_noise(
    const Table& table, const std::vector<std::vector<double>>& half_widths, int draws,
    uint64_t seed);

}  // namespace candor
