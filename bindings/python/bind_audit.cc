#include <map>
#include <variant>

#include "common.h"
#include "core/attack.h"
#include "core/audit.h"
#include "core/noise.h"
#include "core/sampling_plan.h"

namespace candor::python {

namespace {

PaymentRule game_rule(const std::string& name, bool given) {
  if (given) return PaymentRule::kGiven;
  return unwrap(parse_payment_rule(name));
}

// {"thm_3_2": (holds, why), ...}: of theorems about truth when nobody pays.
std::map<std::string, std::pair<bool, std::string>> assumptions_of(const GroupAudit& group) {
  const MisreportTheorems& theorems = group.theorems;
  std::map<std::string, std::pair<bool, std::string>> out;
  out["thm_3_2"] = {theorems.thm_3_2.holds, theorems.thm_3_2.why};
  out["thm_a_1"] = {theorems.thm_a_1.holds, theorems.thm_a_1.why};
  for (size_t i = 0; i < theorems.thm_e_2.size(); ++i) {
    out["thm_e_2_" + std::to_string(i + 1)] = {theorems.thm_e_2[i].holds, theorems.thm_e_2[i].why};
  }
  return out;
}

void bind_results(py::module_& module) {
  py::class_<FamilyResult>(module, "FamilyResult")
      .def_readonly("family", &FamilyResult::family)
      .def_readonly("deviation_gain", &FamilyResult::deviation_gain)
      .def_readonly("parameter", &FamilyResult::parameter);
  py::class_<GroupAudit>(module, "GroupAudit")
      .def_readonly("name", &GroupAudit::name)
      .def_readonly("utility_truth", &GroupAudit::utility_truth)
      .def_readonly("best_utility", &GroupAudit::best_utility)
      .def_readonly("deviation_gain", &GroupAudit::deviation_gain)
      .def_readonly("threshold", &GroupAudit::threshold)
      .def_readonly("profitable", &GroupAudit::profitable)
      .def_readonly("best_report", &GroupAudit::best_report)
      .def_readonly("bound", &GroupAudit::bound)
      .def_readonly("certificate", &GroupAudit::certificate)
      .def_readonly("families", &GroupAudit::families)
      .def_property_readonly("assumptions", &assumptions_of)
      .def_property_readonly("t", [](const GroupAudit& group) { return group.theorems.t; });
  py::class_<Audit>(module, "Audit")
      .def_readonly("profitable", &Audit::profitable)
      .def_readonly("threshold", &Audit::threshold)
      .def_readonly("groups", &Audit::groups);
  py::class_<Attack>(module, "Attack")
      .def_readonly("kind", &Attack::kind)
      .def_readonly("members", &Attack::members)
      .def_readonly("family", &Attack::family)
      .def_readonly("utility_truth", &Attack::utility_truth)
      .def_readonly("gain", &Attack::gain)
      .def_readonly("reports", &Attack::reports);
  py::class_<Mean>(module, "Mean")
      .def_readonly("value", &Mean::value)
      .def_readonly("half_width", &Mean::half_width);
  py::class_<NoiseGroup>(module, "NoiseGroup")
      .def_readonly("name", &NoiseGroup::name)
      .def_readonly("gain_bound", &NoiseGroup::gain_bound)
      .def_readonly("best_lie", &NoiseGroup::best_lie)
      .def_readonly("expected_gain", &NoiseGroup::expected_gain)
      .def_readonly("worst_gain", &NoiseGroup::worst_gain)
      .def_readonly("truthful_utility", &NoiseGroup::truthful_utility)
      .def_readonly("least_utility", &NoiseGroup::least_utility);
  py::class_<NoiseStudy>(module, "NoiseStudy")
      .def_readonly("epsilon", &NoiseStudy::epsilon)
      .def_readonly("epsilon_dsic", &NoiseStudy::epsilon_dsic)
      .def_readonly("epsilon_ir", &NoiseStudy::epsilon_ir)
      .def_readonly("loss_bound", &NoiseStudy::loss_bound)
      .def_readonly("expected_loss", &NoiseStudy::expected_loss)
      .def_readonly("largest_loss", &NoiseStudy::largest_loss)
      .def_readonly("worst_loss", &NoiseStudy::worst_loss)
      .def_readonly("closest_to_bound", &NoiseStudy::closest_to_bound)
      .def_readonly("groups", &NoiseStudy::groups);
  py::class_<SamplingPlan>(module, "SamplingPlan")
      .def_property_readonly("basis",
                             [](const SamplingPlan& plan) { return plan_basis_name(plan.basis); })
      .def_property_readonly("replies", [](const SamplingPlan& plan) { return plan.size.replies; })
      .def_property_readonly("prompts", [](const SamplingPlan& plan) { return plan.size.prompts; })
      .def_property_readonly("samples", [](const SamplingPlan& plan) { return plan.size.samples; })
      .def_property_readonly("cost", [](const SamplingPlan& plan) { return plan.size.cost; })
      .def_readonly("epsilon", &SamplingPlan::epsilon)
      .def_readonly("variance", &SamplingPlan::variance)
      .def_readonly("prompts_hoeffding", &SamplingPlan::prompts_hoeffding)
      .def_readonly("least_pilot", &SamplingPlan::least_pilot)
      .def_property_readonly("forecast_replies",
                             [](const SamplingPlan& plan) { return plan.forecast.replies; })
      .def_property_readonly("forecast_prompts",
                             [](const SamplingPlan& plan) { return plan.forecast.prompts; });
}

}  // namespace

void bind_audit(py::module_& module) {
  bind_results(module);
  module.def(
      "audit",
      [](const Game& game, const std::string& payments,
         const std::vector<std::vector<double>>& prices, uint64_t seed, int random_reports,
         const py::object& progress) {
        const AuditOptions options{.payments = game_rule(payments, !prices.empty()),
                                   .given_prices = prices,
                                   .seed = seed,
                                   .random_reports = random_reports,
                                   .progress = progress_of(progress)};
        return run_long([&] { return unwrap(audit_game(game, options)); });
      },
      py::arg("game"), py::arg("payments") = "affine",
      py::arg("prices") = std::vector<std::vector<double>>(), py::arg("seed") = 1,
      py::arg("random_reports") = 200, py::arg("progress") = py::none(),
      "Searches for a lie that pays (Thm 3.2, E.2, 3.3); `prices` [n][K] replace `payments` in "
      "games "
      "with candidates.");
  module.def(
      "search_attacks",
      [](const Game& game, const std::string& payments, uint64_t seed) {
        const AttackOptions options{.payments = game_rule(payments, false), .seed = seed};
        return run_long([&] { return unwrap(search_attacks(game, options)); });
      },
      py::arg("game"), py::arg("payments") = "affine", py::arg("seed") = 1,
      "Joint lies of two groups and false names: lower bounds of what they gain.");
  module.def(
      "study_noise",
      [](const Game& game, const std::string& noise, double epsilon, int draws, int votes,
         uint64_t seed, const py::object& progress) {
        const NoiseOptions options{.model = unwrap(parse_noise_model(noise)),
                                   .epsilon = epsilon,
                                   .votes = votes,
                                   .draws = draws,
                                   .seed = seed,
                                   .progress = progress_of(progress)};
        return run_long([&] { return unwrap(study_noise(game, options)); });
      },
      py::arg("game"), py::arg("noise") = "uniform", py::arg("epsilon") = 0.05,
      py::arg("draws") = 400, py::arg("votes") = 64, py::arg("seed") = 1,
      py::arg("progress") = py::none(),
      "App. B: welfare lost (<= 2 eps sum_i w_i, Lemma B.2) and gains from lying (<= 2 w_i eps, "
      "Thm "
      "B.3) by Monte Carlo and a search for the worst noise.");
  module.def(
      "plan_sampling",
      [](double epsilon, double confidence, size_t groups, size_t candidates,
         std::optional<double> between, std::optional<double> within, double prompt_cost,
         const Game* pilot) {
        PlanRequest request{.epsilon = epsilon,
                            .confidence = confidence,
                            .groups = groups,
                            .candidates = candidates,
                            .between = between,
                            .within = within,
                            .prompt_cost = prompt_cost};
        if (pilot != nullptr) request.pilot = unwrap(game_pilot(*pilot));
        return unwrap(plan_sampling(request));
      },
      py::arg("epsilon"), py::arg("confidence") = 0.95, py::arg("groups") = 1,
      py::arg("candidates") = 1, py::arg("between") = py::none(), py::arg("within") = py::none(),
      py::arg("prompt_cost") = 1.0, py::arg("pilot") = py::none(),
      "The cheapest prompts and replies that keep every valuation within epsilon. `between` and "
      "`within` are assumptions, which the promise then needs; `pilot`, a game whose blocks are "
      "prompts, is used where nothing is assumed.");
}

}  // namespace candor::python
