#pragma once

#include <cstdint>
#include <vector>

#include "core/error_draws.h"
#include "core/table_samples.h"

namespace candor {

// Intervals for what an estimated table settles to. The winner of a table of sample means is the
// largest of K noisy totals, and a payment contains the largest of K noisy welfares: where
// candidates are close, both are larger than the truth ("winner's curse"), and resampling the same
// table repeats the fault instead of showing it. Bands for the linear figures behind them have no
// such bias.
//
// With T_k the true totals, B_i(k) = T_k - w_i V[i][k] and k^ the candidate that was chosen, each
// interval holds, with the stated confidence and for the chosen candidate, whichever it is:
//
//   welfare    T_k^                              and   max_k T_k
//   valuation  w_i V[i][k^]
//   payment    max_j B_i(j) - B_i(k^)
//   utility    T_k^ - max_j B_i(j)               and   max_k T_k - max_j B_i(j)
//
// The second ones are what the true table itself would settle to. Each interval alone; not all of
// them together.
//
// How: first the candidates that may be the best of T, and of every B_i, at a small part of the
// error probability (multiple comparisons with the best, Hsu 1981); over these, critical values of
// the largest studentised error (LargestErrors), each end with no more multiplicity than it needs:
// a bound that fails only at one fixed candidate, as an upper end of a maximum does, pays for one
// (Chernozhukov, Lee, Rosen 2013, intersection bounds). Asymptotic in the number of prompts;
// tests/interval_coverage.cc simulates.

// Errors of a table's means, one agent's and lambda x D.
struct TableErrors {
  std::vector<std::vector<ErrorDraws>> valuations;  // [n][K]
  std::vector<ErrorDraws> divergences;              // [K]
};

struct Band {
  double low = 0;
  double high = 0;
};

struct SettlementBands {
  struct Group {
    Band valuation, payment, utility;  // of the whole group
  };
  Band welfare;
  std::vector<Group> groups;  // [n]
  // Candidates that no other beats beyond the noise, rising, the chosen one among them; those that
  // equal it figure by figure are left out.
  std::vector<size_t> contenders;
};

struct SettlementBandsOptions {
  std::vector<int64_t> sizes;  // [n]
  size_t winner = 0;           // the candidate that was chosen
  double confidence = 0.95;
};

// REQUIRES: shapes agree; all draws of one length, at least one.
// Cost      O(B (n + 1) K^2), K the candidates.
[[nodiscard]] SettlementBands settlement_bands(const TableMeans& means, const TableErrors& errors,
                                               const SettlementBandsOptions& options);

}  // namespace candor
