#include "study/bank_game.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>

#include "base/check.h"
#include "base/money.h"
#include "base/rng.h"
#include "base/strings.h"
#include "study/result_files.h"

namespace candor {

namespace {

constexpr uint32_t kRedrawStream = 0x72656472;  // "redr"
constexpr int kMostSplits = 20;                 // tried for each draw

// The constants of the replies to some prompts; nothing where all score alike.
std::optional<Normalizer> fit_prompts(const std::vector<double>& scores,
                                      const RedrawOptions& options,
                                      std::span<const size_t> prompts) {
  std::vector<double> some;
  for (const size_t prompt : prompts) {
    const auto first = scores.begin() + static_cast<std::ptrdiff_t>(prompt * options.samples);
    some.insert(some.end(), first, first + static_cast<std::ptrdiff_t>(options.samples));
  }
  const Result<Normalizer> out = Normalizer::fit(options.rule, "", some);
  return out.ok() ? std::optional(*out) : std::nullopt;
}

Status check_finite(const std::string& group, const std::vector<double>& scores) {
  for (size_t i = 0; i < scores.size(); ++i) {
    if (!std::isfinite(scores[i])) {
      return invalid_argument(str_cat("group ", quote(group), ": the reward of reply ", i, " is ",
                                      scores[i], "; nothing is priced with it"));
    }
  }
  return {};
}

Json interval_json(const Interval& interval) {
  return {{"estimate", interval.estimate}, {"low", interval.low}, {"high", interval.high}};
}

// No amount is quoted from numbers that are not known well enough.
Result<Json> quoted_amount(const Study& study, const Solution& solution,
                           const GroupOutcome& outcome) {
  if (!solution.converged) return Json(nullptr);
  const auto in_group = [&](const Error& error) {
    return invalid_argument(str_cat("group ", quote(outcome.name), ": ", error.message));
  };
  const Result<Int128> units = settled_units(outcome.payment);
  if (!units.ok()) return in_group(units.error());
  const Result<Int128> minor = minor_units(*units, study.unit_price, study.currency.exponent);
  if (!minor.ok()) return in_group(minor.error());
  return Json(amount_text(*minor, study.currency.exponent));
}

}  // namespace

Result<Normalizer> Normalizer::fit(const std::string& rule, const std::string& group,
                                   const std::vector<double>& reference_scores) {
  CANDOR_CHECK(!reference_scores.empty());
  CANDOR_RETURN_IF_ERROR(check_finite(group, reference_scores));
  const auto [low, high] = std::ranges::minmax(reference_scores);
  const Normalizer out{rule == "max" ? 0.0 : low, high};
  if (!(out.high > out.low) || !std::isfinite(out.high - out.low)) {
    return invalid_argument(
        str_cat("group ", quote(group), ": its reward is ", high,
                " on every reply of the reference bank; it cannot be normalised by ", rule));
  }
  return out;
}

std::vector<Normalizer> redrawn_normalizers(const Normalizer& sealed,
                                            const std::vector<double>& scores,
                                            const RedrawOptions& options) {
  const size_t prompts = scores.size() / options.samples;
  std::vector<Normalizer> out;
  if (prompts < 4) return out;
  for (int draw = 0; draw < options.draws; ++draw) {
    std::optional<Normalizer> first;
    std::optional<Normalizer> second;
    for (int split = 0; split < kMostSplits && !(first && second); ++split) {
      const std::vector<size_t> order =
          shuffled_order(prompts, {.seed = options.seed,
                                   .stream = kRedrawStream,
                                   .prompt = static_cast<uint32_t>(draw),
                                   .sample = static_cast<uint32_t>(split)});
      const std::span<const size_t> all(order);
      first = fit_prompts(scores, options, all.first(prompts / 2));
      second = fit_prompts(scores, options, all.subspan(prompts - prompts / 2));
    }
    if (!first || !second) return {};
    const double one = first->high - first->low;
    const double other = second->high - second->low;
    const double range = sealed.high - sealed.low;
    const double low = sealed.low + range * (first->low - second->low) / std::sqrt(one * other);
    out.push_back({.low = low, .high = low + range * one / other});
  }
  return out;
}

std::vector<double> Normalizer::apply(const std::vector<double>& scores, size_t* clipped) const {
  std::vector<double> out;
  out.reserve(scores.size());
  for (const double score : scores) {
    const double value = (score - low) / (high - low);
    out.push_back(std::clamp(value, 0.0, 1.0));
    if (out.back() != value) ++*clipped;
  }
  return out;
}

Result<BankGame> make_bank_game(const Study& study, const std::vector<GroupScores>& scores,
                                size_t prompt_count) {
  CANDOR_CHECK(scores.size() == study.groups.size());
  std::vector<Normalizer> normalizers;
  std::vector<std::vector<double>> bank;
  for (size_t group = 0; group < scores.size(); ++group) {
    CANDOR_TRY(
        const Normalizer normalizer,
        Normalizer::fit(study.normalization, study.groups[group].name, scores[group].reference));
    normalizers.push_back(normalizer);
    bank.push_back(scores[group].bank);
  }
  return make_normalized_game(study, std::move(normalizers), bank, prompt_count);
}

Result<BankGame> make_normalized_game(const Study& study, std::vector<Normalizer> normalizers,
                                      const std::vector<std::vector<double>>& bank,
                                      size_t prompt_count) {
  CANDOR_CHECK(bank.size() == study.groups.size() && normalizers.size() == bank.size());
  const auto samples = static_cast<size_t>(study.bank.samples);
  BankGame out;
  out.clipped.assign(bank.size(), 0);
  Game game;
  game.divergence = study.divergence;
  game.normalization = Normalization::kNone;  // the sealed rule has done it
  game.max_size = study.max_size;
  game.initial.assign(prompt_count * samples, 1.0);
  for (size_t prompt = 0; prompt <= prompt_count; ++prompt)
    game.block_begin.push_back(prompt * samples);
  for (size_t group = 0; group < bank.size(); ++group) {
    const std::string& name = study.groups[group].name;
    CANDOR_RETURN_IF_ERROR(check_finite(name, bank[group]));
    CANDOR_CHECK(bank[group].size() == game.initial.size());
    game.groups.push_back({.name = name,
                           .group_size = static_cast<double>(study.groups[group].size),
                           .reward = normalizers[group].apply(bank[group], &out.clipped[group])});
  }
  out.normalizers = std::move(normalizers);
  CANDOR_TRY(out.game, make_game(std::move(game)));
  return out;
}

Result<Quote> make_quote(const Study& study, const Game& game) {
  Quote out;
  CANDOR_TRY(out.solution, solve(game));
  CANDOR_TRY(out.estimate,
             estimate(game, study.seed, static_cast<int>(study.resamples), study.confidence));
  for (size_t group = 0; group < game.groups.size(); ++group) {
    CANDOR_TRY(std::vector<PricedPoint> menu, price_menu(game, group));
    out.menus.push_back(std::move(menu));
  }
  return out;
}

Result<Json> quote_json(const Study& study, const BankGame& bank_game, const Quote& quote) {
  Json groups = Json::array();
  for (size_t i = 0; i < quote.estimate.groups.size(); ++i) {
    const GroupEstimate& group = quote.estimate.groups[i];
    const GroupOutcome& outcome = quote.solution.groups[i];
    CANDOR_TRY(Json amount, quoted_amount(study, quote.solution, outcome));
    Json menu = Json::array();
    for (const PricedPoint& point : quote.menus[i]) {
      menu.push_back(
          {{"name", point.name}, {"price", point.price}, {"valuation", point.valuation}});
    }
    groups.push_back({{"name", group.name},
                      {"size", study.groups[i].size},
                      {"valuation", interval_json(group.valuation)},
                      {"payment", interval_json(group.payment)},
                      {"utility", interval_json(group.utility)},
                      {"payment_half_bank", group.payment_half_bank},
                      {"payment_bias", group.payment_bias},
                      {"payment_error", outcome.payment_error()},
                      {"payment_enclosure", enclosure_json(outcome.payment_enclosure)},
                      {"amount", std::move(amount)},
                      {"price_menu", std::move(menu)},
                      {"normalization",
                       {{"rule", study.normalization},
                        {"low", bank_game.normalizers[i].low},
                        {"high", bank_game.normalizers[i].high},
                        {"clipped", bank_game.clipped[i]}}}});
  }
  return Json{{"candor", "quote/2"},
              {"welfare", interval_json(quote.estimate.welfare)},
              {"divergence", quote.solution.divergence},
              {"gap", quote.solution.gap()},
              {"error", quote.solution.error()},
              {"tolerance", quote.solution.tolerance},
              {"converged", quote.solution.converged},
              {"lambda", study.divergence.regularization},
              {"prompts", bank_game.game.block_count()},
              {"replies", study.bank.samples},
              {"confidence", quote.estimate.confidence},
              {"resamples", quote.estimate.resamples},
              {"effective_sample_size",
               {{"mean", quote.estimate.effective_sample_size},
                {"min", quote.estimate.effective_sample_size_min}}},
              {"unit_price", study.unit_price.text()},
              {"currency", study.currency.code},
              {"exponent", study.currency.exponent},
              {"groups", std::move(groups)}};
}

}  // namespace candor
