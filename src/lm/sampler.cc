#include "lm/sampler.h"

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "base/check.h"
#include "lm/vector_math.h"

namespace candor {

namespace {

constexpr size_t kChunk = 512;  // tokens whose weights are summed together, for a short search

// Buffers of one thread, kept between calls.
struct Scratch {
  std::vector<float> weights;      // [V] relative to the most likely token's
  std::vector<double> masses;      // [V / kChunk]
  std::vector<int32_t> shortlist;  // ids, most likely first
};

// 1 / temperature, finite in f32.
float inverse_of(double temperature) {
  return static_cast<float>(std::min(1 / temperature, double{std::numeric_limits<float>::max()}));
}

// weights[v] = exp((logits[v] - largest) / temperature); returns their sum.
double fill_weights(std::span<const float> logits, float largest, double temperature,
                    Scratch& scratch) {
  scratch.weights.resize(logits.size());
  scratch.masses.clear();
  double total = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kChunk) {
    const auto count = static_cast<int64_t>(std::min(kChunk, logits.size() - begin));
    total += relative_weights(logits.data() + begin, count, largest, inverse_of(temperature),
                              scratch.weights.data() + begin);
    scratch.masses.push_back(total);
  }
  return total;
}

// The token whose share of [0, total) holds `target`, in the order of ids.
int32_t pick_of_all(const Scratch& scratch, double target) {
  const auto above = std::ranges::upper_bound(scratch.masses, target);
  CANDOR_CHECK(above != scratch.masses.end());
  const auto chunk = static_cast<size_t>(above - scratch.masses.begin());
  double mass = chunk == 0 ? 0 : scratch.masses[chunk - 1];
  size_t found = chunk * kChunk;
  const size_t end = std::min(scratch.weights.size(), found + kChunk);
  for (size_t id = found; id < end; ++id) {
    if (scratch.weights[id] == 0) continue;
    found = id;  // rounding may leave the last sliver to the chunk's last token
    mass += scratch.weights[id];
    if (target < mass) break;
  }
  return static_cast<int32_t>(found);
}

// Weights fall into classes of a factor e^(1/4), so that only the likely ones need a sort.
constexpr size_t kClasses = 4 * 88;

size_t class_of(float logit, float largest, float inverse_temperature) {
  const float below = (largest - logit) * inverse_temperature * 4;
  return below < static_cast<float>(kClasses - 1) ? static_cast<size_t>(below) : kClasses - 1;
}

// Ids of the classes that surely hold the shortlist, most likely first, ties by id.
void collect_likely(std::span<const float> logits, float largest, double total,
                    const SamplingOptions& options, Scratch& scratch) {
  const float inverse = inverse_of(options.temperature);
  std::array<double, kClasses> masses{};
  std::array<int64_t, kClasses> counts{};
  for (size_t id = 0; id < logits.size(); ++id) {
    const size_t place = class_of(logits[id], largest, inverse);
    masses.at(place) += scratch.weights[id];
    ++counts.at(place);
  }
  double mass = 0;
  int64_t count = 0;
  size_t last = 0;
  for (; last + 1 < kClasses; ++last) {
    mass += masses.at(last);
    count += counts.at(last);
    if (options.top_k > 0 ? count >= options.top_k : mass >= options.top_p * total) break;
  }
  scratch.shortlist.clear();
  for (size_t id = 0; id < logits.size(); ++id) {
    if (scratch.weights[id] == 0 || class_of(logits[id], largest, inverse) > last) continue;
    scratch.shortlist.push_back(static_cast<int32_t>(id));
  }
  std::ranges::sort(scratch.shortlist, [&](int32_t a, int32_t b) {
    const float left = logits[static_cast<size_t>(a)];
    const float right = logits[static_cast<size_t>(b)];
    return left != right ? left > right : a < b;
  });
}

int32_t pick_of_shortlist(std::span<const float> logits, float largest, double total,
                          const SamplingOptions& options, double uniform, Scratch& scratch) {
  collect_likely(logits, largest, total, options, scratch);
  std::vector<int32_t>& list = scratch.shortlist;
  const auto weight = [&](int32_t id) { return scratch.weights[static_cast<size_t>(id)]; };
  if (options.top_k > 0) {
    list.resize(std::min(list.size(), static_cast<size_t>(options.top_k)));
    total = 0;
    for (const int32_t id : list) total += weight(id);
  }
  double mass = 0;
  size_t kept = 0;
  while (kept < list.size() && (options.top_p == 1 || mass < options.top_p * total)) {
    mass += weight(list[kept++]);
  }
  const double target = uniform * mass;
  double reached = 0;
  for (size_t i = 0; i < kept; ++i) {
    reached += weight(list[i]);
    if (target < reached) return list[i];
  }
  return list[kept - 1];
}

}  // namespace

int32_t sample_token(std::span<const float> logits, const SamplingOptions& options,
                     const RandomKey& key) {
  CANDOR_CHECK(!logits.empty() && options.temperature >= 0 && options.top_p > 0 &&
               options.top_p <= 1 && options.top_k >= 0);
  const float largest = largest_of(logits.data(), static_cast<int64_t>(logits.size()));
  if (options.temperature == 0) {
    return static_cast<int32_t>(std::ranges::find(logits, largest) - logits.begin());
  }
  thread_local Scratch scratch;
  const double total = fill_weights(logits, largest, options.temperature, scratch);
  const double uniform = random_uniform(key);
  if (options.top_k == 0 && options.top_p == 1) return pick_of_all(scratch, uniform * total);
  return pick_of_shortlist(logits, largest, total, options, uniform, scratch);
}

}  // namespace candor
