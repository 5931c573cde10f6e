#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "real.h"

namespace candor {

// A game as a file states it: the doubles read, before any rounding that normalises them.
struct ExactGame {
  struct Group {
    std::string name;
    double size = 1;
    std::vector<double> reward;  // [m]
  };
  std::string divergence = "kl";  // a name of MATH 2
  double lambda = 1;
  double alpha = 2;                   // of "alpha" alone
  std::string normalization = "max";  // "max", "sum", "none", "min_max"
  std::vector<double> initial;        // [m], > 0
  std::vector<size_t> block_begin;    // [blocks + 1], or empty: one block
  std::vector<Group> groups;
  std::vector<std::vector<double>> candidates;  // [K][m], or empty: every distribution
};

// A number and what it may be off by.
struct ExactValue {
  Real value;
  Real error;
};

struct ExactOutcome {
  ExactValue valuation;        // w_i v_i(p*)
  ExactValue payment;          // ASW_{-i}(p*_{-i}) - ASW_{-i}(p*)
  ExactValue utility;          // valuation - payment
  ExactValue welfare_without;  // ASW_{-i}(p*_{-i})
};

struct ExactSolution {
  ExactValue welfare;     // ASW(p*)
  ExactValue divergence;  // D_f(p*||p0), lambda included
  std::vector<ExactOutcome> groups;
  std::optional<size_t> winner;  // with candidates
  int digits = 0;                // working precision of the last solve
  bool settled = false;          // every error is at most max(1e-60 |value|, 1e-400 scale)
};

// SW-Max (Def 3.1) and its payments to 60 digits, from MATH 2 and 3 alone: it shares no formula
// with src/core and takes every route that is slow and plain. Normalisation is exact: initial over
// its block's sum, rewards over their maximum or
// sum (or less their minimum, over what is left of the maximum).
//
// kl is the closed form, tv its closed form in rational numbers (so that ties are ties); every
// other law is one root of the mass in the dual, found in the logarithm of the distance to the pole
// (or to the edge where an outcome comes in) and proved by masses on both sides of 1. Payments are
// the difference of their definition. Everything is solved again at higher precision until two
// solutions agree; `error` is by how much they do not, or what the lower precision allows for.
//
// REQUIRES: a game that make_game accepts.
[[nodiscard]] ExactSolution solve_exactly(const ExactGame& game);

}  // namespace candor
