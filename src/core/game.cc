#include "core/game.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/check.h"
#include "base/strings.h"
#include "core/double_double.h"
#include "core/sum.h"

namespace candor {

namespace {

Status check_shape(Game& game) {
  const size_t m = game.initial.size();
  if (m == 0) return invalid_argument("initial: there is no outcome; at least one is needed");
  if (game.groups.empty()) return invalid_argument("groups: there is none; at least one is needed");
  if (game.block_begin.empty()) game.block_begin = {0, m};
  if (game.block_begin.front() != 0 || game.block_begin.back() != m) {
    return invalid_argument(
        str_cat("blocks: they hold ", game.block_begin.back(), " outcomes; initial has ", m));
  }
  for (size_t block = 0; block + 1 < game.block_begin.size(); ++block) {
    if (game.block_begin[block + 1] <= game.block_begin[block]) {
      return invalid_argument(str_cat("blocks[", block, "]: is empty"));
    }
  }
  if (game.max_size < 1) {
    return invalid_argument(str_cat("max_size: found ", game.max_size, "; expected at least 1"));
  }
  return check_divergence(game.divergence);
}

// Rescales to sum 1 in every block. `what` names the array in errors.
Status rescale(const std::vector<size_t>& block_begin, bool zero_allowed, const std::string& what,
               std::vector<double>& model) {
  if (model.size() != block_begin.back()) {
    return invalid_argument(
        str_cat(what, ": has ", model.size(), " entries; expected ", block_begin.back()));
  }
  for (size_t block = 0; block + 1 < block_begin.size(); ++block) {
    Sum total;
    for (size_t x = block_begin[block]; x < block_begin[block + 1]; ++x) {
      const bool fine =
          std::isfinite(model[x]) && (model[x] > 0 || (zero_allowed && model[x] == 0));
      if (!fine) {
        return invalid_argument(str_cat(what, "[", x, "]: found ", model[x], "; expected a finite ",
                                        zero_allowed ? "number >= 0" : "number above 0"));
      }
      total.add(model[x]);
    }
    if (!(total.value() > 0) || !std::isfinite(total.value())) {
      return invalid_argument(str_cat(what, ": sums to ", total.value(), " in block ", block,
                                      "; expected a finite number above 0"));
    }
    for (size_t x = block_begin[block]; x < block_begin[block + 1]; ++x) {
      model[x] /= total.value();
      if (!zero_allowed && model[x] == 0) {
        return invalid_argument(str_cat(what, "[", x,
                                        "]: is 0 beside the rest of its block; every "
                                        "outcome needs a probability above 0"));
      }
    }
  }
  return {};
}

// The sum of all values to 106 bits.
DoubleDouble exact_total(const std::vector<double>& values) {
  DoubleDouble total;
  for (const double value : values) total = total + DoubleDouble{value, 0};
  return total;
}

// (value - low) / scale for every value; `rests` keeps what rounding took, where it took anything.
// By a power of two everything is first brought to where no remainder underflows.
void divide(double low, const DoubleDouble& scale, std::vector<double>& values,
            std::vector<double>& rests) {
  rests.clear();
  const int exponent = -std::ilogb(scale.high);
  const double divisor = std::scalbn(scale.high, exponent);
  const double divisor_rest = std::scalbn(scale.low, exponent);
  for (size_t x = 0; x < values.size(); ++x) {
    const DoubleDouble shifted =
        exact_sum(std::scalbn(values[x], exponent), std::scalbn(-low, exponent));
    const double quotient = shifted.high / divisor;
    const double remainder = std::fma(-quotient, divisor, shifted.high);
    const double rest = (remainder + (shifted.low - quotient * divisor_rest)) / divisor;
    if (rest != 0 && rests.empty()) rests.resize(values.size());
    if (rest != 0) rests[x] = rest;
    values[x] = quotient;
  }
}

// Shifts and stretches to [0, 1], both reached. False where all values are the same or too far
// apart for a double.
bool stretch(std::vector<double>& reward, std::vector<double>& rests) {
  const auto [low, high] = std::ranges::minmax(reward);
  if (!(high - low > 0) || !std::isfinite(high - low)) return false;
  divide(low, exact_sum(high, -low), reward, rests);
  return true;
}

Status normalize(Normalization normalization, const std::string& what, Report& report) {
  std::vector<double>& reward = report.reward;
  Sum total;
  double largest = 0;
  for (size_t x = 0; x < reward.size(); ++x) {
    if (!std::isfinite(reward[x]) || (reward[x] < 0 && !may_be_negative(normalization))) {
      return invalid_argument(str_cat(what, ".reward[", x, "]: found ", reward[x],
                                      "; expected a finite number",
                                      may_be_negative(normalization) ? "" : " >= 0"));
    }
    total.add(reward[x]);
    largest = std::max(largest, reward[x]);
  }
  if (normalization == Normalization::kNone) return {};
  if (normalization == Normalization::kMinMax) {
    if (stretch(reward, report.reward_rest)) return {};
    return cannot_stretch(str_cat(what, ".reward"), report.name, std::ranges::min(reward),
                          std::ranges::max(reward));
  }
  const double scale = normalization == Normalization::kMax ? largest : total.value();
  if (!(scale > 0) || !std::isfinite(scale)) {
    return invalid_argument(str_cat(what,
                                    ".reward: ", scale == 0 ? "is zero everywhere" : "overflows",
                                    "; it cannot be normalised"));
  }
  const bool by_max = normalization == Normalization::kMax;
  divide(0, by_max ? DoubleDouble{largest, 0} : exact_total(reward), reward, report.reward_rest);
  return {};
}

}  // namespace

Result<Game> make_game(Game game) {
  CANDOR_RETURN_IF_ERROR(check_shape(game));
  CANDOR_RETURN_IF_ERROR(rescale(game.block_begin, false, "initial", game.initial));
  std::set<std::string> names;
  for (size_t group = 0; group < game.groups.size(); ++group) {
    Report& report = game.groups[group];
    const std::string what = str_cat("groups[", group, "]");
    if (!names.insert(report.name).second) {
      return invalid_argument(
          str_cat(what, ".name: found ", quote(report.name), " a second time; names must differ"));
    }
    const bool whole = report.group_size == std::floor(report.group_size);
    if (!whole || report.group_size < 1 || report.group_size > static_cast<double>(game.max_size)) {
      return invalid_argument(str_cat(what, ".size: found ", report.group_size,
                                      "; expected a whole number from 1 to ", game.max_size));
    }
    if (report.reward.size() != game.outcome_count()) {
      return invalid_argument(str_cat(what, ".reward: has ", report.reward.size(),
                                      " entries; initial has ", game.outcome_count()));
    }
    CANDOR_RETURN_IF_ERROR(normalize(game.normalization, what, report));
  }
  for (size_t k = 0; k < game.candidates.size(); ++k) {
    CANDOR_RETURN_IF_ERROR(
        rescale(game.block_begin, true, str_cat("candidates[", k, "]"), game.candidates[k]));
  }
  return game;
}

Error cannot_stretch(const std::string& what, const std::string& name, double low, double high) {
  const std::string found = low == high ? str_cat("has the reward ", low, " on every outcome")
                                        : str_cat("has rewards from ", low, " to ", high,
                                                  ", whose distance is beyond double precision");
  return invalid_argument(str_cat(what, ": group ", quote(name), " ", found,
                                  "; min_max normalisation needs two that differ"));
}

Result<size_t> find_group(const Game& game, const std::string& name) {
  std::vector<std::string> names;
  for (size_t i = 0; i < game.groups.size(); ++i) {
    if (name.empty() || game.groups[i].name == name) return i;
    names.push_back(game.groups[i].name);
  }
  return invalid_argument(str_cat("no group is named ", quote(name), "; there are ",
                                  join(names, ", "), did_you_mean(name, names)));
}

Game with_report(const Game& game, size_t group, double group_size, std::vector<double> reward) {
  CANDOR_CHECK(group < game.groups.size() && reward.size() == game.outcome_count());
  Game changed = game;
  changed.groups[group].group_size = group_size;
  changed.groups[group].reward = std::move(reward);
  changed.groups[group].reward_rest.clear();
  return changed;
}

bool make_admissible(const Game& game, size_t group, std::vector<double>& reward) {
  if (game.normalization == Normalization::kNone) {
    const double bound = std::max(1.0, std::ranges::max(game.groups[group].reward));
    for (double& value : reward) value = std::clamp(value, 0.0, bound);
    return true;
  }
  std::vector<double> rests;  // a lie is what its doubles are
  if (game.normalization == Normalization::kMinMax) return stretch(reward, rests);
  double scale = 0;
  for (double& value : reward) {
    value = std::max(0.0, value);
    scale = game.normalization == Normalization::kMax ? std::max(scale, value) : scale + value;
  }
  if (!(scale > 0)) return false;
  for (double& value : reward) value /= scale;
  return true;
}

}  // namespace candor
