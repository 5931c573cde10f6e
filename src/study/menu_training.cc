// What training costs and what it makes of lies: shortcut prices, dependence of the menu on
// reports, self-tests of the table.

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "base/rng.h"
#include "base/strings.h"
#include "core/table_audit.h"
#include "study/menu_analysis.h"

namespace candor {

namespace {

using Role = ExpertRun::Role;

constexpr uint32_t kDependenceStream = 0x6d656e75;  // "menu"

// sum over the groups but `left_out` of weights V - D; SIZE_MAX leaves nobody out.
double welfare_of(const TableMeans& means, const std::vector<double>& weights, size_t candidate,
                  size_t left_out) {
  double total = -means.divergences[candidate];
  for (size_t i = 0; i < weights.size(); ++i) {
    if (i != left_out) total += weights[i] * means.valuations[i][candidate];
  }
  return total;
}

Json prices_of_trained(const MenuPipeline& pipeline, const MenuRun& run, const MenuTable& menu,
                       const TableMeans& means, size_t row) {
  const Study& study = pipeline.study();
  const std::vector<double>& weights = study.menu->menu.trained[row];
  size_t main = 0;
  for (size_t r = 0; r < pipeline.runs.size(); ++r) {
    if (pipeline.runs[r].role == Role::kTrained && pipeline.runs[r].trained == row) {
      main = run.bank.run_candidates[r];
    }
  }
  Json groups = Json::array();
  for (size_t i = 0; i < study.groups.size(); ++i) {
    const double others = welfare_of(means, weights, main, i);
    double best = others;
    for (const size_t k : menu.candidates) {
      best = std::max(best, welfare_of(means, weights, k, i));
    }
    double checkpoint = others;
    Json entry = {{"name", study.groups[i].name},
                  {"valuation", weights[i] * means.valuations[i][main]},
                  {"menu_price", best - others},
                  {"leave_one_out_price", nullptr},
                  {"early_stop_prices", Json::array()}};
    for (size_t r = 0; r < pipeline.runs.size(); ++r) {
      const ExpertRun& other = pipeline.runs[r];
      if (other.role == Role::kExpert || other.role == Role::kTrained || other.trained != row) {
        continue;
      }
      const double value = welfare_of(means, weights, run.bank.run_candidates[r], i);
      if (other.role == Role::kCheckpoint) checkpoint = std::max(checkpoint, value);
      if (other.group != i || other.role == Role::kCheckpoint) continue;
      if (other.role == Role::kLeaveOneOut) entry["leave_one_out_price"] = value - others;
      if (other.role == Role::kEarlyStop) {
        entry["early_stop_prices"].push_back({{"share", other.share}, {"price", value - others}});
      }
    }
    entry["checkpoint_price"] = checkpoint - others;
    groups.push_back(std::move(entry));
  }
  return groups;
}

// Utility of a lie of `group` on a menu of which the truth is `means`: the mechanism sees the
// lie's row and size, charges p^AFF, and the group values what it gets with its true type.
double utility_of_lie(const TableMeans& means, const std::vector<double>& sizes, size_t group,
                      const MisreportChoice& lie) {
  const size_t candidates = means.divergences.size();
  const double others = std::accumulate(sizes.begin(), sizes.end(), 0.0) - sizes[group];
  size_t winner = 0;
  double most = -HUGE_VAL;
  double best_others = -HUGE_VAL;
  for (size_t k = 0; k < candidates; ++k) {
    const double rest = welfare_of(means, sizes, k, group);
    best_others = std::max(best_others, rest);
    double reported = means.valuations[group][k];
    if (lie.preference_mix.has_value()) {
      const double mean = (rest + means.divergences[k]) / others;
      reported = *lie.preference_mix * reported + (1 - *lie.preference_mix) * mean;
    }
    const double total = rest + lie.size_inflation.value_or(1) * sizes[group] * reported;
    if (total > most) {
      most = total;
      winner = k;
    }
  }
  const double price = best_others - welfare_of(means, sizes, winner, group);
  return sizes[group] * means.valuations[group][winner] - price;
}

Json interval_of(double estimate, std::vector<double> draws, double confidence) {
  std::sort(draws.begin(), draws.end());
  const auto at = [&](double share) {
    return draws[static_cast<size_t>(std::llround(share * static_cast<double>(draws.size() - 1)))];
  };
  return {{"estimate", estimate},
          {"low", at((1 - confidence) / 2)},
          {"high", at((1 + confidence) / 2)}};
}

Result<Json> dependence_of(const MenuPipeline& pipeline, const MenuRun& run, const MenuTable& menu,
                           size_t index) {
  const Study& study = pipeline.study();
  const MisreportChoice& lie = study.menu->misreports[index];
  CANDOR_TRY(const MenuTable lied,
             tabulate_menu(study, run.misreports[index], run.normalizers, menu.all.prompts));
  const auto group = static_cast<size_t>(
      std::ranges::find(study.groups, lie.group, &StudyGroup::name) - study.groups.begin());
  std::vector<double> sizes;
  const std::vector<std::vector<int64_t>> vectors = size_vectors(study);
  for (const int64_t size : vectors[0]) sizes.push_back(static_cast<double>(size));
  const auto gains = [&](const TableMeans& truth, const TableMeans& other) {
    const double honest = utility_of_lie(truth, sizes, group, {});
    return std::pair{utility_of_lie(truth, sizes, group, lie) - honest,
                     utility_of_lie(other, sizes, group, lie) - honest};
  };
  const auto [fixed, retrained] = gains(means_of_samples(menu.menu), means_of_samples(lied.menu));
  std::vector<double> fixed_draws;
  std::vector<double> retrained_draws;
  for (int64_t b = 0; b < study.resamples; ++b) {
    RandomStream random(
        {.seed = study.seed, .stream = kDependenceStream, .prompt = static_cast<uint32_t>(b)});
    std::vector<double> counts(menu.all.prompts, 0.0);
    for (size_t q = 0; q < counts.size(); ++q) counts[random.below(counts.size())] += 1;
    const auto [one, two] =
        gains(weighted_means(menu.menu, counts), weighted_means(lied.menu, counts));
    fixed_draws.push_back(one);
    retrained_draws.push_back(two);
  }
  Json out = {{"group", lie.group},
              {"gain_on_fixed_menu", interval_of(fixed, fixed_draws, study.confidence)},
              {"gain_with_retraining", interval_of(retrained, retrained_draws, study.confidence)},
              {"confidence", study.confidence}};
  if (lie.size_inflation.has_value()) out["size_inflation"] = *lie.size_inflation;
  if (lie.preference_mix.has_value()) out["preference_mix"] = *lie.preference_mix;
  return out;
}

class SelfTests {
 public:
  void add(const std::string& name, bool passed, const std::string& detail) {
    out_.push_back({{"name", name}, {"passed", passed}, {"detail", detail}});
  }
  [[nodiscard]] Json take() { return std::move(out_); }

 private:
  Json out_ = Json::array();
};

// The winner against its neighbours and everybody else, by sums in doubles from the samples:
// another route than the integer table.
void test_winner(const MenuTable& menu, const MenuSettlement& settled, SelfTests& tests) {
  const TableMeans means = means_of_samples(menu.menu);
  std::vector<double> sizes;
  double agents = 0;
  for (const int64_t size : settled.sizes) {
    sizes.push_back(static_cast<double>(size));
    agents += sizes.back();
  }
  const double slack = (agents + 2) / static_cast<double>(kFixedPointOne);  // of rounding V and D
  const size_t winner = settled.settlement.winner;
  const double own = welfare_of(means, sizes, winner, SIZE_MAX);
  double margin = HUGE_VAL;
  for (size_t k = 0; k < means.divergences.size(); ++k) {
    if (k != winner) margin = std::min(margin, own - welfare_of(means, sizes, k, SIZE_MAX));
  }
  tests.add(
      "the winner beats its neighbours, sizes " + dashed(settled.sizes),
      margin >= -slack && std::abs(own - from_fixed_point(settled.settlement.welfare)) <= slack,
      str_cat("welfare ", format_short(own, 8), ", ahead of the next by ",
              format_short(margin, 3)));
  bool prices = true;
  for (size_t i = 0; i < sizes.size(); ++i) {
    double best = -HUGE_VAL;
    for (size_t k = 0; k < means.divergences.size(); ++k) {
      best = std::max(best, welfare_of(means, sizes, k, i));
    }
    const double payment = best - welfare_of(means, sizes, winner, i);
    const Settlement::Group& group = settled.settlement.groups[i];
    prices = prices && std::abs(payment - from_fixed_point(group.payment)) <= 2 * slack &&
             group.payment >= 0 && group.utility >= 0 && group.prices[winner] == group.payment;
  }
  tests.add(
      "payments by another route, none below 0, no utility below 0, sizes " + dashed(settled.sizes),
      prices, "sums of the samples against the integers of the table");
}

Status test_certificate(const MenuSettlement& settled, SelfTests& tests) {
  CANDOR_TRY(const TableAudit audit, audit_table(settled.table, PaymentRule::kAffine));
  tests.add("no lie gains at these prices, sizes " + dashed(settled.sizes), !audit.profitable,
            "the maximum over all candidates, reachable or not");
  return {};
}

// Two candidates are one model iff every reply and its log-probability agree: the same numbers are
// drawn for every candidate.
bool same_replies(const MenuBank& bank, size_t a, size_t b) {
  const size_t block = bank.replies.size() / bank.candidates.size();
  for (size_t r = 0; r < block; ++r) {
    const Json& one = bank.replies[a * block + r];
    const Json& two = bank.replies[b * block + r];
    if (one["text"] != two["text"] || one["logprob"] != two["logprob"]) return false;
  }
  return true;
}

void test_soups(const MenuPipeline& pipeline, const MenuBank& bank, SelfTests& tests) {
  const size_t first = pipeline.study().menu->menu.initial ? 1 : 0;
  const size_t groups = pipeline.study().groups.size();
  bool distinct = true;  // experts of one digest make soups that differ from none of them
  for (size_t a = 0; a < groups; ++a) {
    for (size_t b = 0; b < a; ++b) {
      distinct = distinct && bank.adapters[a].digest != bank.adapters[b].digest;
    }
  }
  if (!distinct || groups < 2) return;
  size_t tested = 0;
  std::string alike;
  for (size_t k = 0; k < pipeline.candidates.size(); ++k) {
    const MenuCandidate& candidate = bank.candidates[k];
    const bool interior =
        (candidate.kind == MenuCandidate::Kind::kSoup ||
         candidate.kind == MenuCandidate::Kind::kMixture) &&
        std::ranges::count_if(candidate.weights, [](double w) { return w != 0; }) > 1;
    if (!interior) continue;
    ++tested;
    for (size_t i = 0; i < groups; ++i) {
      if (same_replies(bank, k, first + i)) alike += " " + candidate.name;
    }
  }
  tests.add("interior soups and mixtures differ from every expert", alike.empty(),
            alike.empty() ? str_cat(tested, " candidates compared reply by reply")
                          : str_cat("the same replies as an expert:", alike));
}

}  // namespace

Json shortcut_prices(const MenuPipeline& pipeline, const MenuRun& run, const MenuTable& menu) {
  Json out = Json::array();
  const TableMeans means = means_of_samples(menu.all);
  const std::vector<std::vector<double>>& trained = pipeline.study().menu->menu.trained;
  for (size_t row = 0; row < trained.size(); ++row) {
    double direct = 0;
    double combined = -HUGE_VAL;
    std::string best;
    for (const size_t k : menu.candidates) {
      const double value = welfare_of(means, trained[row], k, SIZE_MAX);
      const MenuCandidate& candidate = run.bank.candidates[k];
      if (candidate.name == "trained-" + dashed(trained[row])) direct = value;
      const bool shortcut = candidate.kind == MenuCandidate::Kind::kSoup ||
                            candidate.kind == MenuCandidate::Kind::kMixture;
      if (shortcut && value > combined) {
        combined = value;
        best = candidate.name;
      }
    }
    out.push_back({{"weights", trained[row]},
                   {"name", "trained-" + dashed(trained[row])},
                   {"welfare_trained", direct},
                   {"welfare_best_combination", combined},
                   {"best_combination", best},
                   {"groups", prices_of_trained(pipeline, run, menu, means, row)}});
  }
  return out;
}

Result<Json> menu_dependence(const MenuPipeline& pipeline, const MenuRun& run,
                             const MenuTable& menu) {
  Json out = Json::array();
  for (size_t m = 0; m < run.misreports.size(); ++m) {
    CANDOR_TRY(Json entry, dependence_of(pipeline, run, menu, m));
    out.push_back(std::move(entry));
  }
  return out;
}

Json menu_self_tests(const MenuPipeline& pipeline, const MenuRun& run, const MenuTable& menu,
                     const std::vector<MenuSettlement>& settlements) {
  SelfTests tests;
  for (const MenuSettlement& settled : settlements) {
    test_winner(menu, settled, tests);
    if (const Status status = test_certificate(settled, tests); !status.ok()) {
      tests.add("audit, sizes " + dashed(settled.sizes), false, status.error().message);
    }
  }
  test_soups(pipeline, run.bank, tests);
  Json out = tests.take();
  for (const Json& test : run.self_tests) out.push_back(test);
  return out;
}

}  // namespace candor
