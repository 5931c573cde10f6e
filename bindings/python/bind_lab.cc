#include <variant>

#include "common.h"
#include "core/continuity.h"
#include "core/deviation_experiment.h"
#include "core/fee.h"
#include "core/lab.h"

namespace candor::python {

namespace {

// A Python callable game -> model as a training rule.
class CallableRule : public TrainingRule {
 public:
  explicit CallableRule(py::object callable) : callable_(std::move(callable)) {}

  [[nodiscard]] std::string name() const override {
    const py::gil_scoped_acquire acquire;
    if (!py::hasattr(callable_, "__name__")) return "callable";
    return py::str(callable_.attr("__name__")).cast<std::string>();
  }

  [[nodiscard]] Result<TrainedModel> train(const Game& game) const override {
    const py::gil_scoped_acquire acquire;
    try {
      const py::object made = callable_(game);
      TrainedModel out;
      const bool pair = py::isinstance<py::tuple>(made) && py::len(made) == 2 &&
                        py::hasattr(made[py::int_(0)], "__len__");
      if (pair) {  // and no tuple of two numbers, which is a model of two outcomes
        const auto parts = made.cast<py::tuple>();
        out.model = numbers(parts[0].cast<Numbers>(), "model");
        out.distance = parts[1].cast<double>();
        if (!(out.distance >= 0)) {
          return invalid_argument("the rule's error: expected a number >= 0");
        }
      } else {
        out.model = numbers(made.cast<Numbers>(), "model");
      }
      if (out.model.size() != game.outcome_count()) {
        return invalid_argument("the rule returned " + std::to_string(out.model.size()) +
                                " numbers; the game has " + std::to_string(game.outcome_count()) +
                                " outcomes");
      }
      return check(game, std::move(out));
    } catch (const py::error_already_set& error) {
      return invalid_argument(error.what());
    } catch (const std::exception& error) {
      return invalid_argument(error.what());
    }
  }

 private:
  static Result<TrainedModel> check(const Game& game, TrainedModel out) {
    for (size_t block = 0; block < game.block_count(); ++block) {
      double mass = 0;
      for (size_t x = game.block_begin[block]; x < game.block_begin[block + 1]; ++x) {
        if (!(out.model[x] >= 0)) return invalid_argument("the rule's model is negative or NaN");
        mass += out.model[x];
      }
      if (!(std::abs(mass - 1) <= 1e-9)) {
        return invalid_argument("the rule's model sums to " + std::to_string(mass));
      }
      out.distance += std::abs(mass - 1) / static_cast<double>(game.block_count());
    }
    return out;
  }

  py::object callable_;
};

std::unique_ptr<TrainingRule> rule_of(const py::object& rule) {
  if (py::isinstance<py::str>(rule)) return unwrap(make_training_rule(rule.cast<std::string>()));
  if (!PyCallable_Check(rule.ptr())) {
    throw CandorError("rule: expected a name or a callable game -> model");
  }
  return std::make_unique<CallableRule>(rule);
}

void bind_results(py::module_& module) {
  py::class_<Implementability>(module, "Implementability")
      .def_readonly("payments_exist", &Implementability::payments_exist)
      .def_readonly("tolerance", &Implementability::tolerance)
      .def_readonly("worst_cycle", &Implementability::worst_cycle)
      .def_readonly("worst_cycle_length", &Implementability::worst_cycle_length)
      .def_readonly("payments", &Implementability::payments)
      .def_readonly("low", &Implementability::low)
      .def_readonly("high", &Implementability::high)
      .def_readonly("widest", &Implementability::widest);
  py::class_<PaymentPath>(module, "PaymentPath")
      .def_readonly("steps", &PaymentPath::steps)
      .def_readonly("forward", &PaymentPath::forward)
      .def_readonly("backward", &PaymentPath::backward)
      .def_readonly("predicted_width", &PaymentPath::predicted_width);
  py::class_<RuleStudy>(module, "RuleStudy")
      .def_readonly("rule", &RuleStudy::rule)
      .def_property_readonly("verdict",
                             [](const RuleStudy& study) { return verdict_name(study.verdict); })
      .def_property_readonly("implementable", &RuleStudy::implementable,
                             "True (proved), False (a witness) or None (no witness found).")
      .def_readonly("why", &RuleStudy::why)
      .def_readonly("types_searched", &RuleStudy::types_searched)
      .def_readonly("rule_runs", &RuleStudy::rule_runs)
      .def_readonly("types", &RuleStudy::types)
      .def_property_readonly("worst_cycle_types", &RuleStudy::worst_cycle_types,
                             "The reports of the worst cycle in its order: the witness of a no.")
      .def_readonly("incentives", &RuleStudy::incentives)
      .def_readonly("worst_cycle", &RuleStudy::worst_cycle)
      .def_readonly("gain_zero", &RuleStudy::gain_zero)
      .def_readonly("gain_pay_report", &RuleStudy::gain_pay_report)
      .def_readonly("affine", &RuleStudy::affine)
      .def_readonly("paths", &RuleStudy::paths)
      .def_readonly("affine_difference", &RuleStudy::affine_difference);
  py::class_<FeeRoom>(module, "FeeRoom")
      .def_readonly("largest", &FeeRoom::largest)
      .def_readonly("error", &FeeRoom::error)
      .def_readonly("type", &FeeRoom::type);
  py::class_<FeeFormula>(module, "FeeFormula")
      .def_readonly("holds", &FeeFormula::holds)
      .def_readonly("why", &FeeFormula::why)
      .def_readonly("largest", &FeeFormula::largest);
  py::class_<DeviationRow>(module, "DeviationRow")
      .def_readonly("epsilon", &DeviationRow::epsilon)
      .def_readonly("valuation_change", &DeviationRow::valuation_change)
      .def_readonly("utility_change", &DeviationRow::utility_change)
      .def_readonly("utility_error", &DeviationRow::utility_error);
}

}  // namespace

void bind_lab(py::module_& module) {
  bind_results(module);
  module.def(
      "train",
      [](const py::object& rule, const Game& game) {
        const auto made = rule_of(rule);
        return run_long([&] { return unwrap(made->train(game)).model; });
      },
      py::arg("rule"), py::arg("game"),
      "The model of a training rule: sw_max, max_min, nash, mean_of_optima, median_of_optima, "
      "uniform_mixture, dictatorship[:NAME], or a callable game -> model. A callable whose model "
      "is not exact returns (model, bound of its L1 error), so that no witness rests on the "
      "error.");
  module.def(
      "study_rule",
      [](const py::object& rule, const Game& game, const std::variant<size_t, std::string>& group,
         std::vector<Report> types, size_t type_count, int largest_steps, uint64_t seed,
         int search_runs) {
        if (search_runs < 0) throw CandorError("search_runs: expected a number >= 0");
        const auto made = rule_of(rule);
        const size_t index = group_index(game, group);
        const LabOptions options{.type_count = type_count,
                                 .search_runs = search_runs,
                                 .largest_steps = largest_steps,
                                 .seed = seed};
        Laboratory lab = run_long([&] {
          return unwrap(run_laboratory(game, index, {made.get()}, std::move(types), options));
        });
        return std::move(lab.rules.front());
      },
      py::arg("rule"), py::arg("game"), py::arg("group") = 0,
      py::arg("types") = std::vector<Report>(), py::arg("type_count") = 24,
      py::arg("largest_steps") = 64, py::arg("seed") = 1, py::arg("search_runs") = 512,
      "Can payments make truth dominant (Def 3.4)? `verdict`: proved, no (a witness cycle) or "
      "none_found among the types searched; payment intervals and the 2n-step path (Thm 3.6).");
  module.def(
      "check_implementable",
      [](const std::vector<std::vector<double>>& value, double error) {
        for (const auto& row : value) {
          if (row.size() != value.size()) throw CandorError("value: expected a square matrix");
          check_finite(row, "value");
        }
        check_finite({error}, "error");
        if (value.empty() || value.size() > kMostTypes) {
          throw CandorError("value: expected 1 to " + std::to_string(kMostTypes) + " types");
        }
        return run_long([&] {
          const std::vector<std::vector<double>> errors(value.size(),
                                                        std::vector<double>(value.size(), error));
          return check_implementable(value, errors);
        });
      },
      py::arg("value"), py::arg("error") = 0.0,
      "value[t][s]: what type t makes of the model that report s brings about, off by at most "
      "`error`. Says whether payments exist on these types, nothing of others (Rochet 1987).");
  module.def(
      "fee_room",
      [](const Game& game, const std::variant<size_t, std::string>& group) {
        const size_t index = group_index(game, group);
        return run_long([&] { return unwrap(fee_room(game, index)); });
      },
      py::arg("game"), py::arg("group"), "inf_t u_i(t) under p^AFF (NeurIPS Thm 4.11).");
  module.def(
      "kl_fee_formula",
      [](const Game& game, const std::variant<size_t, std::string>& group) {
        return kl_fee_formula(game, group_index(game, group));
      },
      py::arg("game"), py::arg("group"),
      "fee_room in closed form under KL, where its assumptions hold.");
  module.def(
      "continuity_modulus",
      [](const Divergence& divergence, double epsilon) {
        if (!(epsilon > 0)) throw CandorError("expected epsilon > 0");
        const Modulus modulus = continuity_modulus(divergence, epsilon);
        return std::make_pair(modulus.paper, modulus.sharp);
      },
      py::arg("divergence"), py::arg("epsilon"),
      "(the paper's delta of Prop E.3, kl and chi2 alone; the sharp one, 0 where there is none) "
      "for "
      "Condition 3.5, whatever the initial model.");
  module.def(
      "initial_modulus",
      [](const Game& game, double epsilon) {
        if (!(epsilon > 0)) throw CandorError("expected epsilon > 0");
        const InitialModulus modulus = initial_modulus(game, epsilon);
        return std::make_pair(modulus.delta, modulus.sharp);
      },
      py::arg("game"), py::arg("epsilon"),
      "(delta, whether no larger one suffices) for Condition 3.5 at this game's initial model.");
  module.def(
      "run_deviations",
      [](const std::vector<double>& epsilons, int games, size_t groups, size_t outcomes,
         const Divergence& divergence, uint64_t seed) {
        const DeviationExperiment experiment{.divergence = divergence,
                                             .groups = groups,
                                             .outcomes = outcomes,
                                             .games = games,
                                             .seed = seed};
        return run_long([&] { return unwrap(run_deviations(experiment, epsilons)); });
      },
      py::arg("epsilons"), py::arg("games") = 20000, py::arg("groups") = 3,
      py::arg("outcomes") = 10,
      py::arg("divergence") = Divergence{.kind = DivergenceKind::kKl, .regularization = 0.157},
      py::arg("seed") = 1, "NeurIPS Table 1 on random games (our fit: n = 3, lambda 0.157).");
}

}  // namespace candor::python
