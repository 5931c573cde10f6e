#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/audit.h"
#include "core/table.h"

namespace candor {

// Attacks that dominance of truth does not exclude (it speaks of one group and one name): two
// groups that report together, and a group that reports under several names. What is found is a
// lower bound of what there is; gains are in true utility, summed over the members.
struct Attack {
  std::string kind;                    // "collusion" | "false_name"
  std::vector<std::string> members;    // two groups, or the one that splits
  std::string family;                  // how: "joint_inflation", "common_reward", "split", ...
  double utility_truth = 0;            // of the members together when all tell the truth
  double gain = 0;                     // 0 where nothing above rounding was found
  std::vector<Report> reports;         // what the members report instead
  std::vector<FamilyResult> families;  // the best of each family that was tried
};

struct AttackOptions {
  PaymentRule payments = PaymentRule::kAffine;  // not kGiven: prices are not prices of new names
  uint64_t seed = 1;
  int random_reports = 60;  // per pair
  size_t most_pairs = 45;   // pairs of larger groups first
};

// Every pair of groups (up to most_pairs) and every group, the others' reports as they stand.
//
// Collusion: both inflate; both report the mean of their rewards, or each a mix with the other's;
// one reports for both while the other stays out; random sizes; then a climb over the sizes.
// False names: 2, 3, 4, 8 or 16 names with the true reward and the true total size (split) or
// a multiple of it (split_inflated). Splitting pays under p^AFF: with interior chi2 a payment is
// w^2 Var/(4L) (Ours: the chi2 payment), so k equal parts pay 1/k of it together [ours].
//
// Errors   kInvalidArgument for kGiven. Cost: some 150 solves a pair, 25 a group.
Result<std::vector<Attack>> search_attacks(const Game& game, const AttackOptions& options);
// The same on a menu: rewards of reports are rows of valuations [K] in [0, 1], rounded to 2^-32.
Result<std::vector<Attack>> search_attacks(const Table& table, const AttackOptions& options);

}  // namespace candor
