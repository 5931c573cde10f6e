#include "core/stake_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "base/interrupt.h"
#include "base/rng.h"
#include "core/stake_block.h"

namespace candor {

namespace {

constexpr const char* kFamily = "stake";
constexpr uint32_t kTransfers = 0x7374616b;  // "stak"

std::vector<StakeBlock> stake_blocks(const LieSearch& search) {
  const Game& game = search.game();
  std::vector<StakeBlock> blocks;
  for (size_t index = 0; index < game.block_count(); ++index) {
    const auto begin = static_cast<ptrdiff_t>(game.block_begin[index]);
    const auto end = static_cast<ptrdiff_t>(game.block_begin[index + 1]);
    StakeBlock block{.divergence = game.divergence,
                     .initial = {game.initial.begin() + begin, game.initial.begin() + end},
                     .others = std::vector<double>(static_cast<size_t>(end - begin), 0.0),
                     .worth = {}};
    for (size_t group = 0; group < game.groups.size(); ++group) {
      const Report& report = game.groups[group];
      const auto first = report.reward.begin() + begin;
      if (group == search.group()) {
        block.worth.assign(first, report.reward.begin() + end);
        for (double& value : block.worth) value *= report.group_size;
        continue;
      }
      // From the top, as the solver does: a constant reward leaves the others' digits intact.
      const double top = *std::max_element(first, report.reward.begin() + end);
      for (size_t x = 0; x < block.others.size(); ++x) {
        block.others[x] += report.group_size * (first[static_cast<ptrdiff_t>(x)] - top);
      }
    }
    blocks.push_back(std::move(block));
  }
  return blocks;
}

double largest(const std::vector<Stake>& stakes) {
  double most = 0;
  for (const Stake& stake : stakes) most = std::max(most, std::ranges::max(stake.value));
  return most;
}

std::vector<double> joined(const std::vector<Stake>& stakes) {
  std::vector<double> all;
  for (const Stake& stake : stakes) {
    all.insert(all.end(), stake.value.begin(), stake.value.end());
  }
  return all;
}

double report_stakes(LieSearch& search, std::vector<double> stakes, double size) {
  for (double& value : stakes) value /= size;
  return search.try_report(kFamily, std::move(stakes), size);
}

// How many outcomes are tried as carriers after a first look.
size_t most_carriers(size_t outcomes) {
  static constexpr size_t kEvery = 16;
  static constexpr size_t kSome = 6;
  static constexpr size_t kLarge = 4096;
  if (outcomes <= kEvery) return outcomes;
  return outcomes <= kLarge ? kSome : 2;
}

// ---------------------------------------------------------------- max and no normalisation

struct Carrier {
  size_t block = 0;
  size_t outcome = 0;
  double change = 0;  // of the block's utility when it carries the size and nothing else moves
};

// One reported size under max normalisation at a time.
class SizedStakes {
 public:
  SizedStakes(LieSearch& search, const std::vector<StakeBlock>& blocks, double cap)
      : search_(search), blocks_(blocks) {
    for (const StakeBlock& block : blocks) free_.push_back(best_stake(block, cap));
  }

  [[nodiscard]] const std::vector<Stake>& free() const { return free_; }

  // The utility of the best report of this size.
  double try_size(double size) {
    std::vector<Stake> stakes = free_;
    for (size_t b = 0; b < blocks_.size(); ++b) {
      if (std::ranges::max(stakes[b].value) > size) stakes[b] = best_stake(blocks_[b], size);
    }
    double best = -std::numeric_limits<double>::infinity();
    size_t at = 0;
    Stake carried;
    for (const Carrier& carrier : shortlist(stakes, size)) {
      if (interrupted()) return best;
      Stake stake = best_stake(blocks_[carrier.block], size, carrier.outcome);
      const double change = stake.utility - stakes[carrier.block].utility;
      if (change > best) {
        best = change;
        at = carrier.block;
        carried = std::move(stake);
      }
    }
    stakes[at] = std::move(carried);
    return report_stakes(search_, joined(stakes), size);
  }

 private:
  [[nodiscard]] std::vector<Carrier> shortlist(const std::vector<Stake>& stakes,
                                               double size) const {
    static constexpr size_t kLooked = 32;  // of a block, by the reward and by the rest
    std::vector<Carrier> all;
    size_t outcomes = 0;
    for (size_t b = 0; b < blocks_.size(); ++b) {
      const size_t m = blocks_[b].outcome_count();
      outcomes += m;
      std::vector<size_t> looked(m);
      std::iota(looked.begin(), looked.end(), size_t{0});
      if (m > kLooked) {
        // What carrying costs is paid on the outcome's mass: what others dislike carries cheaply.
        std::ranges::stable_sort(looked, {}, [&](size_t x) {
          return blocks_[b].initial[x] * (size - blocks_[b].worth[x]) + blocks_[b].others[x];
        });
        looked.resize(kLooked);
      }
      for (const size_t x : looked) {
        std::vector<double> moved = stakes[b].value;
        moved[x] = size;
        all.push_back({b, x, stake_utility(blocks_[b], moved) - stakes[b].utility});
      }
    }
    const size_t count = std::min(all.size(), most_carriers(outcomes));
    std::ranges::partial_sort(all, all.begin() + static_cast<ptrdiff_t>(count), std::greater<>(),
                              &Carrier::change);
    all.resize(count);
    return all;
  }

  LieSearch& search_;
  const std::vector<StakeBlock>& blocks_;
  std::vector<Stake> free_;
};

// Tries the sizes given and climbs from the best of them.
template <typename Try>
void climb_sizes(double max_size, const std::vector<double>& sizes, const Try& try_size) {
  static constexpr int kMostClimbs = 24;
  std::set<double> tried;
  double best = -std::numeric_limits<double>::infinity();
  double at = 1;
  const auto attempt = [&](double size) {
    size = std::clamp(std::round(size), 1.0, max_size);
    if (!tried.insert(size).second || interrupted()) return;
    const double utility = try_size(size);
    if (utility > best) {
      best = utility;
      at = size;
    }
  };
  for (const double size : sizes) attempt(size);
  for (int i = 0; i < kMostClimbs; ++i) {
    const double from = at;
    for (const double step : {1.0, std::floor(0.2 * from)}) {
      attempt(from - step);
      attempt(from + step);
    }
    if (at == from) return;
  }
}

void try_max_stakes(LieSearch& search, const std::vector<StakeBlock>& blocks) {
  SizedStakes sized(search, blocks, search.max_size());
  const double needed = largest(sized.free());
  climb_sizes(search.max_size(),
              {1, 2, 3, std::floor(needed), std::ceil(needed), std::ceil(needed) + 1},
              [&](double size) { return sized.try_size(size); });
}

void try_free_stakes(LieSearch& search, const std::vector<StakeBlock>& blocks) {
  const double bound = std::max(1.0, std::ranges::max(search.truth().reward));
  std::vector<Stake> stakes;
  stakes.reserve(blocks.size());
  for (const StakeBlock& block : blocks) {
    stakes.push_back(best_stake(block, bound * search.max_size()));
  }
  const double size = std::clamp(std::ceil(largest(stakes) / bound), 1.0, search.max_size());
  report_stakes(search, joined(stakes), size);
}

// ---------------------------------------------------------------- sum normalisation

// Stakes of all blocks together that add to a given size.
class SummedStakes {
 public:
  SummedStakes(LieSearch& search, const std::vector<StakeBlock>& blocks)
      : search_(search), blocks_(blocks) {
    std::vector<Stake> stakes;
    for (const StakeBlock& block : blocks) {
      stakes.push_back(best_stake(block, search.max_size()));
      worth_.insert(worth_.end(), block.worth.begin(), block.worth.end());
      others_.insert(others_.end(), block.others.begin(), block.others.end());
    }
    free_ = joined(stakes);
  }

  [[nodiscard]] double free_total() const {
    return std::accumulate(free_.begin(), free_.end(), 0.0);
  }

  double try_size(double size) {
    std::vector<Stake> starts;
    for (std::vector<double>& start : starts_of(size)) {
      starts.push_back({utility(start), std::move(start)});
    }
    // Few outcomes are searched well; of many, what the starts and a few transfers find.
    const size_t kept = std::min<size_t>(few() ? 3 : 1, starts.size());
    std::ranges::partial_sort(starts, starts.begin() + static_cast<ptrdiff_t>(kept),
                              std::greater<>(), &Stake::utility);
    for (size_t i = 0; i < kept; ++i) transfer(starts[i], size, 0.01);
    const auto best =
        std::max_element(starts.begin(), starts.begin() + static_cast<ptrdiff_t>(kept),
                         [](const Stake& a, const Stake& b) { return a.utility < b.utility; });
    if (few()) transfer(*best, size, 1e-8);
    return report_stakes(search_, best->value, size);
  }

 private:
  [[nodiscard]] bool few() const { return worth_.size() <= 16; }

  [[nodiscard]] double utility(const std::vector<double>& stakes) const {
    double sum = 0;
    auto at = stakes.begin();
    for (const StakeBlock& block : blocks_) {
      const auto end = at + static_cast<ptrdiff_t>(block.outcome_count());
      sum += stake_utility(block, {at, end});
      at = end;
    }
    return sum;
  }

  // Outcomes by worth + others, the most likely to be promoted first, and as many from the end,
  // where a stake costs least.
  [[nodiscard]] std::vector<size_t> heaps() const {
    std::vector<size_t> order(worth_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::stable_sort(order, std::greater<>(),
                             [&](size_t x) { return worth_[x] + others_[x]; });
    const size_t count = few() ? order.size() : 2;
    if (2 * count < order.size()) {
      order.erase(order.begin() + static_cast<ptrdiff_t>(count),
                  order.end() - static_cast<ptrdiff_t>(count));
    }
    return order;
  }

  [[nodiscard]] std::vector<std::vector<double>> starts_of(double size) const {
    static constexpr int kLevels = 6;
    std::vector<std::vector<double>> shapes = {std::vector<double>(worth_.size(), 0.0), free_};
    const double most = std::ranges::max(worth_);
    for (int i = 0; i < kLevels; ++i) {
      std::vector<double>& shape = shapes.emplace_back(worth_);
      for (double& value : shape) value = std::max(0.0, value - most * i / kLevels);
    }
    const std::vector<size_t> order = heaps();
    for (size_t cut = 2; cut <= std::min<size_t>(order.size(), 6); ++cut) {
      std::vector<double>& shape = shapes.emplace_back(worth_.size(), 0.0);
      for (size_t i = 0; i < cut; ++i) shape[order[i]] = size / static_cast<double>(cut);
    }
    std::vector<std::vector<double>> out;
    if (few() && blocks_.size() == 1 && blocks_[0].divergence.kind == DivergenceKind::kTv) {
      out = tv_stakes_of_total(blocks_[0], size);
    }
    for (const std::vector<double>& shape : shapes) {
      const double total = std::accumulate(shape.begin(), shape.end(), 0.0);
      if (total > 0) {
        std::vector<double>& scaled = out.emplace_back(shape);
        for (double& value : scaled) value *= size / total;
      }
      for (const size_t heap : order) {
        if (!(total < size)) break;
        out.emplace_back(shape)[heap] += size - total;
      }
    }
    return out;
  }

  // Moves stake from some outcomes to others as long as that gains, in steps down to `least` x
  // size: between every two outcomes of few, and between random sets of them, which must move
  // together where the best stakes lie on an edge (tv).
  void transfer(Stake& at, double size, double least) const {
    static constexpr size_t kTriesOfMany = 32;
    const int sweeps = few() ? 4 : 1;
    const size_t m = worth_.size();
    const size_t tries = few() ? 3 * m * m : kTriesOfMany;
    RandomStream random({.seed = 1, .stream = kTransfers, .prompt = 0, .sample = 0});
    for (double step = 0.5 * size; step > least * size && !interrupted(); step *= 0.4) {
      bool gained = true;
      for (int sweep = 0; sweep < sweeps && gained; ++sweep) {
        gained = false;
        for (size_t i = 0; i < tries; ++i) {
          Stake next = at;
          if (few() && i < m * m) {
            exchange(next.value, {i / m}, {i % m}, step);
          } else {
            std::vector<size_t> from;
            std::vector<size_t> to;
            for (size_t x = 0; x < m; ++x) {
              const uint64_t side = random.below(few() ? 3 : m / 4);
              if (side == 0) from.push_back(x);
              if (side == 1) to.push_back(x);
            }
            exchange(next.value, from, to, step);
          }
          if (next.value == at.value) continue;
          next.utility = utility(next.value);
          if (!(next.utility > at.utility)) continue;
          at = std::move(next);
          gained = true;
        }
      }
    }
  }

  // Takes `step` from each of `from`, as far as it is there, and shares it among `to`.
  static void exchange(std::vector<double>& stakes, const std::vector<size_t>& from,
                       const std::vector<size_t>& to, double step) {
    if (from.empty() || to.empty() || from == to) return;
    double moved = 0;
    for (const size_t x : from) {
      const double taken = std::min(step, stakes[x]);
      stakes[x] -= taken;
      moved += taken;
    }
    for (const size_t x : to) stakes[x] += moved / static_cast<double>(to.size());
  }

  LieSearch& search_;
  const std::vector<StakeBlock>& blocks_;
  std::vector<double> worth_;   // [m], all blocks
  std::vector<double> others_;  // [m]
  std::vector<double> free_;    // [m], the best stakes of any sum
};

}  // namespace

void try_stakes(LieSearch& search) {
  const Game& game = search.game();
  if (!game.candidates.empty()) return;
  const std::vector<StakeBlock> blocks = stake_blocks(search);
  if (game.normalization == Normalization::kMax) return try_max_stakes(search, blocks);
  if (game.normalization == Normalization::kNone) return try_free_stakes(search, blocks);
  SummedStakes summed(search, blocks);
  const double size = search.truth().group_size;
  const double needed = std::ceil(summed.free_total());
  climb_sizes(search.max_size(), {1, 2, 3, needed - 1, needed, 0.3 * size, 0.6 * size, size},
              [&](double reported) { return summed.try_size(reported); });
}

}  // namespace candor
