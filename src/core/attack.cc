#include "core/attack.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>

#include "base/check.h"
#include "base/interrupt.h"
#include "base/rng.h"
#include "base/strings.h"
#include "core/solution.h"
#include "core/utility_rounding.h"

namespace candor {

namespace {

constexpr uint32_t kAttackStream = 0x61747463;  // "attc"

// What a profile of reports brings about: the model (or the winner's one-hot row) and the payments.
struct Settled {
  std::vector<double> model;
  std::vector<double> payments;  // [reports]
  // How far rounding can have moved the utility of report `report` to a group of that true type.
  std::function<double(size_t report, const Report& type)> rounding;
};

// One mechanism, whatever Theta is: profiles of any number of reports in, Settled out.
struct Arena {
  std::vector<Report> truth;
  double blocks = 1;
  double max_size = 1;
  std::function<std::optional<Settled>(const std::vector<Report>&)> settle;
  // Brings a reward of group `member` among its admissible ones.
  std::function<bool(size_t member, std::vector<double>&)> admit;

  [[nodiscard]] double value(const Report& type, const std::vector<double>& model) const {
    return type.group_size *
           std::inner_product(model.begin(), model.end(), type.reward.begin(), 0.0) / blocks;
  }
};

// Looks for the best joint reports of some members. Reports of the members replace theirs; what
// follows the last group's place are further names of the members.
class AttackSearch {
 public:
  AttackSearch(const Arena& arena, std::vector<size_t> members, std::string kind)
      : arena_(arena), members_(std::move(members)) {
    attack_.kind = std::move(kind);
    for (const size_t member : members_) attack_.members.push_back(arena.truth[member].name);
    const auto settled = arena.settle(arena.truth);
    CANDOR_CHECK(settled.has_value());
    for (const size_t member : members_) {
      attack_.utility_truth += arena.value(arena.truth[member], settled->model);
      attack_.utility_truth -= settled->payments[member];
      truth_rounding_ += settled->rounding(member, arena.truth[member]);
    }
  }

  [[nodiscard]] const Report& truth(size_t member) const { return arena_.truth[members_[member]]; }
  [[nodiscard]] const Attack& attack() const { return attack_; }
  [[nodiscard]] double limit_size(double size) const {
    return std::clamp(std::round(size), 1.0, arena_.max_size);
  }

  [[nodiscard]] bool admits(Report report) const {
    return arena_.admit(members_.front(), report.reward);
  }

  // `reports`: one for each member, then any number of further names.
  void attempt(const std::string& family, std::vector<Report> reports) {
    std::vector<Report> profile = arena_.truth;
    for (size_t i = 0; i < reports.size(); ++i) {
      // Further names are the last member's: they are bounded as it is.
      const size_t member = members_[std::min(i, members_.size() - 1)];
      if (!arena_.admit(member, reports[i].reward)) return;
      reports[i].group_size = limit_size(reports[i].group_size);
      if (i < members_.size()) {
        reports[i].name = arena_.truth[members_[i]].name;
        profile[members_[i]] = reports[i];
      } else {
        profile.push_back(reports[i]);
      }
    }
    const auto settled = arena_.settle(profile);
    if (!settled.has_value()) return;
    double utility = 0;
    for (const size_t member : members_) {
      utility += arena_.value(arena_.truth[member], settled->model) - settled->payments[member];
    }
    for (size_t i = arena_.truth.size(); i < profile.size(); ++i) utility -= settled->payments[i];
    const double gain = utility - attack_.utility_truth;
    auto found = std::ranges::find(attack_.families, family, &FamilyResult::family);
    if (found == attack_.families.end()) {
      attack_.families.push_back({family, 0.0, std::nullopt});
      found = attack_.families.end() - 1;
    }
    if (!(gain > found->deviation_gain) || !(gain > threshold(*settled, profile))) return;
    found->deviation_gain = gain;
    if (!(gain > attack_.gain)) return;
    attack_.gain = gain;
    attack_.family = family;
    attack_.reports = std::move(reports);
  }

 private:
  // What rounding can feign of a gain: the members' and, which have no type, the further names'.
  [[nodiscard]] double threshold(const Settled& settled, const std::vector<Report>& profile) const {
    double sum = 0;
    for (const size_t member : members_) sum += settled.rounding(member, arena_.truth[member]);
    for (size_t i = arena_.truth.size(); i < profile.size(); ++i) {
      const std::vector<double> nothing(profile[i].reward.size(), 0.0);
      sum += settled.rounding(i, {.name = profile[i].name, .reward = nothing});
    }
    return gain_threshold(truth_rounding_, sum);
  }

  const Arena& arena_;
  std::vector<size_t> members_;
  double truth_rounding_ = 0;
  Attack attack_;
};

Report scaled(Report report, double factor) {
  report.group_size *= factor;
  return report;
}

// share x left + (1 - share) x right, with the size of `left`.
Report mixed(const Report& left, const Report& right, double share) {
  Report out = left;
  out.reward_rest.clear();
  for (size_t x = 0; x < out.reward.size(); ++x) {
    out.reward[x] = share * left.reward[x] + (1 - share) * right.reward[x];
  }
  return out;
}

void try_collusion(AttackSearch& search, const AttackOptions& options, uint32_t pair) {
  const Report& a = search.truth(0);
  const Report& b = search.truth(1);
  static constexpr double kFactors[] = {1, 2, 5, 30, 1000};
  for (const double left : kFactors) {
    for (const double right : kFactors) {
      search.attempt("joint_inflation", {scaled(a, left), scaled(b, right)});
    }
  }
  const double together = a.group_size + b.group_size;
  const Report common = mixed(a, b, a.group_size / together);
  for (const double factor : {0.5, 1.0, 2.0, 10.0}) {
    Report half = common;
    half.group_size = factor * together / 2;
    search.attempt("common_reward", {half, half});
    Report all = common;
    all.group_size = factor * together;
    Report nobody = b;
    nobody.group_size = 1;
    std::ranges::fill(nobody.reward, 1.0);                      // a constant reward pays nothing
    if (!search.admits(nobody)) nobody.reward = common.reward;  // under min_max nobody stays out
    search.attempt("one_for_both", {all, nobody});
    search.attempt("one_for_both", {nobody, all});
    for (const double share : {0.25, 0.5, 0.75}) {
      search.attempt("mixed_rewards",
                     {scaled(mixed(a, b, share), factor), scaled(mixed(b, a, share), factor)});
    }
  }
  for (int i = 0; i < options.random_reports; ++i) {
    RandomStream random({.seed = options.seed,
                         .stream = kAttackStream,
                         .prompt = pair,
                         .sample = static_cast<uint32_t>(i)});
    Report left = mixed(a, b, random.uniform());
    Report right = mixed(b, a, random.uniform());
    left.group_size *= std::exp(1.5 * random.normal());
    right.group_size *= std::exp(1.5 * random.normal());
    search.attempt("random", {left, right});
  }
  for (const double step : {3.0, 1.5, 1.1}) {
    for (const auto& [left, right] : {std::pair{step, 1.0},
                                      {1 / step, 1.0},
                                      {1.0, step},
                                      {1.0, 1 / step},
                                      {step, step},
                                      {1 / step, 1 / step}}) {
      if (search.attack().reports.empty()) return;
      search.attempt("climb", {scaled(search.attack().reports[0], left),
                               scaled(search.attack().reports[1], right)});
    }
  }
}

void try_false_names(AttackSearch& search) {
  const Report& truth = search.truth(0);
  for (const double names : {2.0, 3.0, 4.0, 8.0, 16.0}) {
    for (const double factor : {1.0, 2.0, 4.0, 16.0}) {
      const double total = factor * truth.group_size;
      if (total < names) continue;  // a name speaks for one agent at least
      std::vector<Report> reports;
      for (double i = 0; i < names; ++i) {
        Report part = truth;
        part.name = i == 0 ? truth.name : str_cat(truth.name, " (name ", i + 1, ")");
        part.group_size = std::floor(total * (i + 1) / names) - std::floor(total * i / names);
        reports.push_back(std::move(part));
      }
      search.attempt(factor == 1 ? "split" : "split_inflated", std::move(reports));
    }
  }
}

Result<std::vector<Attack>> search_arena(const Arena& arena, const AttackOptions& options) {
  std::vector<Attack> out;
  std::vector<size_t> order(arena.truth.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::greater<>(),
                           [&](size_t i) { return arena.truth[i].group_size; });
  uint32_t pair = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    for (size_t j = 0; j < i && pair < options.most_pairs; ++j, ++pair) {
      AttackSearch search(arena, {std::min(order[i], order[j]), std::max(order[i], order[j])},
                          "collusion");
      try_collusion(search, options, pair);
      out.push_back(search.attack());
      CANDOR_RETURN_IF_ERROR(check_interrupted());
    }
  }
  for (size_t i = 0; i < arena.truth.size(); ++i) {
    AttackSearch search(arena, {i}, "false_name");
    try_false_names(search);
    out.push_back(search.attack());
    CANDOR_RETURN_IF_ERROR(check_interrupted());
  }
  return out;
}

// What the members pay under the other rules.
std::vector<double> charged(const Arena& arena, PaymentRule rule,
                            const std::vector<Report>& reports, const std::vector<double>& model,
                            std::vector<double> affine) {
  if (rule == PaymentRule::kAffine) return affine;
  std::vector<double> out(reports.size(), 0.0);
  for (size_t i = 0; rule == PaymentRule::kPayReport && i < reports.size(); ++i) {
    out[i] = arena.value(reports[i], model);
  }
  return out;
}

Status check_rule(PaymentRule rule) {
  if (rule != PaymentRule::kGiven) return {};
  return invalid_argument("attacks cannot be searched under given prices: new names have none");
}

}  // namespace

Result<std::vector<Attack>> search_attacks(const Game& game, const AttackOptions& options) {
  CANDOR_RETURN_IF_ERROR(check_rule(options.payments));
  CANDOR_TRY(const Solution honest, solve(game));
  Arena arena{.truth = game.groups,
              .blocks = static_cast<double>(game.block_count()),
              .max_size = static_cast<double>(game.max_size),
              .settle = {},
              .admit = {}};
  arena.settle = [&](const std::vector<Report>& reports) -> std::optional<Settled> {
    auto changed = std::make_shared<Game>(game);
    changed->groups = reports;
    Result<Solution> solution = solve(*changed);
    if (!solution.ok()) return std::nullopt;
    std::vector<double> affine;
    for (const GroupOutcome& group : solution->groups) affine.push_back(group.payment);
    Settled out{.model = solution->allocation, .payments = {}, .rounding = {}};
    out.payments = charged(arena, options.payments, reports, out.model, std::move(affine));
    out.rounding = [&options, changed, solved = std::make_shared<Solution>(*std::move(solution))](
                       size_t report, const Report& type) {
      return utility_rounding({.reported = *changed,
                               .group = report,
                               .type = type,
                               .payments = options.payments,
                               .solution = *solved});
    };
    return out;
  };
  arena.admit = [&](size_t member, std::vector<double>& reward) {
    return make_admissible(game, member, reward);
  };
  return search_arena(arena, options);
}

Result<std::vector<Attack>> search_attacks(const Table& table, const AttackOptions& options) {
  CANDOR_RETURN_IF_ERROR(check_rule(options.payments));
  CANDOR_RETURN_IF_ERROR(check_table(table));
  Arena arena{.truth = {},
              .blocks = 1,
              .max_size = static_cast<double>(table.max_size),
              .settle = {},
              .admit = {}};
  for (const Table::Group& group : table.groups) {
    Report& report = arena.truth.emplace_back();
    report.name = group.name;
    report.group_size = static_cast<double>(group.group_size);
    for (const int64_t units : group.valuations) report.reward.push_back(from_fixed_point(units));
  }
  arena.settle = [&](const std::vector<Report>& reports) -> std::optional<Settled> {
    Table changed = table;
    changed.groups.clear();
    for (const Report& report : reports) {
      Table::Group& group = changed.groups.emplace_back();
      group.name = report.name;
      group.group_size = static_cast<int64_t>(report.group_size);
      for (const double value : report.reward) {
        group.valuations.push_back(std::llrint(value * static_cast<double>(kFixedPointOne)));
      }
    }
    const Settlement settled = candor::settle(changed, {.prices = false});
    Settled out{
        .model = std::vector<double>(table.candidates.size(), 0.0), .payments = {}, .rounding = {}};
    out.model[settled.winner] = 1;
    std::vector<double> affine;
    for (const auto& group : settled.groups) affine.push_back(from_fixed_point(group.payment));
    out.payments = charged(arena, options.payments, reports, out.model, std::move(affine));
    // The integers are exact; what is left is one conversion of each.
    out.rounding = [payments = out.payments](size_t report, const Report& type) {
      static constexpr double kRounding = 4 * std::numeric_limits<double>::epsilon();
      return kRounding * (type.group_size * std::ranges::max(type.reward) + payments[report]);
    };
    return out;
  };
  arena.admit = [](size_t, std::vector<double>& reward) {
    for (double& value : reward) value = std::clamp(value, 0.0, 1.0);
    return true;
  };
  return search_arena(arena, options);
}

}  // namespace candor
