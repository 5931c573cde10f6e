#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/audit.h"
#include "core/solution.h"

namespace candor {

// Tries lies of one group and keeps the best of each family and of all; audit.h is the way in.
class LieSearch {
 public:
  // REQUIRES: all arguments outlive the search; `truth` solves `game`.
  LieSearch(const Game& game, size_t group, const AuditOptions& options, const Solution& truth);

  [[nodiscard]] const Game& game() const { return game_; }
  [[nodiscard]] size_t group() const { return group_; }
  [[nodiscard]] const AuditOptions& options() const { return options_; }
  [[nodiscard]] const Solution& honest() const { return honest_; }
  [[nodiscard]] const Report& truth() const { return game_.groups[group_]; }
  [[nodiscard]] double max_size() const { return static_cast<double>(game_.max_size); }
  [[nodiscard]] GroupAudit& result() { return result_; }

  // No lie gains more than this, by theory.
  [[nodiscard]] double certificate() const;

  // What candidate k costs the group whatever it reports; 0 where the payment depends on the report
  // (pay_report, whose payments are >= 0) or nobody pays. REQUIRES: candidates.
  [[nodiscard]] double fixed_price(const CandidateTable& table, size_t candidate) const;

  // Solves the game under the lie, brought into the set of admissible reports, and records what it
  // is worth to the group's true type; returns that. Of a lie that gains more than rounding can
  // feign and one that does not, the first is kept.
  double try_report(const std::string& family, std::vector<double> reward, double size,
                    std::optional<double> parameter = std::nullopt);

 private:
  void record(const std::string& family, double value, const Game& lied, const Solution& solution,
              std::optional<double> parameter);
  [[nodiscard]] double utility(const Report& report, const Solution& solution) const;
  [[nodiscard]] double rounding(const Game& reported, const Solution& solution) const;
  [[nodiscard]] double best_of_candidates() const;

  const Game& game_;
  size_t group_;
  const AuditOptions& options_;
  const Solution& honest_;  // what telling the truth brings about
  double truth_rounding_ = 0;
  GroupAudit result_;
};

// The families, each of which tries its reports on the search.

// Whole sizes from 1 to max_size, close together where they are small.
void try_sizes(LieSearch& search);
// b rm_i + (1-b) rm_{-i}, b on a grid over [0, 4].
void try_mixes(LieSearch& search);
// Thm 3.2: the misreport of its proof (misreport_theorems.h).
void try_theorem_3_2(LieSearch& search);
// Thm E.2 (1), (2) and (3), each where its assumptions hold.
void try_theorem_e_2(LieSearch& search);
// 1 above a cut of the true reward, 0 below: the shape of best responses without payments.
void try_cuts(LieSearch& search);
void try_random(LieSearch& search);
// Points of an additive recurrence that fill rewards and log-sizes evenly (Roberts 2018).
void try_low_discrepancy(LieSearch& search);
// Ascent along utility_slope; all distributions, f with curvature.
void try_gradient(LieSearch& search);
// The derivative of the group's utility in its reported stake r = w' rm', times the number of
// blocks: with s = p0/f''(p/p0) and e = w_i rm_i - r (zero payments: w_i rm_i),
//   du/dr(z) = s(z) (e(z) - mean of e under s), less p(z) under pay_report,
// because p maximises ASW_{-i} + <r, p>. `model` is the SW-Max model under `report`. [m]
[[nodiscard]] std::vector<double> utility_slope(const LieSearch& search, const Report& report,
                                                const std::vector<double>& model);
// Climbs from the best lie so far, one outcome or the size at a time.
void climb(LieSearch& search);

}  // namespace candor
