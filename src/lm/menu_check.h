#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "lm/candidate_model.h"
#include "lm/mixture_generate.h"
#include "lm/slot_decoder.h"

namespace candor {

// The self-tests of a menu (ISSUE: "a failed self-test fails the run"), on next-token distributions
// after a few prompts, in total variation:
//
//   endpoint   a soup of weights e_i, an adapter, a mixture of weights e_i: each is expert i,
//   computed
//              another way (its adapter merged into the weights)
//   interior   a soup or mixture of other weights differs from the initial model and every expert
//
// Endpoints that the menu lacks are built and tested too: one soup per expert, and one mixture per
// expert and divergence of the menu.
struct MenuCheck {
  std::string name;     // "endpoint soup-1.0-0.0 = expert 1", "interior mixture-0.5 <> initial"
  double distance = 0;  // the largest total variation over the prompts
  double limit = 0;     // endpoints: at most; interior: at least
  bool endpoint = true;
  bool passed = false;
};

struct MenuCheckOptions {
  double tolerance = 1e-3;         // of endpoints, for models in f32
  double least_difference = 1e-5;  // of interior points
  int64_t positions = 4;           // at the end of each prompt
};

// The menu as declared, and as it will be decoded: item k is candidate k.
struct CheckedMenu {
  std::span<const CandidateSpec> items;
  std::span<const CandidateModel> candidates;
};

// Expert i as a model of its own, adapter merged; opened one at a time.
using ExpertSource = std::function<Result<std::unique_ptr<SlotModel>>(int64_t expert)>;

// Errors: as generate_menu and `experts`; no prompt. Failed checks are results.
Result<std::vector<MenuCheck>> check_menu(const SlotModel& model, const ExpertSource& experts,
                                          const CheckedMenu& menu,
                                          std::span<const MenuPrompt> prompts,
                                          const MenuCheckOptions& options);

// The failed checks in one sentence; empty where all passed.
[[nodiscard]] std::string failed_checks(std::span<const MenuCheck> checks);

}  // namespace candor
