#include "study/menu_settings.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "base/check.h"
#include "base/strings.h"

namespace candor {

namespace {

constexpr int64_t kMostCandidates = 512;

// Of a Llama-family layer, as the worker knows them: a misspelt one is found before hours of work.
const std::vector<std::string> kTargetModules = {"q_proj",    "k_proj",  "v_proj",    "o_proj",
                                                 "gate_proj", "up_proj", "down_proj", "all-linear"};

LoraChoice read_lora(JsonReader& parent, LoraChoice out) {
  if (!parent.has("lora")) return out;
  JsonReader in = parent.object("lora");
  out.rank = in.integer_or("rank", out.rank, 1, 4096);
  out.lora_alpha = in.number_or("alpha", out.lora_alpha, 1e-6, 1e6);
  out.dropout = in.number_or("dropout", out.dropout, 0.0, 0.99);
  if (in.has("target_modules")) out.target_modules = in.texts("target_modules");
  for (size_t i = 0; i < out.target_modules.size(); ++i) {
    if (std::ranges::find(kTargetModules, out.target_modules[i]) != kTargetModules.end()) continue;
    in.fail(
        str_cat("target_modules[", i, "]"),
        str_cat("found ", quote(out.target_modules[i]), "; expected one of ",
                join(kTargetModules, ", "), did_you_mean(out.target_modules[i], kTargetModules)));
  }
  parent.adopt(in.finish());
  return out;
}

SftChoice read_sft(JsonReader& parent) {
  JsonReader in = parent.object("sft");
  SftChoice out;
  out.data = in.text("data");
  out.steps = in.integer_or("steps", out.steps, 1, 1 << 24);
  out.batch = in.integer_or("batch", out.batch, 1, 1 << 16);
  out.max_length_tokens = in.integer_or("max_length_tokens", out.max_length_tokens, 2, 1 << 20);
  out.learning_rate = in.number_or("learning_rate", out.learning_rate, 1e-12, 10);
  if (in.has("lora")) out.lora = read_lora(in, LoraChoice());
  parent.adopt(in.finish());
  return out;
}

ExpertChoice read_experts(JsonReader& parent) {
  static const std::vector<std::string> kAlgorithms = {"rloo", "ppo"};
  JsonReader in = parent.object("experts");
  ExpertChoice out;
  out.algorithm = in.choice_or("algorithm", out.algorithm, kAlgorithms);
  out.train_prompts = in.text("train_prompts");
  out.steps = in.integer_or("steps", out.steps, 1, 1 << 24);
  const bool automatic = in.has("kl_coefficient") && in.any("kl_coefficient") == "auto";
  if (!automatic) out.kl_coefficient = in.number_or("kl_coefficient", 0.05, 0.0, 1e6);
  out.learning_rate = in.number_or("learning_rate", out.learning_rate, 1e-12, 10);
  static const std::vector<std::string> kSchedules = {"constant", "linear", "cosine"};
  out.lr_scheduler_type = in.choice_or("lr_scheduler_type", out.lr_scheduler_type, kSchedules);
  out.lora = read_lora(in, out.lora);
  const int64_t least = out.algorithm == "rloo" ? 2 : 1;  // RLOO's baseline is the other replies
  out.num_generations = in.integer_or("num_generations", out.num_generations, least, 1 << 12);
  out.prompts_per_step = in.integer_or("prompts_per_step", out.prompts_per_step, 1, 1 << 16);
  out.max_new_tokens = in.integer_or("max_new_tokens", out.max_new_tokens, 1, 1 << 20);
  out.temperature = in.number_or("temperature", out.temperature, 1e-3, 100);
  const int64_t replies = out.prompts_per_step * out.num_generations;
  out.per_device_train_batch_size =
      in.integer_or("per_device_train_batch_size",
                    std::gcd(replies, out.per_device_train_batch_size), 1, 1 << 16);
  if (in.ok() && replies % out.per_device_train_batch_size != 0) {
    in.fail("per_device_train_batch_size",
            str_cat("found ", out.per_device_train_batch_size, "; expected a divisor of ", replies,
                    ", the replies of a step (prompts_per_step x num_generations)"));
  }
  parent.adopt(in.finish());
  return out;
}

// An array of rows of numbers.
std::vector<std::vector<double>> read_rows(JsonReader& in, const std::string& key) {
  std::vector<std::vector<double>> out;
  if (!in.has(key)) return out;
  const Json& rows = in.any(key);
  if (!rows.is_array()) {
    in.fail(key, "expected an array of rows, such as [[3, 7], [5, 5]]");
    return out;
  }
  for (size_t r = 0; r < rows.size(); ++r) {
    const std::string place = str_cat(key, "[", r, "]");
    bool numbers = rows[r].is_array() && !rows[r].empty();
    for (const Json& value : rows[r].is_array() ? rows[r] : Json::array()) {
      numbers = numbers && value.is_number() && std::isfinite(value.get<double>());
    }
    if (!numbers) {
      in.fail(place, str_cat("found ", rows[r].dump(), "; expected an array of numbers"));
      return out;
    }
    out.push_back(rows[r].get<std::vector<double>>());
  }
  return out;
}

MenuChoice read_menu(JsonReader& parent) {
  MenuChoice out;
  if (!parent.has("menu")) return out;
  JsonReader in = parent.object("menu");
  out.initial = in.boolean_or("initial", out.initial);
  for (const auto& [key, field] : {std::pair{"soups", &out.soups}, {"mixtures", &out.mixtures}}) {
    *field = in.integer_or(key, *field, 0, 1001);
    if (*field == 1) in.fail(key, "found 1; expected 0 (none) or 2 and more points along an edge");
  }
  out.mixture_power = in.number_or("mixture_power", out.mixture_power, 1e-3, 100);
  out.trained = read_rows(in, "trained");
  out.leave_one_out = in.boolean_or("leave_one_out", out.leave_one_out);
  if (in.has("shortcuts")) out.shortcuts = in.numbers("shortcuts");
  for (size_t s = 0; s < out.shortcuts.size(); ++s) {
    if (out.shortcuts[s] > 0 && out.shortcuts[s] < 1) continue;
    in.fail(str_cat("shortcuts[", s, "]"), str_cat("found ", out.shortcuts[s],
                                                   "; expected a share of the steps between 0 "
                                                   "and 1"));
  }
  if (out.trained.empty() && (out.leave_one_out || !out.shortcuts.empty())) {
    in.fail("trained", "is missing; leave_one_out and shortcuts price the models trained there");
  }
  parent.adopt(in.finish());
  return out;
}

std::vector<std::vector<int64_t>> read_sizes(JsonReader& in, int64_t max_size) {
  std::vector<std::vector<int64_t>> out;
  const std::vector<std::vector<double>> rows = read_rows(in, "sizes");
  for (size_t r = 0; r < rows.size(); ++r) {
    std::vector<int64_t>& row = out.emplace_back();
    for (size_t i = 0; i < rows[r].size(); ++i) {
      const double size = rows[r][i];
      if (size != std::floor(size) || size < 1 || size > static_cast<double>(max_size)) {
        in.fail(str_cat("sizes[", r, "][", i, "]"),
                str_cat("found ", size, "; expected a whole number from 1 to ", max_size));
        return out;
      }
      row.push_back(static_cast<int64_t>(size));
    }
    if (std::ranges::count(out, row) > 1) {
      in.fail(str_cat("sizes[", r, "]"), "is there a second time");
    }
  }
  return out;
}

std::vector<MisreportChoice> read_misreports(JsonReader& in) {
  std::vector<MisreportChoice> out;
  if (!in.has("misreports")) return out;
  for (JsonReader& entry : in.objects("misreports")) {
    MisreportChoice choice;
    choice.group = entry.text("group");
    if (entry.has("size_inflation")) {
      choice.size_inflation = entry.number("size_inflation", 1e-6, 1e6);
    }
    if (entry.has("preference_mix")) choice.preference_mix = entry.number("preference_mix", 0, 1e3);
    if (choice.size_inflation.has_value() == choice.preference_mix.has_value()) {
      entry.fail("group", "the lie is missing: expected size_inflation or preference_mix, one");
    }
    in.adopt(entry.finish());
    out.push_back(std::move(choice));
  }
  return out;
}

double grid_size(int64_t points, size_t dimension) {
  double count = 1;
  for (size_t d = 1; d < dimension; ++d) {
    count =
        count * static_cast<double>(points - 1 + static_cast<int64_t>(d)) / static_cast<double>(d);
  }
  return count;
}

void check_trained(JsonReader& in, const MenuSettings& settings, size_t groups) {
  for (size_t r = 0; r < settings.menu.trained.size(); ++r) {
    const std::vector<double>& row = settings.menu.trained[r];
    const bool fits =
        row.size() == groups && std::ranges::all_of(row, [](double weight) { return weight > 0; });
    if (!fits) {
      in.fail(str_cat("menu.trained[", r, "]"),
              str_cat("expected ", groups, " numbers above 0, one for each group"));
    }
  }
}

}  // namespace

std::vector<std::vector<double>> simplex_grid(int64_t points, size_t dimension) {
  CANDOR_CHECK(points >= 2 && dimension >= 1);
  const int64_t steps = points - 1;
  std::vector<std::vector<double>> out;
  std::vector<int64_t> parts(dimension, 0);
  parts[0] = steps;
  while (true) {
    std::vector<double>& point = out.emplace_back();
    for (const int64_t part : parts) {
      point.push_back(static_cast<double>(part) / static_cast<double>(steps));
    }
    // The next composition of `steps`: move one unit right from the last non-zero part before the
    // end, and all that lies at the end along with it.
    size_t place = dimension - 1;
    while (place > 0 && parts[place - 1] == 0) --place;
    if (place == 0) return out;
    const int64_t tail = parts[dimension - 1];
    parts[dimension - 1] = 0;
    --parts[place - 1];
    parts[place] = tail + 1;
  }
}

MenuSettings read_menu_settings(JsonReader& in, int64_t max_size) {
  MenuSettings out;
  if (in.has("sft")) out.sft = read_sft(in);
  if (in.has("experts")) out.experts = read_experts(in);
  out.menu = read_menu(in);
  out.sizes = read_sizes(in, max_size);
  out.misreports = read_misreports(in);
  out.largest_lambda_scale = in.number_or("largest_lambda_scale", out.largest_lambda_scale, 1, 1e6);
  return out;
}

void check_menu_settings(JsonReader& in, const MenuSettings& settings,
                         const std::vector<std::string>& group_names,
                         const std::vector<bool>& group_has_adapter) {
  const size_t groups = group_names.size();
  for (size_t r = 0; r < settings.sizes.size(); ++r) {
    if (settings.sizes[r].size() == groups) continue;
    in.fail(str_cat("sizes[", r, "]"),
            str_cat("found ", settings.sizes[r].size(), " sizes; expected one for each of ", groups,
                    " groups"));
  }
  check_trained(in, settings, groups);
  for (size_t i = 0; i < groups; ++i) {
    if (settings.experts.has_value() || group_has_adapter[i]) continue;
    in.fail("experts", str_cat("is missing, and group ", quote(group_names[i]),
                               " brings no expert: expected experts, or expert: {adapter: FOLDER} "
                               "in every group"));
  }
  const bool needs_training = !settings.menu.trained.empty() || !settings.misreports.empty();
  if (needs_training && !settings.experts.has_value()) {
    in.fail("experts", "is missing; menu.trained and misreports train models");
  }
  for (size_t m = 0; m < settings.misreports.size(); ++m) {
    const MisreportChoice& lie = settings.misreports[m];
    const auto found = std::ranges::find(group_names, lie.group);
    if (found == group_names.end()) {
      in.fail(str_cat("misreports[", m, "].group"),
              str_cat("found ", quote(lie.group), "; expected one of ", join(group_names, ", ")));
    }
    if (lie.preference_mix.has_value() && groups < 2) {
      in.fail(str_cat("misreports[", m, "].preference_mix"), "needs other groups to mix with");
    }
  }
  const MenuChoice& menu = settings.menu;
  const double count = (menu.soups > 0 ? grid_size(menu.soups, groups) : 0) +
                       (menu.mixtures > 0 ? grid_size(menu.mixtures, groups) : 0);
  if (count > static_cast<double>(kMostCandidates)) {
    in.fail("menu", str_cat("makes ", count, " soups and mixtures for ", groups,
                            " groups; expected at most ", kMostCandidates,
                            " (a grid of K points along an edge)"));
  }
  if (count == 0 && menu.trained.empty() && !menu.initial) in.fail("menu", "holds no candidate");
}

Json lora_json(const LoraChoice& lora) {
  return {{"rank", lora.rank},
          {"alpha", lora.lora_alpha},
          {"dropout", lora.dropout},
          {"target_modules", lora.target_modules}};
}

void add_menu_settings(const MenuSettings& settings, Json& resolved) {
  if (settings.sft.has_value()) {
    const SftChoice& sft = *settings.sft;
    resolved["sft"] = {{"data", sft.data},
                       {"steps", sft.steps},
                       {"batch", sft.batch},
                       {"max_length_tokens", sft.max_length_tokens},
                       {"learning_rate", sft.learning_rate}};
    if (sft.lora.has_value()) resolved["sft"]["lora"] = lora_json(*sft.lora);
  }
  if (settings.experts.has_value()) {
    const ExpertChoice& experts = *settings.experts;
    Json kl = "auto";
    if (experts.kl_coefficient.has_value()) kl = *experts.kl_coefficient;
    resolved["experts"] = {{"algorithm", experts.algorithm},
                           {"train_prompts", experts.train_prompts},
                           {"steps", experts.steps},
                           {"kl_coefficient", std::move(kl)},
                           {"learning_rate", experts.learning_rate},
                           {"lr_scheduler_type", experts.lr_scheduler_type},
                           {"per_device_train_batch_size", experts.per_device_train_batch_size},
                           {"lora", lora_json(experts.lora)},
                           {"num_generations", experts.num_generations},
                           {"prompts_per_step", experts.prompts_per_step},
                           {"max_new_tokens", experts.max_new_tokens},
                           {"temperature", experts.temperature}};
  }
  const MenuChoice& menu = settings.menu;
  resolved["menu"] = {{"initial", menu.initial},    {"soups", menu.soups},
                      {"mixtures", menu.mixtures},  {"mixture_power", menu.mixture_power},
                      {"trained", menu.trained},    {"leave_one_out", menu.leave_one_out},
                      {"shortcuts", menu.shortcuts}};
  resolved["sizes"] = settings.sizes;
  resolved["largest_lambda_scale"] = settings.largest_lambda_scale;
  Json misreports = Json::array();
  for (const MisreportChoice& lie : settings.misreports) {
    Json entry = {{"group", lie.group}};
    if (lie.size_inflation.has_value()) entry["size_inflation"] = *lie.size_inflation;
    if (lie.preference_mix.has_value()) entry["preference_mix"] = *lie.preference_mix;
    misreports.push_back(std::move(entry));
  }
  resolved["misreports"] = std::move(misreports);
}

}  // namespace candor
