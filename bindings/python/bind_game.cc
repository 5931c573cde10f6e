#include <variant>

#include "common.h"
#include "core/best_response.h"
#include "core/divergence.h"
#include "core/solution.h"
#include "core/stream.h"
#include "core/sweep.h"

namespace candor::python {

namespace {

Divergence make_divergence(const std::string& name, double regularization, double alpha) {
  const std::vector<std::string>& names = divergence_names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) {
    std::string known;
    for (const std::string& one : names) known += (known.empty() ? "" : ", ") + one;
    throw CandorError("divergence: found \"" + name + "\"; expected one of " + known);
  }
  const Divergence out{.kind = static_cast<DivergenceKind>(found - names.begin()),
                       .regularization = regularization,
                       .alpha = alpha};
  check(check_divergence(out));
  return out;
}

Normalization make_normalization(const std::string& name) {
  if (name == "max") return Normalization::kMax;
  if (name == "sum") return Normalization::kSum;
  if (name == "none") return Normalization::kNone;
  if (name == "min_max") return Normalization::kMinMax;
  throw CandorError("normalization: found \"" + name + "\"; expected max, sum, none or min_max");
}

Game new_game(const Numbers& initial, std::vector<Report> groups, const Divergence& divergence,
              const std::string& normalization, const std::vector<Numbers>& candidates,
              const std::vector<size_t>& blocks, int64_t max_size) {
  Game game;
  game.divergence = divergence;
  game.normalization = make_normalization(normalization);
  game.initial = numbers(initial, "initial");
  game.groups = std::move(groups);
  for (const Numbers& model : candidates) game.candidates.push_back(numbers(model, "candidates"));
  if (!blocks.empty()) {
    game.block_begin = {0};
    for (const size_t count : blocks) game.block_begin.push_back(game.block_begin.back() + count);
    if (game.block_begin.back() != game.initial.size()) {
      throw CandorError("blocks: sum to " + std::to_string(game.block_begin.back()) +
                        "; initial has " + std::to_string(game.initial.size()) + " entries");
    }
  }
  game.max_size = max_size;
  return unwrap(make_game(std::move(game)));
}

// A column on an array's own memory.
Column column_of(const py::array& array, const py::ssize_t row, const char* what) {
  const bool f64 = py::isinstance<py::array_t<double>>(array);
  if (!f64 && !py::isinstance<py::array_t<float>>(array)) {
    throw CandorError(std::string(what) + ": expected float32 or float64; convert with .astype");
  }
  if (!(array.flags() & py::array::c_style)) {
    throw CandorError(std::string(what) +
                      ": is not C-contiguous; np.ascontiguousarray makes it so (a copy)");
  }
  const py::ssize_t size = array.shape(array.ndim() - 1);
  Column out{.size = static_cast<size_t>(size)};
  if (f64) {
    out.f64 = static_cast<const double*>(array.data()) + row * size;
  } else {
    out.f32 = static_cast<const float*>(array.data()) + row * size;
  }
  return out;
}

std::optional<double> checked_tolerance(std::optional<double> tolerance) {
  if (!tolerance.has_value() || (*tolerance > 0 && std::isfinite(*tolerance))) return tolerance;
  throw CandorError("tolerance: found " + std::to_string(*tolerance) +
                    "; expected a finite number above 0");
}

Solution solve_arrays(const py::array& initial, const py::array& rewards,
                      const std::vector<double>& sizes, const Divergence& divergence,
                      const std::string& normalization, const std::vector<std::string>& names,
                      int threads, std::optional<double> tolerance) {
  if (initial.ndim() != 1 || rewards.ndim() != 2) {
    throw CandorError("expected initial [m] and rewards [n, m]");
  }
  if (static_cast<size_t>(rewards.shape(0)) != sizes.size() ||
      (!names.empty() && names.size() != sizes.size())) {
    throw CandorError("rewards, sizes and names: expected one of each for every group");
  }
  StreamGame game;
  game.divergence = divergence;
  game.initial = column_of(initial, 0, "initial");
  for (size_t i = 0; i < sizes.size(); ++i) {
    StreamGroup group;
    group.name = names.empty() ? "group " + std::to_string(i) : names[i];
    group.group_size = sizes[i];
    group.reward = column_of(rewards, static_cast<py::ssize_t>(i), "rewards");
    game.groups.push_back(std::move(group));
  }
  const Normalization rule = make_normalization(normalization);
  const SolveOptions options{.tolerance = checked_tolerance(tolerance)};
  return run_long([&] {
    const StreamGame made = unwrap(make_stream_game(std::move(game), rule, threads));
    return unwrap(solve_stream(made, threads, options));
  });
}

std::vector<SweepPoint> sweep_game(const Game& game, const std::variant<size_t, std::string>& group,
                                   const std::string& kind, const std::vector<double>& parameters,
                                   const py::object& progress) {
  static const std::vector<std::string> kKinds = {"size_inflation", "preference_mix",
                                                  "preference_mix_clipped"};
  const auto found = std::find(kKinds.begin(), kKinds.end(), kind);
  if (found == kKinds.end()) {
    throw CandorError("kind: found \"" + kind +
                      "\"; expected size_inflation, preference_mix or preference_mix_clipped");
  }
  const size_t index = group_index(game, group);
  const auto report = progress_of(progress);
  return run_long([&] {
    std::vector<SweepPoint> points;
    for (const double parameter : parameters) {
      const auto one =
          unwrap(sweep(game, index, static_cast<Misreport>(found - kKinds.begin()), {parameter}));
      points.push_back(one.front());
      if (report) report(points.size(), parameters.size());
    }
    return points;
  });
}

void bind_types(py::module_& module) {
  py::class_<Divergence>(module, "Divergence",
                         "Which f-divergence and how strong: kl, chi2, reverse_kl, js, hellinger, "
                         "jeffreys, alpha, tv; `regularization` is the paper's lambda.")
      .def(py::init(&make_divergence), py::arg("name") = "kl", py::arg("regularization") = 1.0,
           py::arg("alpha") = 2.0)
      .def_property_readonly("name", [](const Divergence& d) { return divergence_name(d.kind); })
      .def_readonly("regularization", &Divergence::regularization)
      .def_readonly("alpha", &Divergence::alpha);
  py::class_<Report>(module, "Report",
                     "What a group sends: its size w_i and its reward rm_i >= 0 on every outcome.")
      .def(py::init([](std::string name, double size, const Numbers& reward) {
             return Report{std::move(name), size, numbers(reward, "reward")};
           }),
           py::arg("name"), py::arg("size"), py::arg("reward"))
      .def_readonly("name", &Report::name)
      .def_readonly("size", &Report::group_size)
      .def_property_readonly("reward", [](const py::object& self) {
        return view(self.cast<const Report&>().reward, self);
      });
  py::class_<Game>(
      module, "Game",
      "One RLHF game (Sec. 2): an initial model, groups, a divergence. Rewards are "
      "normalised as declared (max: largest 1; sum: sum 1; none; min_max: smallest 0 and largest "
      "1, so negative rewards are fine and constant ones are not), checked on the way in.")
      .def(py::init(&new_game), py::arg("initial"), py::arg("groups"),
           py::arg("divergence") = Divergence{}, py::arg("normalization") = "max",
           py::arg("candidates") = std::vector<Numbers>(),
           py::arg("blocks") = std::vector<size_t>(), py::arg("max_size") = Game().max_size)
      .def_readonly("divergence", &Game::divergence)
      .def_readonly("groups", &Game::groups)
      .def_readonly("max_size", &Game::max_size)
      .def_property_readonly("outcome_count", &Game::outcome_count)
      .def_property_readonly(
          "initial",
          [](const py::object& self) { return view(self.cast<const Game&>().initial, self); })
      .def(
          "with_report",
          [](const Game& game, const std::variant<size_t, std::string>& group, double size,
             const Numbers& reward) {
            return with_report(game, group_index(game, group), size_above_0(size),
                               outcome_values(game, reward, "reward"));
          },
          py::arg("group"), py::arg("size"), py::arg("reward"),
          "The same game with one group's report replaced, taken as it is.");
}

// An enclosure as a pair of floats.
template <typename Owner>
auto bounds_of(Enclosure Owner::*member) {
  return
      [member](const Owner& owner) { return std::pair((owner.*member).low, (owner.*member).high); };
}

void bind_solution(py::module_& module) {
  py::class_<GroupOutcome>(module, "GroupOutcome", "One group's line of a solution.")
      .def_readonly("name", &GroupOutcome::name)
      .def_readonly("size", &GroupOutcome::group_size)
      .def_readonly("valuation", &GroupOutcome::valuation)
      .def_readonly("payment", &GroupOutcome::payment)
      .def_readonly("utility", &GroupOutcome::utility)
      .def_readonly("welfare_without", &GroupOutcome::welfare_without)
      .def_property_readonly("valuation_enclosure", bounds_of(&GroupOutcome::valuation_enclosure))
      .def_property_readonly("payment_enclosure", bounds_of(&GroupOutcome::payment_enclosure))
      .def_property_readonly("utility_enclosure", bounds_of(&GroupOutcome::utility_enclosure))
      .def_property_readonly("welfare_without_enclosure",
                             bounds_of(&GroupOutcome::welfare_without_enclosure))
      .def_property_readonly("payment_error", &GroupOutcome::payment_error);
  py::class_<Solution>(module, "Solution",
                       "The SW-Max model with payments; every enclosure (low, high) holds "
                       "the exact game's number.")
      .def_readonly("welfare", &Solution::welfare)
      .def_readonly("divergence", &Solution::divergence)
      .def_property_readonly("welfare_enclosure", bounds_of(&Solution::welfare_enclosure))
      .def_property_readonly("divergence_enclosure", bounds_of(&Solution::divergence_enclosure))
      .def_property_readonly("gap", &Solution::gap)
      .def_property_readonly("error", &Solution::error,
                             "The largest distance to the truth that the enclosures leave open.")
      .def_readonly("tolerance", &Solution::tolerance)
      .def_readonly("converged", &Solution::converged,
                    "Whether every number is within the tolerance; else do not invoice from it.")
      .def_readonly("groups", &Solution::groups)
      .def_readonly("winner", &Solution::winner)
      .def_readonly("reads", &Solution::reads)
      .def_property_readonly("allocation", [](const py::object& self) {
        return view(self.cast<const Solution&>().allocation, self);
      });
  py::class_<PricedPoint>(module, "PricedPoint")
      .def_readonly("name", &PricedPoint::name)
      .def_readonly("price", &PricedPoint::price)
      .def_readonly("valuation", &PricedPoint::valuation);
  py::class_<SweepPoint>(module, "SweepPoint")
      .def_readonly("parameter", &SweepPoint::parameter)
      .def_readonly("valuation", &SweepPoint::valuation)
      .def_readonly("payment", &SweepPoint::payment)
      .def_readonly("utility", &SweepPoint::utility)
      .def_readonly("clipped", &SweepPoint::clipped);
  py::class_<BestResponse>(module, "BestResponse")
      .def_readonly("valuation", &BestResponse::valuation)
      .def_readonly("report", &BestResponse::report)
      .def_readonly("exact", &BestResponse::exact);
}

// `function` of a divergence where the ratio is one.
auto of_ratio(double (*function)(const Divergence&, double), bool zero) {
  return [function, zero](const Divergence& divergence, double ratio) {
    const bool inside = ratio > 0 || (zero && ratio == 0);
    if (inside && std::isfinite(ratio)) return function(divergence, ratio);
    throw CandorError("ratio: found " + std::to_string(ratio) + "; expected a finite number " +
                      (zero ? ">= 0" : "above 0"));
  };
}

void bind_divergence(py::module_& module) {
  module.def("generator", of_ratio(generator, true), py::arg("divergence"), py::arg("ratio"),
             "f(r), r = p/p0.");
  module.def("generator_slope", of_ratio(generator_slope, false), py::arg("divergence"),
             py::arg("ratio"), "f'(r)");
  module.def("generator_curvature", of_ratio(generator_curvature, false), py::arg("divergence"),
             py::arg("ratio"), "f''(r)");
  module.def("inverse_slope", &inverse_slope, py::arg("divergence"), py::arg("slope"),
             "(f')^{-1}(t)");
  module.def("conjugate", &conjugate, py::arg("divergence"), py::arg("slope"),
             "f*(t) = max_{r >= 0} t r - f(r)");
}

}  // namespace

void bind_game(py::module_& module) {
  bind_types(module);
  bind_solution(module);
  bind_divergence(module);
  module.def(
      "solve",
      [](const Game& game, std::optional<double> tolerance) {
        const SolveOptions options{.tolerance = checked_tolerance(tolerance)};
        return run_long([&] { return unwrap(solve(game, options)); });
      },
      py::arg("game"), py::arg("tolerance") = std::nullopt,
      "SW-Max (Def 3.1), argmax_p sum_i w_i v_i(p) - D_f(p||p0), and the affine-maximizer payment "
      "(Sec. 3) p_i = ASW_{-i}(theta_{-i}) - ASW_{-i}(theta).");
  module.def("solve_arrays", &solve_arrays, py::arg("initial"), py::arg("rewards"),
             py::arg("sizes"), py::arg("divergence") = Divergence{},
             py::arg("normalization") = "max", py::arg("names") = std::vector<std::string>(),
             py::arg("threads") = 0, py::arg("tolerance") = std::nullopt,
             "solve() on float32 or float64 arrays [m] and [n, m] where they lie: streamed, never "
             "copied; the allocation is left empty.");
  module.def(
      "affine_social_welfare",
      [](const Game& game, const Numbers& model, std::optional<size_t> without) {
        if (without.has_value()) (void)group_index(game, *without);
        return affine_social_welfare(game, outcome_values(game, model, "model"),
                                     without.value_or(kNobody));
      },
      py::arg("game"), py::arg("model"), py::arg("without") = std::nullopt,
      "ASW(p) = sum_i w_i v_i(p) - D_f(p||p0), or ASW_{-i} without one group.");
  module.def(
      "group_valuation",
      [](const Game& game, const Report& type, const Numbers& model) {
        const std::vector<double> values = outcome_values(game, model, "model");
        if (type.reward.size() != values.size()) throw CandorError("type: wrong length");
        check_finite(type.reward, "type.reward");
        return group_valuation(game, type, values);
      },
      py::arg("game"), py::arg("type"), py::arg("model"), "w_i v_i(p) with the type's reward.");
  module.def(
      "price_menu",
      [](const Game& game, const std::variant<size_t, std::string>& group) {
        const size_t index = group_index(game, group);
        return run_long([&] { return unwrap(price_menu(game, index)); });
      },
      py::arg("game"), py::arg("group"), "c_i(p) = ASW*_{-i} - ASW_{-i}(p) at named models.");
  module.def("sweep", &sweep_game, py::arg("game"), py::arg("group"), py::arg("kind"),
             py::arg("parameters"), py::arg("progress") = py::none(),
             "The paper's Figure 2: valuation, payment and utility under a misreport (App. C.2).");
  module.def(
      "best_response_without_payments",
      [](const Game& game, const std::variant<size_t, std::string>& group, double size) {
        const size_t index = group_index(game, group);
        (void)size_above_0(size);
        if (!game.candidates.empty() || game.normalization == Normalization::kSum) {
          throw CandorError(
              "best responses need all distributions and max, min_max or no normalisation");
        }
        return run_long([&] { return best_response_without_payments(game, index, size); });
      },
      py::arg("game"), py::arg("group"), py::arg("size"),
      "The best lie when nobody pays: 1 above a cut of the true reward, 0 below.");
}

}  // namespace candor::python
