#include "study/menu_table.h"

#include <algorithm>
#include <cmath>

#include "base/strings.h"
#include "core/series.h"
#include "receipt/canonical_json.h"
#include "study/table_file.h"

namespace candor {

namespace {

// Per-prompt means of K * Q * S values.
std::vector<double> prompt_means(const std::vector<double>& replies, size_t samples) {
  std::vector<double> out;
  out.reserve(replies.size() / samples);
  for (size_t first = 0; first < replies.size(); first += samples) {
    double sum = 0;
    for (size_t s = 0; s < samples; ++s) sum += replies[first + s];
    out.push_back(sum / static_cast<double>(samples));
  }
  return out;
}

// Mean over prompts of the variance among a prompt's replies, for each candidate.
std::vector<double> reply_variances(const std::vector<double>& replies, size_t prompts,
                                    size_t samples) {
  std::vector<double> out;
  for (size_t first = 0; first < replies.size(); first += prompts * samples) {
    double total = 0;
    for (size_t q = 0; q < prompts; ++q) {
      Series series;
      for (size_t s = 0; s < samples; ++s) series.add(replies[first + q * samples + s]);
      total += series.variance();
    }
    out.push_back(total / static_cast<double>(prompts));
  }
  return out;
}

Status check_scores(const std::string& group, const std::vector<double>& scores) {
  for (size_t r = 0; r < scores.size(); ++r) {
    if (std::isfinite(scores[r])) continue;
    return invalid_argument(str_cat("group ", quote(group), ": the reward of reply ", r,
                                    " of the menu's bank is ", scores[r],
                                    "; nothing is priced with it"));
  }
  return {};
}

Json provenance(const MenuPipeline& pipeline, const MenuRun& run, const MenuTable& menu) {
  Json normalization = Json::array();
  for (size_t i = 0; i < run.normalizers.size(); ++i) {
    normalization.push_back({{"group", pipeline.study().groups[i].name},
                             {"rule", pipeline.study().normalization},
                             {"low", format_double(run.normalizers[i].low)},
                             {"high", format_double(run.normalizers[i].high)},
                             {"clipped", menu.clipped[i]}});
  }
  return {{"seal", run.seal["digest"]},
          {"menu_seal", run.menu_seal["digest"]},
          {"stages", run.stages_digest},
          {"model", run.model_digest},
          {"prompts", pipeline.base.prompts_digest},
          {"bank", run.bank.digest},
          {"seed", pipeline.study().seed},
          {"lambda", format_double(pipeline.study().divergence.regularization)},
          {"normalization", std::move(normalization)},
          {"excluded", menu.excluded}};
}

std::string digest_of_candidate(const MenuBank& bank, const MenuCandidate& candidate) {
  Json identity = {{"name", candidate.name}, {"adapters", Json::array()}};
  for (const double weight : candidate.weights) {
    identity["weights"].push_back(format_double(weight));
  }
  for (const AdapterArtifact& adapter : bank.adapters) {
    identity["adapters"].push_back(adapter.digest);
  }
  identity["bank"] = bank.digest;
  return digest_of(canonical_json(identity).value());
}

Json table_json(const MenuPipeline& pipeline, const MenuRun& run, const MenuTable& menu,
                const TableEstimate& estimate, const Table& table) {
  Json candidates = Json::array();
  for (size_t k = 0; k < table.candidates.size(); ++k) {
    Json makers = Json::array();
    for (const size_t maker : table.candidates[k].made_by) {
      makers.push_back(table.groups[maker].name);
    }
    candidates.push_back(
        {{"name", table.candidates[k].name},
         {"divergence", std::to_string(table.candidates[k].divergence)},
         {"made_by", std::move(makers)},
         {"digest", digest_of_candidate(run.bank, run.bank.candidates[menu.candidates[k]])}});
  }
  Json groups = Json::array();
  Json half_widths = Json::array();
  for (size_t i = 0; i < table.groups.size(); ++i) {
    Json row = Json::array();
    Json widths = Json::array();
    for (size_t k = 0; k < table.candidates.size(); ++k) {
      row.push_back(std::to_string(table.groups[i].valuations[k]));
      const Interval& interval = estimate.valuations[i][k];
      const double width =
          std::max(interval.high - interval.estimate, interval.estimate - interval.low);
      widths.push_back(std::to_string(std::llround(width * static_cast<double>(kFixedPointOne))));
    }
    groups.push_back({{"name", table.groups[i].name},
                      {"size", table.groups[i].group_size},
                      {"valuations", std::move(row)}});
    half_widths.push_back(std::move(widths));
  }
  return {{"candor", "table/1"},
          {"candidates", std::move(candidates)},
          {"groups", std::move(groups)},
          {"menu_depends_on_reports", pipeline.depends_on_reports()},
          {"max_size", table.max_size},
          {"half_widths", std::move(half_widths)},
          {"provenance", provenance(pipeline, run, menu)}};
}

}  // namespace

TableSamples select_candidates(const TableSamples& samples, const std::vector<size_t>& candidates) {
  TableSamples out;
  out.prompts = samples.prompts;
  out.groups = samples.groups;
  out.valuations.resize(samples.groups.size());
  out.reply_variances.resize(samples.groups.size());
  const auto copy = [&](const std::vector<double>& from, size_t k, std::vector<double>& to) {
    const auto begin = from.begin() + static_cast<std::ptrdiff_t>(k * samples.prompts);
    to.insert(to.end(), begin, begin + static_cast<std::ptrdiff_t>(samples.prompts));
  };
  for (const size_t k : candidates) {
    out.candidates.push_back(samples.candidates[k]);
    copy(samples.divergences, k, out.divergences);
    for (size_t i = 0; i < samples.groups.size(); ++i) {
      copy(samples.valuations[i], k, out.valuations[i]);
      out.reply_variances[i].push_back(samples.reply_variances[i][k]);
    }
  }
  return out;
}

void add_reference_redraws(const Study& study, const MenuRun& run, MenuTable& menu) {
  const RedrawOptions options{.rule = study.normalization,
                              .samples = static_cast<size_t>(study.reference_samples),
                              .seed = study.seed};
  const size_t block = menu.all.prompts * static_cast<size_t>(study.bank.samples);
  std::vector<std::vector<std::vector<double>>> out(static_cast<size_t>(options.draws));
  for (size_t i = 0; i < study.groups.size(); ++i) {
    const std::vector<Normalizer> redrawn =
        redrawn_normalizers(run.normalizers[i], run.reference_scores[i], options);
    if (redrawn.empty()) return;
    for (size_t draw = 0; draw < redrawn.size(); ++draw) {
      const Normalizer& scale = redrawn[draw];
      std::vector<double>& row = out[draw].emplace_back();
      for (const size_t k : menu.candidates) {
        double sum = 0;
        for (size_t r = k * block; r < (k + 1) * block; ++r) {
          sum +=
              std::clamp((run.bank.scores[i][r] - scale.low) / (scale.high - scale.low), 0.0, 1.0);
        }
        row.push_back(sum / static_cast<double>(block));
      }
    }
  }
  menu.menu.redrawn_valuations = std::move(out);
}

Result<MenuTable> tabulate_menu(const Study& study, const MenuBank& bank,
                                const std::vector<Normalizer>& normalizers, size_t prompts) {
  const auto samples = static_cast<size_t>(study.bank.samples);
  MenuTable out;
  out.all.prompts = prompts;
  out.clipped.assign(study.groups.size(), 0);
  for (const MenuCandidate& candidate : bank.candidates) {
    out.all.candidates.push_back(candidate.name);
  }
  for (size_t i = 0; i < study.groups.size(); ++i) {
    CANDOR_RETURN_IF_ERROR(check_scores(study.groups[i].name, bank.scores[i]));
    out.rewards.push_back(normalizers[i].apply(bank.scores[i], &out.clipped[i]));
    out.all.groups.push_back(study.groups[i].name);
    out.all.valuations.push_back(prompt_means(out.rewards[i], samples));
    out.all.reply_variances.push_back(reply_variances(out.rewards[i], prompts, samples));
  }
  out.all.divergences = prompt_means(bank.divergences, samples);
  for (double& value : out.all.divergences) value *= study.divergence.regularization;
  for (size_t k = 0; k < bank.candidates.size(); ++k) {
    bool finite = true;
    for (size_t q = 0; q < prompts; ++q) {
      const double value = out.all.divergences[k * prompts + q];
      if (std::isnan(value)) {
        return invalid_argument(str_cat("candidate ", quote(bank.candidates[k].name),
                                        ": its divergence on prompt ", q, " is not a number"));
      }
      finite = finite && std::isfinite(value);
    }
    if (!finite) {
      out.excluded.push_back(bank.candidates[k].name);
    } else if (bank.candidates[k].on_menu) {
      out.candidates.push_back(k);
    }
  }
  if (out.candidates.empty()) {
    return invalid_argument("every candidate of the menu has an infinite divergence");
  }
  out.menu = select_candidates(out.all, out.candidates);
  return out;
}

Result<MenuSettlement> settle_menu(const MenuPipeline& pipeline, const MenuRun& run,
                                   const MenuTable& menu, const TableEstimate& estimate,
                                   const std::vector<int64_t>& sizes) {
  MenuSettlement out;
  out.sizes = sizes;
  CANDOR_TRY(out.table, make_table(menu.menu, sizes, pipeline.study().max_size));
  out.table.menu_depends_on_reports = pipeline.depends_on_reports();
  for (size_t k = 0; k < out.table.candidates.size(); ++k) {
    out.table.candidates[k].made_by = pipeline.makers_of(run.bank.candidates[menu.candidates[k]]);
  }
  out.table_json = table_json(pipeline, run, menu, estimate, out.table);
  CANDOR_TRY(const std::string text, canonical_json(out.table_json));
  out.digest = digest_of(text);  // as load_table has it: provenance holds no float here
  out.settlement = settle(out.table);
  return out;
}

std::vector<ClippedPoint> clipped_mix_sweep(const MenuTable& menu, const MenuSettlement& settled,
                                            size_t group, const std::vector<double>& parameters,
                                            size_t samples) {
  const Table& table = settled.table;
  const std::vector<Int128> others = welfare_without(table, group);
  double agents = 0;
  for (size_t j = 0; j < settled.sizes.size(); ++j) {
    if (j != group) agents += static_cast<double>(settled.sizes[j]);
  }
  const size_t block = menu.all.prompts * samples;
  std::vector<ClippedPoint> out;
  for (const double b : parameters) {
    ClippedPoint point{.parameter = b};
    std::vector<int64_t> row;
    for (const size_t k : menu.candidates) {
      double total = 0;
      for (size_t r = k * block; r < (k + 1) * block; ++r) {
        double rest = 0;
        for (size_t j = 0; j < settled.sizes.size(); ++j) {
          if (j == group) continue;
          rest += static_cast<double>(settled.sizes[j]) * menu.rewards[j][r] / agents;
        }
        const double value = b * menu.rewards[group][r] + (1 - b) * rest;
        const double clipped = std::clamp(value, 0.0, 1.0);
        // Rounding alone is no clipping: at b = 1 nothing moves.
        if (std::abs(clipped - value) > 1e-12) ++point.clipped;
        total += clipped;
      }
      row.push_back(std::min(
          kFixedPointOne, static_cast<int64_t>(std::llround(total / static_cast<double>(block) *
                                                            static_cast<double>(kFixedPointOne)))));
    }
    const Table::Group& own = table.groups[group];
    point.winner = winner_under_report(table, group, own.group_size, row, others);
    point.valuation = from_fixed_point(Int128{own.group_size} * own.valuations[point.winner]);
    point.payment = from_fixed_point(settled.settlement.groups[group].prices[point.winner]);
    point.utility = point.valuation - point.payment;
    out.push_back(point);
  }
  return out;
}

}  // namespace candor
