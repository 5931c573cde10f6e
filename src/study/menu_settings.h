#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace candor {

// The parts of study/1 that only `level: menu` has (docs/formats.md).

struct LoraChoice {
  int64_t rank = 64;
  double lora_alpha = 128;
  double dropout = 0.05;
  std::vector<std::string> target_modules = {"q_proj", "v_proj"};
};

// "sft": makes the initial model from the base model.
struct SftChoice {
  std::string data;
  int64_t steps = 100;
  int64_t batch = 8;  // sequences
  int64_t max_length_tokens = 256;
  double learning_rate = 2e-5;
  std::optional<LoraChoice> lora;  // absent: all weights are trained
};

// "experts": one RLHF run per group, and the runs on several rewards.
struct ExpertChoice {
  std::string algorithm = "rloo";  // or "ppo"
  std::string train_prompts;
  int64_t steps = 60;
  // Of the KL term, for rewards in [0, 1]; absent ("auto"): lambda / agents of the run's rewards,
  // which makes the run SW-Max of these groups alone (MATH 8).
  std::optional<double> kl_coefficient;
  double learning_rate = 1e-4;
  // constant (a shorter run is then a checkpoint of a longer one), linear, cosine
  std::string lr_scheduler_type = "constant";
  LoraChoice lora{.dropout = 0};  // dropout would train another policy than the one sampled
  int64_t num_generations = 4;
  int64_t per_device_train_batch_size = 8;  // replies per forward and backward pass
  int64_t prompts_per_step = 8;
  int64_t max_new_tokens = 48;
  double temperature = 1.0;
};

// "menu": which candidates there are.
struct MenuChoice {
  bool initial = true;
  int64_t soups = 11;     // points along each edge of the simplex of experts; 0: none
  int64_t mixtures = 11;  // the same; their corners are the experts and are left out beside soups
  double mixture_power = 1.0;                // sum of a mixture's weights a_i (MATH 8)
  std::vector<std::vector<double>> trained;  // reward weights, one model trained on each sum
  // With `trained`: also trains, for each, the runs that leave one group out, and prices with them.
  bool leave_one_out = false;
  std::vector<double> shortcuts;  // shares of `steps` for checkpoint and early-stop prices
};

// One lie whose experts are trained anew: what the menu's dependence on reports is worth.
struct MisreportChoice {
  std::string group;
  std::optional<double> size_inflation;
  std::optional<double> preference_mix;
};

struct MenuSettings {
  std::optional<SftChoice> sft;
  std::optional<ExpertChoice> experts;  // absent: every group brings its adapter
  MenuChoice menu;
  std::vector<std::vector<int64_t>> sizes;  // empty: the groups' own
  std::vector<MisreportChoice> misreports;
  double largest_lambda_scale = 8;  // winning intervals of lambda are printed up to this x lambda
};

// Reads the keys sft, experts, menu, sizes, misreports of a menu study; errors go to `in`.
// `max_size` bounds the entries of sizes.
MenuSettings read_menu_settings(JsonReader& in, int64_t max_size);
// What can only be checked once the groups are known.
void check_menu_settings(JsonReader& in, const MenuSettings& settings,
                         const std::vector<std::string>& group_names,
                         const std::vector<bool>& group_has_adapter);
// The same keys, defaults included.
void add_menu_settings(const MenuSettings& settings, Json& resolved);
[[nodiscard]] Json lora_json(const LoraChoice& lora);

// Every point of the simplex in `dimension` coordinates whose coordinates are multiples of
// 1 / (points - 1), first coordinate falling: C(points + dimension - 2, dimension - 1) of them.
// REQUIRES: points >= 2, dimension >= 1.
[[nodiscard]] std::vector<std::vector<double>> simplex_grid(int64_t points, size_t dimension);

}  // namespace candor
