#include "core/estimate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "base/rng.h"
#include "base/strings.h"
#include "core/block_solver.h"

namespace candor {

namespace {

constexpr uint32_t kBootstrapStream = 0x626f6f74;  // "boot"
constexpr uint32_t kHalvesStream = 0x68616c66;     // "half"

// A block with some of its outcomes, rescaled: the bank that would have been drawn with fewer
// replies.
BlockSolution solve_subset(const Block& block, const std::vector<size_t>& outcomes) {
  std::vector<double> initial;
  initial.reserve(outcomes.size());
  for (const size_t x : outcomes) initial.push_back(block.initial[x]);
  const double total = std::accumulate(initial.begin(), initial.end(), 0.0);
  for (double& p : initial) p /= total;
  std::vector<std::vector<double>> rewards(block.group_count());
  Block part{.divergence = block.divergence,
             .initial = initial,
             .rewards = {},
             .rests = {},
             .sizes = block.sizes};
  for (size_t group = 0; group < block.group_count(); ++group) {
    for (const size_t x : outcomes) rewards[group].push_back(block.rewards[group][x]);
    part.rewards.emplace_back(rewards[group]);
  }
  return solve_block(part);
}

// Everything that is averaged over prompts, one row per prompt.
struct PerBlock {
  std::vector<double> welfare;
  std::vector<double> sample_size;              // 1 / sum p*^2
  std::vector<std::vector<double>> valuations;  // [n][blocks]
  std::vector<std::vector<double>> payments;    // [n][blocks]
  std::vector<std::vector<double>> half_bank;   // [n][blocks]
  std::vector<std::vector<double>> jackknife;   // [n][blocks], bias estimates
};

void add_half_bank(const Block& block, size_t index, uint64_t seed, PerBlock& rows) {
  const std::vector<size_t> order = shuffled_order(
      block.outcome_count(),
      {.seed = seed, .stream = kHalvesStream, .prompt = static_cast<uint32_t>(index)});
  const auto middle = order.begin() + static_cast<ptrdiff_t>(order.size() / 2);
  const BlockSolution first = solve_subset(block, {order.begin(), middle});
  const BlockSolution second = solve_subset(block, {middle, order.end()});
  for (size_t group = 0; group < block.group_count(); ++group) {
    rows.half_bank[group].push_back((first.payments[group].value + second.payments[group].value) /
                                    2);
  }
}

// (N - 1) (mean of the N leave-one-reply-out payments - payment with all), Quenouille's estimate.
void add_jackknife(const Block& block, const BlockSolution& full, PerBlock& rows) {
  const size_t count = block.outcome_count();
  std::vector<double> sums(block.group_count(), 0.0);
  std::vector<size_t> rest;
  for (size_t left_out = 0; left_out < count; ++left_out) {
    rest.clear();
    for (size_t x = 0; x < count; ++x) {
      if (x != left_out) rest.push_back(x);
    }
    const BlockSolution solution = solve_subset(block, rest);
    for (size_t group = 0; group < block.group_count(); ++group) {
      sums[group] += solution.payments[group].value;
    }
  }
  const auto n = static_cast<double>(count);
  for (size_t group = 0; group < block.group_count(); ++group) {
    rows.jackknife[group].push_back((n - 1) * (sums[group] / n - full.payments[group].value));
  }
}

PerBlock solve_blocks(const Game& game, uint64_t seed) {
  PerBlock rows;
  for (auto* table : {&rows.valuations, &rows.payments, &rows.half_bank, &rows.jackknife}) {
    table->resize(game.groups.size());
  }
  for (size_t index = 0; index < game.block_count(); ++index) {
    const Block block = block_of(game, index);
    const BlockSolution solution = solve_block(block);
    rows.welfare.push_back(solution.welfare.value);
    double squares = 0;
    for (const double p : solution.allocation) squares += p * p;
    rows.sample_size.push_back(1 / squares);
    for (size_t group = 0; group < game.groups.size(); ++group) {
      rows.valuations[group].push_back(solution.valuations[group].value);
      rows.payments[group].push_back(solution.payments[group].value);
    }
    add_half_bank(block, index, seed, rows);
    add_jackknife(block, solution, rows);
  }
  return rows;
}

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// [resamples][blocks]: which prompts each resample holds; shared by all figures, so they move
// together as they would.
std::vector<std::vector<uint32_t>> draw_resamples(size_t blocks, int resamples, uint64_t seed) {
  std::vector<std::vector<uint32_t>> draws(static_cast<size_t>(resamples));
  for (size_t b = 0; b < draws.size(); ++b) {
    RandomStream random(
        {.seed = seed, .stream = kBootstrapStream, .prompt = static_cast<uint32_t>(b)});
    for (size_t i = 0; i < blocks; ++i) {
      draws[b].push_back(static_cast<uint32_t>(random.below(blocks)));
    }
  }
  return draws;
}

Interval percentile_interval(const std::vector<double>& rows,
                             const std::vector<std::vector<uint32_t>>& draws, double confidence) {
  std::vector<double> means;
  means.reserve(draws.size());
  for (const std::vector<uint32_t>& draw : draws) {
    double total = 0;
    for (const uint32_t block : draw) total += rows[block];
    means.push_back(total / static_cast<double>(draw.size()));
  }
  std::sort(means.begin(), means.end());
  const auto quantile = [&](double q) {
    const double place = q * static_cast<double>(means.size() - 1);
    const auto below = static_cast<size_t>(place);
    const size_t above = std::min(below + 1, means.size() - 1);
    return means[below] + (place - static_cast<double>(below)) * (means[above] - means[below]);
  };
  const double tail = (1 - confidence) / 2;
  return {.estimate = mean_of(rows), .low = quantile(tail), .high = quantile(1 - tail)};
}

}  // namespace

Result<Estimate> estimate(const Game& game, uint64_t seed, int resamples, double confidence) {
  CANDOR_CHECK(game.candidates.empty() && resamples > 0 && confidence > 0 && confidence < 1);
  if (game.block_count() < 2) {
    return invalid_argument(str_cat("blocks: found ", game.block_count(),
                                    "; intervals need at least 2 prompts to resample"));
  }
  for (size_t block = 0; block < game.block_count(); ++block) {
    if (game.block_begin[block + 1] - game.block_begin[block] < 2) {
      return invalid_argument(
          str_cat("blocks[", block, "]: has 1 reply; the bias estimate needs at least 2"));
    }
  }
  const PerBlock rows = solve_blocks(game, seed);
  const auto draws = draw_resamples(game.block_count(), resamples, seed);
  Estimate out;
  out.confidence = confidence;
  out.resamples = resamples;
  out.welfare = percentile_interval(rows.welfare, draws, confidence);
  out.effective_sample_size = mean_of(rows.sample_size);
  out.effective_sample_size_min =
      *std::min_element(rows.sample_size.begin(), rows.sample_size.end());
  for (size_t group = 0; group < game.groups.size(); ++group) {
    std::vector<double> utilities;
    for (size_t block = 0; block < game.block_count(); ++block) {
      utilities.push_back(rows.valuations[group][block] - rows.payments[group][block]);
    }
    out.groups.push_back(
        {.name = game.groups[group].name,
         .valuation = percentile_interval(rows.valuations[group], draws, confidence),
         .payment = percentile_interval(rows.payments[group], draws, confidence),
         .utility = percentile_interval(utilities, draws, confidence),
         .payment_half_bank = mean_of(rows.half_bank[group]),
         .payment_bias = mean_of(rows.jackknife[group])});
  }
  return out;
}

}  // namespace candor
