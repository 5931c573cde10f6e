#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/continuity.h"
#include "core/fee.h"
#include "core/implementability.h"

namespace candor {

// What is known of a training rule and a group, the others' reports being fixed (Def 3.4).
enum class Verdict {
  kProved,     // payments make truth dominant for every type: there is a proof
  kNo,         // none do: a witness cycle of negative length
  kNoneFound,  // no witness among the types searched; nothing is known of others
};
// "proved", "no", "none_found"
[[nodiscard]] const std::string& verdict_name(Verdict verdict);

// One training rule through every check of the laboratory (MATH 6).
struct RuleStudy {
  std::string rule;
  Verdict verdict = Verdict::kNoneFound;
  std::string why;         // one sentence
  int types_searched = 0;  // types whose models were compared: `types` and those of the search
  int rule_runs = 0;       // for the verdict; the path's are not among them
  // The laboratory's types, and the witness that a search found beyond them. What follows speaks of
  // these alone.
  std::vector<Report> types;
  Implementability incentives;
  std::vector<std::string> worst_cycle;  // the types' names
  double gain_zero = 0;                  // the best lie among the types when nobody pays
  double gain_pay_report = 0;            // ... when everybody pays what was reported
  std::vector<double> affine;         // [N], p^AFF(t) - p^AFF(first type); sw_max alone, else empty
  std::optional<double> gain_affine;  // the best lie among the types under p^AFF
  // The 2n-step path for n = 1, 2, 4, ...; empty after kNo, where no payments are to enclose.
  std::vector<PaymentPath> paths;
  std::optional<double> affine_difference;  // p^AFF(to) - p^AFF(from), which the paths enclose
  std::string no_path;                      // why there is none

  // Of the verdict: true, false, or nothing where it is not known.
  [[nodiscard]] std::optional<bool> implementable() const;
  // The types of the worst cycle in its order.
  [[nodiscard]] std::vector<Report> worst_cycle_types() const;
};

struct LabOptions {
  size_t type_count = 24;  // of default_types, where no types are given
  int search_runs = 512;   // of a rule, in the search for a witness beyond default types
  int largest_steps = 64;  // of the path
  uint64_t seed = 1;
  std::function<void(size_t done, size_t total)> progress = {};
};

struct Laboratory {
  TypeSpace space;
  std::string path_from;  // the types that the path joins
  std::string path_to;
  std::vector<RuleStudy> rules;
  // Condition 3.5, at a few epsilon; empty for tv and menus, which have no modulus.
  struct ModulusRow {
    double epsilon = 0;
    Modulus modulus;         // whatever the initial model
    InitialModulus initial;  // of this game's
    double worst_found = 0;  // largest shift found at initial.delta: never above epsilon
  };
  std::vector<ModulusRow> moduli;
  // Lemma E.1 on every pair of types: the largest move of the model over its bound; <= 1.
  std::optional<double> lemma_e_1;
  std::optional<FeeRoom> fee;
  std::string no_fee;  // why there is none
  FeeFormula fee_formula;
};

// Puts every rule through the checks, on `types` of one group or on default types when empty.
// Beyond default types a rule without proof or witness is searched for one (cycle_search.h); types
// that are given are looked at as they are, and no others. A witness outweighs a proof: a rule of
// one's own may claim one that is none.
// Rules that are tables take their rows' types: give those.
// Errors: those of the rules; no type or more than kMostTypes, or a type that the game does not
// admit. REQUIRES: group < n.
Result<Laboratory> run_laboratory(const Game& game, size_t group,
                                  const std::vector<const TrainingRule*>& rules,
                                  std::vector<Report> types, const LabOptions& options);

}  // namespace candor
