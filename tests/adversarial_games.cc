// Games near the limits of every law, solved in memory, streamed and in shards, against the
// reference solver's 60 digits: every number printed lies within its bounds, and how wide those
// are. It can disprove, not prove.
//
//   adversarial_games [GAMES] [FIRST_SEED] [--json | --markdown]     default 2000 games from seed 1
//
// Every game follows from its seed alone (adversarial_draw.h). A number whose bounds miss the truth
// is a violation: it prints seed, number, bounds, truth and the game as game/1, and the exit code
// is 1.
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <limits>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "adversarial_draw.h"
#include "base/json.h"
#include "base/strings.h"
#include "core/shard.h"
#include "core/solution.h"
#include "core/stream.h"

namespace candor {
namespace {

// A number as the solver states it: a value and bounds on the truth.
struct Claim {
  double value = 0;
  double low = 0;
  double high = 0;
};

struct Claims {
  std::vector<Claim> numbers;  // in the order of truths_of
  bool converged = true;
  double tolerance = 0;  // what every value is within of the truth, where converged
};

// What a solution claims.
Claims claims_of(const Solution& solution) {
  Claims out;
  const auto add = [&](double value, const Enclosure& bounds) {
    out.numbers.push_back({value, bounds.low, bounds.high});
  };
  add(solution.welfare, solution.welfare_enclosure);
  add(solution.divergence, solution.divergence_enclosure);
  for (const GroupOutcome& group : solution.groups) {
    add(group.valuation, group.valuation_enclosure);
    add(group.payment, group.payment_enclosure);
    add(group.utility, group.utility_enclosure);
    add(group.welfare_without, group.welfare_without_enclosure);
  }
  out.converged = solution.converged;
  out.tolerance = solution.tolerance;
  return out;
}

std::vector<const ExactValue*> truths_of(const ExactSolution& exact) {
  std::vector<const ExactValue*> out = {&exact.welfare, &exact.divergence};
  for (const ExactOutcome& group : exact.groups) {
    out.insert(out.end(),
               {&group.valuation, &group.payment, &group.utility, &group.welfare_without});
  }
  return out;
}

std::string name_of(size_t number) {
  static constexpr const char* kOfGame[] = {"welfare", "divergence"};
  static constexpr const char* kOfGroup[] = {"valuation", "payment", "utility", "welfare_without"};
  if (number < 2) return kOfGame[number];
  return str_cat("groups[", (number - 2) / 4, "].", kOfGroup[(number - 2) % 4]);
}
bool is_payment(size_t number) { return number >= 2 && (number - 2) % 4 == 1; }

Normalization normalization_of(const ExactGame& game) {
  if (game.normalization == "max") return Normalization::kMax;
  return game.normalization == "sum" ? Normalization::kSum : Normalization::kNone;
}

Divergence divergence_of(const ExactGame& game) {
  const auto& names = divergence_names();
  const auto place = std::ranges::find(names, game.divergence) - names.begin();
  return {.kind = static_cast<DivergenceKind>(place),
          .regularization = game.lambda,
          .alpha = game.alpha};
}

Game game_of(const ExactGame& raw) {
  Game game;
  game.divergence = divergence_of(raw);
  game.normalization = normalization_of(raw);
  game.initial = raw.initial;
  game.block_begin = raw.block_begin;
  for (const ExactGame::Group& group : raw.groups) {
    game.groups.push_back({.name = group.name, .group_size = group.size, .reward = group.reward});
  }
  return game;
}

// The streamed game over the arrays of `raw`, which must outlive it.
class Columns {
 public:
  Columns(const ExactGame& raw, bool single) {
    game_.divergence = divergence_of(raw);
    game_.initial = {.f64 = raw.initial.data(), .size = raw.initial.size()};
    for (const ExactGame::Group& group : raw.groups) {
      StreamGroup& column = game_.groups.emplace_back();
      column.name = group.name;
      column.group_size = group.size;
      column.reward = {.f64 = group.reward.data(), .size = group.reward.size()};
      if (!single) continue;
      singles_.emplace_back(group.reward.begin(), group.reward.end());
      column.reward.f64 = nullptr;
      column.reward.f32 = singles_.back().data();
    }
  }
  [[nodiscard]] const StreamGame& game() const { return game_; }
  // The game without its data, as whoever reduces has it.
  [[nodiscard]] StreamGame bare() const {
    StreamGame out = game_;
    out.initial.f64 = nullptr;
    for (StreamGroup& group : out.groups) group.reward.f64 = nullptr, group.reward.f32 = nullptr;
    return out;
  }

 private:
  StreamGame game_;
  std::vector<std::vector<float>> singles_;
};

Result<Solution> solve_in_memory(const ExactGame& raw) {
  CANDOR_TRY(const Game game, make_game(game_of(raw)));
  return solve(game);
}

Result<Solution> solve_streamed(const ExactGame& raw, bool single) {
  const Columns columns(raw, single);
  CANDOR_TRY(const StreamGame game, make_stream_game(columns.game(), normalization_of(raw), 1));
  return solve_stream(game, 1);
}

Result<Solution> solve_in_shards(const ExactGame& raw, bool single) {
  static constexpr size_t kShards = 2;
  const Columns columns(raw, single);
  const StreamGame& game = columns.game();
  PassHistory history;
  for (int round = 0; round < 1000; ++round) {
    std::vector<Accumulator> parts;
    for (size_t shard = 0; shard < kShards; ++shard) {
      const SegmentRange range = shard_segments(game.outcome_count(), shard, kShards);
      if (range.begin == range.end) continue;
      CANDOR_TRY(Accumulator part, map_shard(game, normalization_of(raw), history, range, 1));
      parts.push_back(std::move(part));
    }
    CANDOR_TRY(Reduced reduced,
               reduce_shards(columns.bare(), normalization_of(raw), std::move(history), parts));
    if (reduced.solution.has_value()) return *std::move(reduced.solution);
    history = std::move(reduced.history);
  }
  return invalid_argument("the shards do not end");
}

enum Route : size_t { kMemory, kStreamed, kShards, kRoutes };
constexpr const char* kRouteNames[] = {"memory", "streamed", "shards"};

// What happened to the games of one law on one route. Widths and errors are relative to the scale
// of their game, 1 + sum_i w_i.
struct Row {
  uint64_t games = 0;
  uint64_t refused = 0;
  uint64_t unconverged = 0;
  uint64_t violations = 0;  // numbers
  uint64_t violating_games = 0;
  uint64_t worst_seed = 0;  // of the largest error
  double worst_error = -1;
  std::vector<double> widths;    // [converged], the widest number's
  std::vector<double> errors;    // [games], the largest |value - truth|
  std::vector<double> payments;  // of every payment above 0: |value - truth| / truth

  void see_error(double error, uint64_t seed) {
    const bool ahead = error > worst_error || (error == worst_error && seed < worst_seed);
    if (!ahead) return;
    worst_error = error;
    worst_seed = seed;
  }
  void add(const Row& other) {
    games += other.games;
    refused += other.refused;
    unconverged += other.unconverged;
    violations += other.violations;
    violating_games += other.violating_games;
    see_error(other.worst_error, other.worst_seed);
    widths.insert(widths.end(), other.widths.begin(), other.widths.end());
    errors.insert(errors.end(), other.errors.begin(), other.errors.end());
    payments.insert(payments.end(), other.payments.begin(), other.payments.end());
  }
};

double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const auto place = std::lround(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + place, values.end());
  return values[static_cast<size_t>(place)];
}

struct Tally {
  std::vector<std::array<Row, kRoutes>> laws{adversarial_laws().size()};
  uint64_t unsettled = 0;  // games whose truth the reference solver does not state
  uint64_t large = 0;

  void add(const Tally& other) {
    for (size_t law = 0; law < laws.size(); ++law) {
      for (size_t route = 0; route < kRoutes; ++route) laws[law][route].add(other.laws[law][route]);
    }
    unsettled += other.unsettled;
    large += other.large;
  }
};

Json game_json(const ExactGame& game) {
  Json divergence = {{"name", game.divergence}, {"lambda", game.lambda}};
  if (game.divergence == "alpha") divergence["alpha"] = game.alpha;
  Json groups = Json::array();
  for (const ExactGame::Group& group : game.groups) {
    groups.push_back({{"name", group.name}, {"size", group.size}, {"reward", group.reward}});
  }
  Json blocks = Json::array();
  for (size_t b = 0; b + 1 < game.block_begin.size(); ++b) {
    blocks.push_back(game.block_begin[b + 1] - game.block_begin[b]);
  }
  return {
      {"candor", "game/1"},      {"divergence", divergence}, {"normalization", game.normalization},
      {"initial", game.initial}, {"blocks", blocks},         {"groups", groups}};
}

std::mutex print_lock;
constexpr int kPrinted = 200;
int printed = 0;

void print_violation(uint64_t seed, const AdversarialGame& drawn, Route route,
                     const std::string& what) {
  const std::lock_guard guard(print_lock);
  if (++printed > kPrinted) return;
  std::fprintf(stderr, "seed %llu, %s, %s%s: %s\n  %s\n", static_cast<unsigned long long>(seed),
               adversarial_laws()[drawn.law].c_str(), kRouteNames[route],
               drawn.copies.empty() ? "" : " (in copies)", what.c_str(),
               to_line(game_json(drawn.game)).c_str());
}

class OneGame {
 public:
  OneGame(uint64_t seed, Tally& tally)
      : seed_(seed), drawn_(draw_adversarial(seed)), tally_(tally) {}

  void run() {
    const Real::Precision precision(120);
    exact_ = solve_exactly(drawn_.game);
    if (!exact_.settled) {
      ++tally_.unsettled;
      print_violation(seed_, drawn_, kMemory, "the reference solver does not settle");
      return;
    }
    for (const ExactGame::Group& group : drawn_.game.groups) scale_ += group.size;
    const bool large = !drawn_.copies.empty();
    const ExactGame raw = with_copies(drawn_);
    if (large) {
      ++tally_.large;
    } else {
      check(kMemory, solve_in_memory(raw));
    }
    if (raw.block_begin.size() > 2) return;
    check(kStreamed, solve_streamed(raw, drawn_.single));
    if (large || seed_ % 5 == 0) check(kShards, solve_in_shards(raw, drawn_.single));
  }

 private:
  void check(Route route, const Result<Solution>& solution) {
    Row& row = tally_.laws[drawn_.law][route];
    ++row.games;
    if (!solution.ok()) {
      ++row.refused;
      return;
    }
    compare(route, claims_of(*solution), row);
  }

  void compare(Route route, const Claims& claims, Row& row) {
    const std::vector<const ExactValue*> truths = truths_of(exact_);
    double width = 0;
    double largest = 0;
    Real worst(0);
    std::string what;
    for (size_t number = 0; number < claims.numbers.size(); ++number) {
      const Claim& claim = claims.numbers[number];
      const ExactValue& truth = *truths[number];
      const Real error = abs(Real(claim.value) - truth.value);
      const std::string broken = broken_by(claims, number, truth, error);
      if (!broken.empty()) {
        ++row.violations;
        if (what.empty() || error > worst) {
          worst = error;
          what = broken;
        }
      }
      width = std::max(width, claim.high - claim.low);
      largest = std::max(largest, bounded(error));
      if (is_payment(number) && truth.value > truth.error) {
        row.payments.push_back(bounded(error / truth.value));
      }
    }
    if (!what.empty()) {
      ++row.violating_games;
      print_violation(seed_, drawn_, route, what);
    }
    row.errors.push_back(largest / scale_);
    row.see_error(largest / scale_, seed_);
    if (claims.converged) {
      row.widths.push_back(std::min(width / scale_, std::numeric_limits<double>::max()));
    } else {
      ++row.unconverged;
    }
  }

  // Which promise a number breaks: its bounds hold the truth and itself, and where the solver says
  // so it is within the tolerance.
  static std::string broken_by(const Claims& claims, size_t number, const ExactValue& truth,
                               const Real& error) {
    const Claim& claim = claims.numbers[number];
    const bool holds_truth = Real(claim.low) <= truth.value + truth.error &&
                             truth.value - truth.error <= Real(claim.high);
    const bool holds_value = claim.low <= claim.value && claim.value <= claim.high;
    const bool within = !claims.converged || error <= Real(claims.tolerance) + truth.error;
    if (holds_truth && holds_value && within) return "";
    return str_cat(name_of(number), " ", claim.value, " in [", claim.low, ", ", claim.high,
                   "], tolerance ", claims.tolerance, "; the truth is ", truth.value.text(20));
  }

  // A finite double whatever the number: for tables.
  static double bounded(const Real& value) {
    const double out = value.to_double();
    return std::isfinite(out) ? out : std::numeric_limits<double>::max();
  }

  uint64_t seed_;
  AdversarialGame drawn_;
  Tally& tally_;
  ExactSolution exact_;
  double scale_ = 1;
};

Json json_of(const Row& row) {
  return {{"games", row.games},
          {"refused", row.refused},
          {"not_converged", row.unconverged},
          {"violations", row.violations},
          {"violating_games", row.violating_games},
          {"largest_width", quantile(row.widths, 1)},
          {"median_width", quantile(row.widths, 0.5)},
          {"largest_error", quantile(row.errors, 1)},
          {"largest_error_seed", row.worst_seed},
          {"median_error", quantile(row.errors, 0.5)},
          {"payments", row.payments.size()},
          {"largest_payment_error", quantile(row.payments, 1)},
          {"p99_payment_error", quantile(row.payments, 0.99)},
          {"median_payment_error", quantile(row.payments, 0.5)}};
}

void print_markdown(const Tally& tally) {
  std::printf(
      "| law | route | games | refused | not converged | violations | largest width | median width "
      "| largest error | its seed | median error | payments > 0 | their largest relative error | "
      "99 %% | "
      "median |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n");
  for (size_t law = 0; law < tally.laws.size(); ++law) {
    for (size_t route = 0; route < kRoutes; ++route) {
      const Row& row = tally.laws[law][route];
      const auto count = [](uint64_t value) { return static_cast<unsigned long long>(value); };
      std::printf(
          "| %s | %s | %llu | %llu | %llu | %llu | %.1e | %.1e | %.1e | %llu | %.1e | %llu | %.1e "
          "| %.1e "
          "| %.1e |\n",
          adversarial_laws()[law].c_str(), kRouteNames[route], count(row.games), count(row.refused),
          count(row.unconverged), count(row.violations), quantile(row.widths, 1),
          quantile(row.widths, 0.5), quantile(row.errors, 1), count(row.worst_seed),
          quantile(row.errors, 0.5), count(row.payments.size()), quantile(row.payments, 1),
          quantile(row.payments, 0.99), quantile(row.payments, 0.5));
    }
  }
}

int run(uint64_t games, uint64_t first, bool markdown) {
  Tally tally;
  std::mutex lock;
  std::atomic<uint64_t> next = first;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < std::max(1U, std::thread::hardware_concurrency()); ++i) {
    threads.emplace_back([&] {
      Tally own;
      for (uint64_t seed = next++; seed < first + games; seed = next++) OneGame(seed, own).run();
      const std::lock_guard guard(lock);
      tally.add(own);
    });
  }
  for (std::thread& thread : threads) thread.join();
  uint64_t violations = 0;
  Json laws = Json::object();
  for (size_t law = 0; law < tally.laws.size(); ++law) {
    for (size_t route = 0; route < kRoutes; ++route) {
      violations += tally.laws[law][route].violations;
      laws[adversarial_laws()[law]][kRouteNames[route]] = json_of(tally.laws[law][route]);
    }
  }
  if (markdown) {
    std::printf(
        "%llu games from seed %llu, %llu of them of 300,000 outcomes and more; %llu whose "
        "truth the reference does not settle; %llu numbers outside their bounds.\n\n",
        static_cast<unsigned long long>(games), static_cast<unsigned long long>(first),
        static_cast<unsigned long long>(tally.large),
        static_cast<unsigned long long>(tally.unsettled),
        static_cast<unsigned long long>(violations));
    print_markdown(tally);
  } else {
    const Json out = {{"games", games},           {"first_seed", first},
                      {"large", tally.large},     {"unsettled", tally.unsettled},
                      {"violations", violations}, {"laws", laws}};
    std::puts(to_line(out).c_str());
  }
  return violations == 0 && tally.unsettled == 0 ? 0 : 1;
}

}  // namespace
}  // namespace candor

int main(int argc, char** argv) {
  bool markdown = false;
  std::vector<uint64_t> numbers;
  for (int i = 1; i < argc; ++i) {
    char* end = nullptr;
    const uint64_t number = std::strtoull(argv[i], &end, 10);
    if (std::strcmp(argv[i], "--markdown") == 0) {
      markdown = true;
    } else if (*argv[i] >= '0' && *argv[i] <= '9' && *end == '\0' && numbers.size() < 2) {
      numbers.push_back(number);
    } else if (std::strcmp(argv[i], "--json") != 0) {
      std::fputs("usage: adversarial_games [GAMES] [FIRST_SEED] [--json | --markdown]\n", stderr);
      return 2;
    }
  }
  const uint64_t games = !numbers.empty() ? numbers[0] : 2000;
  const uint64_t first = numbers.size() > 1 ? numbers[1] : 1;
  return candor::run(games, first, markdown);
}
