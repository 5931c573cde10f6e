#include "core/table_resampling.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/rng.h"

namespace candor {

namespace {

constexpr uint32_t kMultiplierStream = 0x746d756c;  // "tmul"
constexpr uint32_t kBootstrapStream = 0x74626f6f;   // "tboo"
constexpr uint32_t kHalvesStream = 0x7468616c;      // "thal"
// Student's distribution with more degrees of freedom is normal to three digits.
constexpr size_t kMostDegrees = 1000;

// sqrt(chi^2 / degrees), a draw.
double chi_factor(size_t degrees, RandomStream& random) {
  if (degrees > kMostDegrees) return 1;
  double squares = 0;
  for (size_t d = 0; d < degrees; ++d) {
    const double normal = random.normal();
    squares += normal * normal;
  }
  return std::sqrt(squares / static_cast<double>(degrees));
}

RandomStream stream_of(const ResamplingOptions& options, uint32_t stream, int draw) {
  return RandomStream(
      {.seed = options.seed, .stream = stream, .prompt = static_cast<uint32_t>(draw)});
}

// What the draw's reference bank adds to V[i][k].
double shift_of(const TableSamples& samples, const TableMeans& means, int draw, size_t group,
                size_t candidate) {
  const auto& redrawn = samples.redrawn_valuations;
  if (redrawn.empty()) return 0;
  return redrawn[static_cast<size_t>(draw) % redrawn.size()][group][candidate] -
         means.valuations[group][candidate];
}

// Mean over prompts of weight x (value - mean), of one candidate.
double weighted_error(const double* cells, double mean, const std::vector<double>& weights) {
  double sum = 0;
  for (size_t q = 0; q < weights.size(); ++q) sum += weights[q] * (cells[q] - mean);
  return sum / static_cast<double>(weights.size());
}

// What the choices of `first` are worth by `second`; `factor` brings errors to the whole sample.
void add_choice(const TableMeans& first, const TableMeans& second,
                const std::vector<int64_t>& sizes, double factor, ChoiceBias& out) {
  const auto total = [&](const TableMeans& means, size_t k, size_t left_out) {
    double sum = -means.divergences[k];
    for (size_t i = 0; i < sizes.size(); ++i) {
      if (i != left_out) sum += static_cast<double>(sizes[i]) * means.valuations[i][k];
    }
    return sum;
  };
  const auto best_without = [&](size_t left_out) {
    size_t best = 0;
    for (size_t k = 1; k < first.divergences.size(); ++k) {
      if (total(first, k, left_out) > total(first, best, left_out)) best = k;
    }
    return best;
  };
  const size_t chosen = best_without(SIZE_MAX);
  out.welfare += factor * (total(first, chosen, SIZE_MAX) - total(second, chosen, SIZE_MAX));
  for (size_t i = 0; i < sizes.size(); ++i) {
    const size_t other = best_without(i);
    const auto payment = [&](const TableMeans& means) {
      return total(means, other, i) - total(means, chosen, i);
    };
    out.payments[i] += factor * (payment(first) - payment(second));
    out.valuations[i] += factor * static_cast<double>(sizes[i]) *
                         (first.valuations[i][chosen] - second.valuations[i][chosen]);
  }
}

}  // namespace

TableErrors draw_errors(const TableSamples& samples, const ResamplingOptions& options) {
  CANDOR_CHECK(samples.prompts >= 2 && options.draws > 0);
  const size_t candidates = samples.candidates.size();
  const auto draws = static_cast<size_t>(options.draws);
  const TableMeans means = means_of_samples(samples);
  const std::vector<ErrorDraws> row(candidates, ErrorDraws(draws));
  TableErrors out{std::vector(samples.groups.size(), row), row};
  const auto prompts = static_cast<double>(samples.prompts);
  std::vector<double> weights(samples.prompts);
  for (int b = 0; b < options.draws; ++b) {
    RandomStream random = stream_of(options, kMultiplierStream, b);
    for (double& weight : weights) weight = random.normal();
    const double factor =
        std::sqrt(prompts / (prompts - 1)) / chi_factor(samples.prompts - 1, random);
    const auto draw = static_cast<size_t>(b);
    for (size_t k = 0; k < candidates; ++k) {
      const size_t first = k * samples.prompts;
      for (size_t i = 0; i < samples.groups.size(); ++i) {
        out.valuations[i][k][draw] = factor * weighted_error(&samples.valuations[i][first],
                                                             means.valuations[i][k], weights) +
                                     shift_of(samples, means, b, i, k);
      }
      out.divergences[k][draw] =
          factor * weighted_error(&samples.divergences[first], means.divergences[k], weights);
    }
  }
  return out;
}

void resample_prompts(
    const TableSamples& samples, const ResamplingOptions& options,
    const std::function<void(const TableMeans& sealed, const TableMeans& redrawn)>& visit) {
  const TableMeans means = means_of_samples(samples);
  for (int b = 0; b < options.draws; ++b) {
    RandomStream random = stream_of(options, kBootstrapStream, b);
    std::vector<double> counts(samples.prompts, 0.0);
    for (size_t q = 0; q < samples.prompts; ++q) counts[random.below(samples.prompts)] += 1;
    const TableMeans sealed = weighted_means(samples, counts);
    TableMeans redrawn = sealed;
    for (size_t i = 0; i < samples.groups.size(); ++i) {
      for (size_t k = 0; k < samples.candidates.size(); ++k) {
        redrawn.valuations[i][k] += shift_of(samples, means, b, i, k);
      }
    }
    visit(sealed, redrawn);
  }
}

std::vector<ChoiceBias> choice_bias(const TableSamples& samples,
                                    const std::vector<std::vector<int64_t>>& sizes,
                                    const ResamplingOptions& options) {
  CANDOR_CHECK(samples.prompts >= 2 && options.draws > 0);
  const size_t groups = samples.groups.size();
  std::vector<ChoiceBias> out(
      sizes.size(), ChoiceBias{0, std::vector<double>(groups), std::vector<double>(groups)});
  const size_t half = samples.prompts / 2;
  const auto share = [&](size_t count) {  // of the error over all prompts
    return std::sqrt(static_cast<double>(count) / static_cast<double>(samples.prompts)) /
           (2 * options.draws);
  };
  for (int b = 0; b < options.draws; ++b) {
    const std::vector<size_t> order = shuffled_order(
        samples.prompts,
        {.seed = options.seed, .stream = kHalvesStream, .prompt = static_cast<uint32_t>(b)});
    std::vector<double> in_first(samples.prompts, 0.0);
    for (size_t q = 0; q < half; ++q) in_first[order[q]] = 1;
    std::vector<double> in_second(samples.prompts);
    for (size_t q = 0; q < samples.prompts; ++q) in_second[q] = 1 - in_first[q];
    const TableMeans first = weighted_means(samples, in_first);
    const TableMeans second = weighted_means(samples, in_second);
    for (size_t s = 0; s < sizes.size(); ++s) {
      add_choice(first, second, sizes[s], share(half), out[s]);
      add_choice(second, first, sizes[s], share(samples.prompts - half), out[s]);
    }
  }
  return out;
}

}  // namespace candor
