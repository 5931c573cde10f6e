// How often the intervals of a menu's settlement hold the truth (core/settlement_bands.h),
// simulated where the truth is known: prompts are drawn from a population, the table is estimated
// and settled from them, and its intervals are held against what the population says of the chosen
// candidate
// ("chosen") and of the settlement of the true table ("settled").
//
//   interval_coverage [--trials N] [--seed S] [--prompts Q,Q..] [--percentiles]
//                     [RUN_FOLDER ...]
//
// Populations: made ones, skewed and heavy-tailed; and of every recorded run with a bank, its
// prompts drawn again, and normal ones of their mean and covariance. Each with its differences
// between candidates multiplied by 4, 1, 1/2 and 0 (all alike: the choice is pure noise).
// --percentiles judges instead the plain percentile bootstrap, which this project once printed.
// Prints a line for every interval and a table of them all. Exit 1 where an interval of 95 % covers
// less than 93 %, by more than chance.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/strings.h"
#include "core/table_estimate.h"
#include "core/table_resampling.h"
#include "formats/records.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

constexpr int kResamples = 400;
constexpr double kPromised = 0.93;
constexpr double kAlarm = 1e-4;  // chance of a false alarm, of one figure
// Values leave [0, 1] where they are normal or moved: they are brought back by a factor, and sizes
// multiplied by it, which adds a constant to every total and changes nothing else.
constexpr double kShrink = 20;
constexpr std::array<double, 4> kGaps = {4, 1, 0.5, 0};

// Prompts of a menu: rows of [n][K] values, then K divergences.
struct Population {
  std::string name;
  size_t groups = 0, candidates = 0;
  std::vector<int64_t> sizes;
  std::vector<std::vector<double>> atoms;  // [N][(n + 1) K]
  bool normal = false;                     // of the atoms' mean and covariance, else atoms again
};

std::vector<double> mean_of(const std::vector<std::vector<double>>& atoms) {
  std::vector<double> out(atoms[0].size(), 0.0);
  for (const auto& atom : atoms) {
    for (size_t c = 0; c < out.size(); ++c) {
      out[c] += atom[c] / static_cast<double>(atoms.size());
    }
  }
  return out;
}

// The same population with every difference between candidates multiplied by `gap`.
Population with_gap(Population population, double gap) {
  const size_t k = population.candidates;
  std::vector<double> shift = mean_of(population.atoms);
  for (size_t row = 0; row < shift.size(); row += k) {
    double middle = 0;
    for (size_t c = 0; c < k; ++c) middle += shift[row + c] / static_cast<double>(k);
    for (size_t c = 0; c < k; ++c) shift[row + c] = (gap - 1) * (shift[row + c] - middle);
  }
  for (auto& atom : population.atoms) {
    for (size_t c = 0; c < shift.size(); ++c) atom[c] += shift[c];
  }
  return population;
}

double in_unit(double value) { return 0.5 + (value - 0.5) / kShrink; }

TableMeans means_of(const Population& population, const std::vector<double>& row) {
  TableMeans out;
  const size_t k = population.candidates;
  for (size_t i = 0; i < population.groups; ++i) {
    std::vector<double>& values = out.valuations.emplace_back();
    for (size_t c = 0; c < k; ++c) values.push_back(in_unit(row[i * k + c]));
  }
  out.divergences.assign(row.end() - static_cast<std::ptrdiff_t>(k), row.end());
  return out;
}

std::vector<double> draw_prompt(const Population& population, const std::vector<double>& mean,
                                RandomStream& random) {
  const auto& atoms = population.atoms;
  if (!population.normal) return atoms[random.below(atoms.size())];
  std::vector<double> out = mean;
  const double factor = 1 / std::sqrt(static_cast<double>(atoms.size() - 1));
  for (const auto& atom : atoms) {
    const double weight = factor * random.normal();
    for (size_t c = 0; c < out.size(); ++c) out[c] += weight * (atom[c] - mean[c]);
  }
  return out;
}

TableSamples draw_samples(const Population& population, const std::vector<double>& mean,
                          size_t prompts, RandomStream random) {
  TableSamples out;
  out.prompts = prompts;
  const size_t k = population.candidates;
  for (size_t c = 0; c < k; ++c) out.candidates.push_back(str_cat("c", c));
  for (size_t i = 0; i < population.groups; ++i) out.groups.push_back(str_cat("g", i));
  out.valuations.assign(population.groups, std::vector<double>(k * prompts));
  out.divergences.resize(k * prompts);
  for (size_t q = 0; q < prompts; ++q) {
    const TableMeans row = means_of(population, draw_prompt(population, mean, random));
    for (size_t c = 0; c < k; ++c) {
      for (size_t i = 0; i < population.groups; ++i) {
        out.valuations[i][c * prompts + q] = row.valuations[i][c];
      }
      out.divergences[c * prompts + q] = row.divergences[c];
    }
  }
  return out;
}

// ---------------------------------------------------------------- truth and intervals

// Welfare, then valuation, payment and utility of every group.
using Figures = std::vector<double>;

Figures true_figures(const TableMeans& means, const std::vector<int64_t>& sizes, size_t chosen) {
  const auto total = [&](size_t k, size_t left_out) {
    double sum = -means.divergences[k];
    for (size_t i = 0; i < sizes.size(); ++i) {
      if (i != left_out) sum += static_cast<double>(sizes[i]) * means.valuations[i][k];
    }
    return sum;
  };
  Figures out = {total(chosen, SIZE_MAX)};
  for (size_t i = 0; i < sizes.size(); ++i) {
    double best = -HUGE_VAL;
    for (size_t k = 0; k < means.divergences.size(); ++k) best = std::max(best, total(k, i));
    const double valuation = static_cast<double>(sizes[i]) * means.valuations[i][chosen];
    const double payment = best - total(chosen, i);
    out.insert(out.end(), {valuation, payment, valuation - payment});
  }
  return out;
}

struct Judged {
  std::vector<Interval> intervals;  // as Figures
  std::vector<double> bias;
  size_t winner = 0;
};

Judged printed_intervals(const TableSamples& samples, const std::vector<int64_t>& sizes) {
  const TableEstimate estimate = *estimate_table(samples, {sizes}, {.resamples = kResamples});
  const SettlementEstimate& one = estimate.settlements[0];
  Judged out{{one.welfare.interval}, {one.welfare.bias}, one.winner};
  for (const SettlementEstimate::Group& group : one.groups) {
    for (const SettledFigure* figure : {&group.valuation, &group.payment, &group.utility}) {
      out.intervals.push_back(figure->interval);
      out.bias.push_back(figure->bias);
    }
  }
  return out;
}

// The percentiles of resamples settled anew, and no more.
Judged percentile_intervals(const TableSamples& samples, const std::vector<int64_t>& sizes) {
  const auto figures = [&](const DoubleSettlement& settled) {
    Figures out = {settled.welfare};
    for (size_t i = 0; i < sizes.size(); ++i) {
      out.insert(out.end(), {settled.valuations[i], settled.payments[i],
                             settled.valuations[i] - settled.payments[i]});
    }
    return out;
  };
  std::vector<std::vector<double>> draws;
  resample_prompts(samples, {.draws = kResamples}, [&](const TableMeans& means, const TableMeans&) {
    const Figures one = figures(settle_doubles(means, sizes));
    draws.resize(one.size());
    for (size_t f = 0; f < one.size(); ++f) draws[f].push_back(one[f]);
  });
  const DoubleSettlement settled = settle_doubles(means_of_samples(samples), sizes);
  const Figures estimates = figures(settled);
  Judged out{{}, std::vector<double>(estimates.size(), 0.0), settled.winner};
  for (size_t f = 0; f < estimates.size(); ++f) {
    out.intervals.push_back({estimates[f], quantile(draws[f], 0.025), quantile(draws[f], 0.975)});
  }
  return out;
}

// ---------------------------------------------------------------- the simulation

struct Options {
  int trials = 300;
  uint64_t seed = 1;
  std::vector<size_t> prompts = {20, 64};
  bool percentiles = false;
  std::vector<fs::path> folders;
};

struct Coverage {
  int chosen = 0, settled = 0;  // trials whose interval held the truth
  double excess = 0;            // mean of estimate - truth of the chosen candidate
  double bias = 0;              // mean of what is printed as that
  std::vector<double> widths, percentile_widths;
};

// The fewest of `trials` that a coverage of `promised` leaves by chance, but for kAlarm.
int fewest(int trials, double promised) {
  double log_term = trials * std::log(promised);  // of all covered
  double above = 0;                               // P(covered > count)
  int count = trials;
  while (count > 0) {
    above += std::exp(log_term);
    if (1 - above < kAlarm) break;
    log_term += std::log(count * (1 - promised) / ((trials - count + 1) * promised));
    --count;
  }
  return count;
}

double median(std::vector<double> values) { return quantile(std::move(values), 0.5); }

std::vector<Coverage> simulate(const Population& population, size_t prompts, const Options& options,
                               uint32_t stream) {
  std::vector<int64_t> sizes;
  for (const int64_t size : population.sizes) {
    sizes.push_back(size * static_cast<int64_t>(kShrink));
  }
  const std::vector<double> mean = mean_of(population.atoms);
  const TableMeans truth = means_of(population, mean);
  const Figures settled = true_figures(truth, sizes, settle_doubles(truth, sizes).winner);
  std::vector<Coverage> out(settled.size());
  for (int trial = 0; trial < options.trials; ++trial) {
    const TableSamples samples = draw_samples(
        population, mean, prompts,
        RandomStream(
            {.seed = options.seed, .stream = stream, .prompt = static_cast<uint32_t>(trial)}));
    const Judged percentiles = percentile_intervals(samples, sizes);
    const Judged judged = options.percentiles ? percentiles : printed_intervals(samples, sizes);
    const Figures chosen = true_figures(truth, sizes, judged.winner);
    for (size_t f = 0; f < out.size(); ++f) {
      const Interval& interval = judged.intervals[f];
      const auto holds = [&](double value) {
        return interval.low <= value + 1e-9 && value <= interval.high + 1e-9 ? 1 : 0;
      };
      out[f].chosen += holds(chosen[f]);
      out[f].settled += holds(settled[f]);
      out[f].excess += (interval.estimate - chosen[f]) / options.trials;
      out[f].bias += judged.bias[f] / options.trials;
      out[f].widths.push_back(interval.high - interval.low);
      const Interval& plain = percentiles.intervals[f];
      out[f].percentile_widths.push_back(plain.high - plain.low);
    }
  }
  return out;
}

std::string figure_name(size_t figure) {
  static constexpr const char* kNames[] = {"valuation", "payment", "utility"};
  return figure == 0 ? "welfare" : str_cat(kNames[(figure - 1) % 3], " ", (figure + 2) / 3);
}

// All intervals of one kind of figure at one gap.
struct Summary {
  double least = 1;
  double total = 0;
  std::vector<double> widths;  // relative to the percentiles'

  void add(double coverage, double width) {
    least = std::min(least, coverage);
    total += coverage;
    widths.push_back(width);
  }
};
using Summaries = std::map<std::pair<std::string, double>, Summary>;

// A line for each interval; returns how many cover too little.
int report(const std::string& place, double gap, const Options& options,
           const std::vector<Coverage>& coverage, Summaries& summaries) {
  const int least = fewest(options.trials, kPromised);
  int failures = 0;
  for (size_t f = 0; f < coverage.size(); ++f) {
    const Coverage& one = coverage[f];
    const bool low = std::min(one.chosen, one.settled) < least;
    failures += low ? 1 : 0;
    const double chosen = static_cast<double>(one.chosen) / options.trials;
    const double settled = static_cast<double>(one.settled) / options.trials;
    const double own = median(one.widths);
    const double width = own == 0 ? 1 : own / median(one.percentile_widths);  // a payment of 0
    const std::string name = figure_name(f);
    std::printf("%s, %s: chosen %s settled %s width x%s, excess %s bias %s%s\n", place.c_str(),
                name.c_str(), format_short(chosen, 3).c_str(), format_short(settled, 3).c_str(),
                format_short(width, 3).c_str(), format_short(one.excess, 2).c_str(),
                format_short(one.bias, 2).c_str(), low ? " TOO LOW" : "");
    summaries[{name.substr(0, name.find(' ')), gap}].add(std::min(chosen, settled), width);
  }
  return failures;
}

void print_summaries(const Summaries& summaries) {
  std::printf(
      "\n| figure | gap | least coverage | mean | width, median | narrowest | widest |\n"
      "|---|---|---|---|---|---|---|\n");
  for (const auto& [key, one] : summaries) {
    const auto text = [](double value) { return format_short(value, 3); };
    const double mean = one.total / static_cast<double>(one.widths.size());
    std::printf("| %s | %s | %s | %s | %s | %s | %s |\n", key.first.c_str(),
                text(key.second).c_str(), text(one.least).c_str(), text(mean).c_str(),
                text(median(one.widths)).c_str(), text(quantile(one.widths, 0)).c_str(),
                text(quantile(one.widths, 1)).c_str());
  }
}

// ---------------------------------------------------------------- populations

// Six candidates, two groups. `shock` is a variable of mean 0; each prompt has one that all figures
// share, and every figure its own.
Population made_population(const std::string& name,
                           const std::function<double(RandomStream&)>& shock) {
  static constexpr size_t kAtoms = 20000;
  static constexpr std::array<double, 18> kMeans = {0.30, 0.44, 0.52, 0.58, 0.62, 0.64,   // V
                                                    0.70, 0.66, 0.60, 0.52, 0.42, 0.30,   // V
                                                    0.00, 0.25, 0.50, 0.75, 1.00, 1.25};  // D
  Population out{.name = name, .groups = 2, .candidates = 6, .sizes = {5, 5}, .atoms = {}};
  RandomStream random({.seed = 20, .stream = 0x61746f6d});
  for (size_t a = 0; a < kAtoms; ++a) {
    const double shared = shock(random);
    std::vector<double>& atom = out.atoms.emplace_back();
    for (const double mean : kMeans) atom.push_back(mean + 0.15 * shared + 0.1 * shock(random));
  }
  return out;
}

std::vector<Population> made_populations() {
  return {made_population("exponential",
                          [](RandomStream& random) { return -std::log1p(-random.uniform()) - 1; }),
          made_population("one prompt in 12 at 4 times the scale", [](RandomStream& random) {
            return random.normal() * (random.below(12) == 0 ? 4.0 : 1.0);
          })};
}

// A recorded run's prompts (docs/formats.md, Run directory), each vector of its sizes.
Result<std::vector<Population>> recorded_populations(const fs::path& folder) {
  CANDOR_TRY(const std::string resolved, read_file(folder / "study.resolved.yaml"));
  CANDOR_TRY(const Json study, parse_json(resolved.substr(resolved.find('\n')), "study"));
  CANDOR_TRY(const Json menu, read_json_file((folder / "menu.json").string()));
  CANDOR_TRY(const std::vector<Json> bank, read_jsonl(folder / "bank.jsonl"));
  const auto samples = study["bank"]["samples"].get<size_t>();
  const size_t prompts = bank.size() / (menu["candidates"].size() * samples);
  const auto lambda = study["divergence"]["lambda"].get<double>();
  std::vector<size_t> on_menu;
  for (size_t k = 0; k < menu["candidates"].size(); ++k) {
    if (menu["candidates"][k]["on_menu"].get<bool>()) on_menu.push_back(k);
  }
  const auto mean_over_replies = [&](size_t k, size_t q, const auto& value) {
    double sum = 0;
    for (size_t s = 0; s < samples; ++s) sum += value(bank[(k * prompts + q) * samples + s]);
    return sum / static_cast<double>(samples);
  };
  Population base{.name = folder.filename().string(),
                  .groups = study["groups"].size(),
                  .candidates = on_menu.size(),
                  .sizes = {},
                  .atoms = std::vector<std::vector<double>>(prompts)};
  for (size_t q = 0; q < prompts; ++q) {
    for (const Json& scale : menu["normalization"]) {
      const auto low = scale["low"].get<double>();
      const double range = scale["high"].get<double>() - low;
      const auto reward = [&](const Json& line) {
        const auto score = line["scores"][scale["group"].get<std::string>()].get<double>();
        return std::clamp((score - low) / range, 0.0, 1.0);
      };
      for (const size_t k : on_menu) base.atoms[q].push_back(mean_over_replies(k, q, reward));
    }
    const auto divergence = [&](const Json& line) {
      return lambda * line["divergence"].get<double>();
    };
    for (const size_t k : on_menu) base.atoms[q].push_back(mean_over_replies(k, q, divergence));
  }
  std::vector<Population> out;
  for (const Json& sizes : study["sizes"]) {
    base.sizes = sizes.get<std::vector<int64_t>>();
    for (const bool normal : {false, true}) {
      out.push_back(base);
      out.back().normal = normal;
      out.back().name += str_cat(" ", sizes.dump(), normal ? " normal" : "");
    }
  }
  return out;
}

Options read_options(const std::vector<std::string>& arguments) {
  Options out;
  for (size_t a = 0; a < arguments.size(); ++a) {
    const std::string& name = arguments[a];
    if (name == "--percentiles") {
      out.percentiles = true;
    } else if (name == "--trials") {
      out.trials = std::stoi(arguments.at(++a));
    } else if (name == "--seed") {
      out.seed = std::stoull(arguments.at(++a));
    } else if (name == "--prompts") {
      out.prompts.clear();
      for (const std::string& one : split(arguments.at(++a), ',')) {
        out.prompts.push_back(std::stoull(one));
      }
    } else {
      out.folders.emplace_back(name);
    }
  }
  return out;
}

int run(const Options& options) {
  std::vector<Population> populations = made_populations();
  for (const fs::path& folder : options.folders) {
    const auto recorded = recorded_populations(folder);
    if (!recorded.ok()) {
      std::fprintf(stderr, "%s\n", recorded.error().message.c_str());
      return 3;
    }
    populations.insert(populations.end(), recorded->begin(), recorded->end());
  }
  std::fprintf(stderr,
               "seed %llu, %d trials; fewer than %d held is below 93 %% by more than chance\n",
               static_cast<unsigned long long>(options.seed), options.trials,
               fewest(options.trials, kPromised));
  int failures = 0;
  uint32_t stream = 0;
  Summaries summaries;
  for (const Population& population : populations) {
    for (const double gap : kGaps) {
      const Population moved = with_gap(population, gap);
      for (const size_t prompts : options.prompts) {
        const std::string place =
            str_cat(population.name, ", gap ", format_short(gap, 2), ", ", prompts, " prompts");
        failures +=
            report(place, gap, options, simulate(moved, prompts, options, ++stream), summaries);
      }
    }
  }
  print_summaries(summaries);
  std::fprintf(stderr, "%d intervals cover less than 93 %%\n", failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace candor

int main(int count, char** arguments) {
  return candor::run(candor::read_options({arguments + 1, arguments + count}));
}
