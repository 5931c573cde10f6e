#include "core/lab.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/strings.h"
#include "core/cycle_search.h"
#include "core/solution.h"

namespace candor {

namespace {

// Trials of the search for large shifts, each of one block's outcomes.
constexpr size_t kShiftTrials = 2000;
constexpr size_t kShiftWork = 200000;

// p^AFF of every type, relative to the first one.
Result<std::vector<double>> affine_payments(const Game& game, const TypeSpace& space) {
  std::vector<double> payments;
  for (const Report& type : space.types) {
    CANDOR_TRY(const Solution solution,
               solve(with_report(game, space.group, type.group_size, type.reward)));
    payments.push_back(solution.groups[space.group].payment);
  }
  const double base = payments.front();
  for (double& payment : payments) payment -= base;
  return payments;
}

double gain_under(const std::vector<std::vector<double>>& value,
                  const std::vector<double>& payments) {
  double gain = 0;
  for (size_t t = 0; t < value.size(); ++t) {
    for (size_t s = 0; s < value.size(); ++s) {
      gain = std::max(gain, (value[t][s] - payments[s]) - (value[t][t] - payments[t]));
    }
  }
  return gain;
}

Status add_paths(const TrainingRule& rule, const Game& game, const TypeSpace& space, size_t to,
                 int largest_steps, RuleStudy& study) {
  for (int steps = 1; steps <= largest_steps; steps *= 2) {
    Result<PaymentPath> path =
        payment_path(rule, game, space.group, space.types[0], space.types[to], steps);
    if (!path.ok()) {
      study.no_path = path.error().message;
      return {};
    }
    study.paths.push_back(*path);
  }
  if (!study.affine.empty()) study.affine_difference = study.affine[to];
  return {};
}

// Adds the witness that a search finds to the models of the types, named by the rule.
Status search_witness(const TrainingRule& rule, const Game& game, const TypeSpace& space,
                      const LabOptions& options, std::vector<TypeModel>& models, RuleStudy& study) {
  CANDOR_TRY(CycleSearch search,
             search_negative_cycle(rule, game, space.group, models,
                                   {.runs = options.search_runs, .seed = options.seed}));
  study.rule_runs += search.runs;
  study.types_searched += search.types;
  const ReportValues values = values_of(game, search.cycle);
  if (check_implementable(values.value, values.error).payments_exist) return {};
  int number = 0;
  for (TypeModel& found : search.cycle) {
    if (!found.type.name.empty()) continue;  // a type of the grid
    found.type.name = str_cat(study.rule, " witness ", ++number);
    models.push_back(std::move(found));
  }
  return {};
}

std::string why_not_proved(const RuleStudy& study, size_t grid) {
  const Implementability& incentives = study.incentives;
  if (study.verdict == Verdict::kNo) {
    return str_cat("a cycle of lies has length ", format_short(incentives.worst_cycle_length, 6),
                   ", which solver and rounding may have moved by ",
                   format_short(incentives.tolerance, 2), " at most (Rochet 1987)");
  }
  std::string out = grid < 2 ? "one type alone closes no cycle"
                             : str_cat("the least cycle of these ", grid, " types, of length ",
                                       format_short(incentives.worst_cycle_length, 2),
                                       ", is not negative beyond its error, ",
                                       format_short(incentives.tolerance, 2));
  if (study.rule_runs > static_cast<int>(grid)) {
    return out + str_cat("; a search among ", study.types_searched - static_cast<int>(grid),
                         " more types closed no negative one: evidence, no proof");
  }
  return out + "; no other types were looked at";
}

// The verdict, on the laboratory's types and, where `search` allows it, beyond them.
Result<ReportValues> judge(const TrainingRule& rule, const Game& game, const TypeSpace& space,
                           bool search, const LabOptions& options, RuleStudy& study) {
  CANDOR_TRY(std::vector<TypeModel> models, train_types(rule, game, space));
  study.rule_runs = study.types_searched = static_cast<int>(models.size());
  ReportValues values = values_of(game, models);
  study.incentives = check_implementable(values.value, values.error);
  const std::optional<std::string> proof = rule.proof(game, space.group);
  if (study.incentives.payments_exist && !proof.has_value() && search && options.search_runs > 0) {
    CANDOR_RETURN_IF_ERROR(search_witness(rule, game, space, options, models, study));
    if (models.size() > space.types.size()) {
      values = values_of(game, models);
      study.incentives = check_implementable(values.value, values.error);
    }
  }
  for (TypeModel& model : models) study.types.push_back(std::move(model.type));
  if (!study.incentives.payments_exist) {
    study.verdict = Verdict::kNo;
  } else if (proof.has_value()) {
    study.verdict = Verdict::kProved;
  }
  study.why =
      study.verdict == Verdict::kProved ? *proof : why_not_proved(study, space.types.size());
  for (const size_t type : study.incentives.worst_cycle) {
    study.worst_cycle.push_back(study.types[type].name);
  }
  return values;
}

Result<RuleStudy> study_rule(const TrainingRule& rule, const Game& game, const TypeSpace& space,
                             bool search, size_t path_to, const LabOptions& options) {
  RuleStudy study;
  study.rule = rule.name();
  CANDOR_TRY(const ReportValues values, judge(rule, game, space, search, options, study));
  study.gain_zero = gain_without_payments(values.value);
  study.gain_pay_report = gain_paying_report(values.value);
  if (study.rule == "sw_max") {
    CANDOR_TRY(study.affine, affine_payments(game, space));
    study.gain_affine = gain_under(values.value, study.affine);
  }
  if (space.types.size() < 2) {
    study.no_path = "there is one type alone";
  } else if (study.verdict == Verdict::kNo) {
    study.no_path = "no payments make truth dominant, so there are none to enclose";
  } else {
    CANDOR_RETURN_IF_ERROR(add_paths(rule, game, space, path_to, options.largest_steps, study));
  }
  return study;
}

void study_continuity(const Game& game, uint64_t seed, Laboratory& lab) {
  if (game.divergence.kind == DivergenceKind::kTv || !game.candidates.empty()) return;
  const size_t block = game.outcome_count() / game.block_count();
  const int trials = static_cast<int>(std::clamp<size_t>(kShiftWork / block, 20, kShiftTrials));
  for (const double epsilon : {0.01, 0.05, 0.2}) {
    const InitialModulus initial = initial_modulus(game, epsilon);
    lab.moduli.push_back({epsilon, continuity_modulus(game.divergence, epsilon), initial,
                          search_largest_shift(game, initial.delta, trials, seed)});
  }
}

// The SW-Max models of all types against Lemma E.1.
void study_lemma_e_1(const Game& game, Laboratory& lab) {
  if (!game.candidates.empty() || game.divergence.kind == DivergenceKind::kTv) return;
  const auto rule = make_training_rule("sw_max").value();
  const Result<std::vector<TypeModel>> models = train_types(*rule, game, lab.space);
  if (!models.ok()) return;
  double most = 0;
  for (size_t t = 1; t < lab.space.types.size(); ++t) {
    const Report& left = lab.space.types[0];
    const Report& right = lab.space.types[t];
    double delta = 0;
    for (size_t x = 0; x < left.reward.size(); ++x) {
      delta = std::max(
          delta, std::abs(left.group_size * left.reward[x] - right.group_size * right.reward[x]));
    }
    if (delta == 0) continue;
    const std::vector<double>& before = (*models)[0].trained.model;
    const std::vector<double>& after = (*models)[t].trained.model;
    most =
        std::max(most, largest_shift(before, after) / curvature_bound(game, before, after, delta));
  }
  lab.lemma_e_1 = most;
}

// Admissible as they are (MATH 6): of the game's shape, and normalised.
Status check_types(const Game& game, const std::vector<Report>& types) {
  for (const Report& type : types) {
    const std::string what = str_cat("type ", quote(type.name));
    if (!(type.group_size > 0 && std::isfinite(type.group_size))) {
      return invalid_argument(
          str_cat(what, ": found size ", type.group_size, "; expected a finite number above 0"));
    }
    if (type.reward.size() != game.outcome_count()) {
      return invalid_argument(str_cat(what, ": has ", type.reward.size(), " rewards; the game has ",
                                      game.outcome_count()));
    }
    double total = 0;
    double largest = 0;
    double smallest = std::numeric_limits<double>::infinity();
    for (const double value : type.reward) {
      if (!(value >= 0 && std::isfinite(value))) {
        return invalid_argument(
            str_cat(what, ": found reward ", value, "; expected a finite number >= 0"));
      }
      total += value;
      largest = std::max(largest, value);
      smallest = std::min(smallest, value);
    }
    const double scale = game.normalization == Normalization::kSum ? total : largest;
    if (game.normalization != Normalization::kNone && !(std::abs(scale - 1) <= 1e-9)) {
      return invalid_argument(str_cat(what, ": its reward is not normalised as the game's are (",
                                      scale, " in place of 1)"));
    }
    if (game.normalization == Normalization::kMinMax && !(smallest <= 1e-9)) {
      return invalid_argument(str_cat(what, ": its reward is not normalised as the game's are (",
                                      smallest, " in place of 0 for its least value)"));
    }
  }
  return {};
}

}  // namespace

const std::string& verdict_name(Verdict verdict) {
  static const std::vector<std::string> kNames = {"proved", "no", "none_found"};
  return kNames[static_cast<size_t>(verdict)];
}

std::optional<bool> RuleStudy::implementable() const {
  if (verdict == Verdict::kNoneFound) return std::nullopt;
  return verdict == Verdict::kProved;
}

std::vector<Report> RuleStudy::worst_cycle_types() const {
  std::vector<Report> out;
  for (const size_t type : incentives.worst_cycle) out.push_back(types[type]);
  return out;
}

Result<Laboratory> run_laboratory(const Game& game, size_t group,
                                  const std::vector<const TrainingRule*>& rules,
                                  std::vector<Report> types, const LabOptions& options) {
  CANDOR_CHECK(group < game.groups.size());
  const size_t count = types.empty() ? options.type_count : types.size();
  if (count < 1 || count > kMostTypes) {
    return invalid_argument(str_cat("types: found ", count, "; expected 1 to ", kMostTypes));
  }
  CANDOR_RETURN_IF_ERROR(check_types(game, types));
  const bool search = types.empty();
  Laboratory lab;
  lab.space = {.group = group, .types = std::move(types)};
  if (lab.space.types.empty()) {
    lab.space = default_types(game, group, options.type_count, options.seed);
  }
  const size_t path_to = lab.space.types.size() - 1;
  lab.path_from = lab.space.types.front().name;
  lab.path_to = lab.space.types[path_to].name;
  for (size_t i = 0; i < rules.size(); ++i) {
    if (options.progress) options.progress(i, rules.size());
    CANDOR_TRY(RuleStudy study, study_rule(*rules[i], game, lab.space, search, path_to, options));
    lab.rules.push_back(std::move(study));
  }
  if (options.progress) options.progress(rules.size(), rules.size());
  study_continuity(game, options.seed, lab);
  study_lemma_e_1(game, lab);
  lab.fee_formula = kl_fee_formula(game, group);
  Result<FeeRoom> fee = fee_room(game, group);
  if (fee.ok()) {
    lab.fee = std::move(fee).value();
  } else {
    lab.no_fee = fee.error().message;
  }
  return lab;
}

}  // namespace candor
