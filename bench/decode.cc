// Decoding and scoring speed of one model, for bench/decode.py:
//
//   decode MODEL bf16|f32 THREADS
//
// Standard input has one piece of work a line; each prints one JSON record:
//   decode SEQUENCES PROMPT NEW      sampled at temperature 1 with log-probabilities, end tokens
//   too soups SEQUENCES PROMPT NEW       the same; sequence k mixes the adapters by k / (K - 1), K
//   = 11 score SEQUENCES TOKENS           log-probabilities of all tokens but the first of random
//   ones
//   limits                           what the machine can do: memory reads, hot products
// Tokens a second are of whole calls of generate() and score(); prefill is timed by NEW = 1.
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>

#include "base/cpu.h"
#include "base/json.h"
#include "base/rng.h"
#include "bench/probes.h"
#include "lm/generate.h"
#include "lm/packed_matrix.h"
#include "lm/score.h"

namespace candor {

namespace {

std::vector<int32_t> random_ids(const LanguageModel& model, int64_t count, uint64_t seed) {
  RandomStream random({.seed = seed});
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (int32_t& id : ids) {
    id = static_cast<int32_t>(random.below(static_cast<uint64_t>(model.config().vocabulary_size)));
  }
  return ids;
}

LoraAdapter random_adapter(const DecoderConfig& config, uint64_t seed) {
  RandomStream random({.seed = seed});
  LoraAdapter out;
  out.rank = 64;
  out.scale = 2;
  for (int64_t layer = 0; layer < config.layer_count; ++layer) {
    for (const LinearModule& module : linear_modules(config)) {
      if (module.name != "self_attn.q_proj" && module.name != "self_attn.v_proj") continue;
      LoraFactors& factors = out.modules[layer_name(layer, module.name)];
      factors.inputs = module.inputs;
      factors.outputs = module.outputs;
      factors.a.resize(static_cast<size_t>(out.rank * module.inputs));
      factors.b.resize(static_cast<size_t>(out.rank * module.outputs));
      for (float& value : factors.a) value = static_cast<float>(0.02 * random.normal());
      for (float& value : factors.b) value = static_cast<float>(0.02 * random.normal());
    }
  }
  return out;
}

Json decode(const LanguageModel& model, std::istringstream& in, bool soups) {
  static constexpr int64_t kSoups = 11;
  int64_t sequences = 0;
  int64_t prompt = 0;
  GenerateOptions options{.ignore_stop = true};
  in >> sequences >> prompt >> options.max_new_tokens;
  options.batch = sequences;
  std::vector<GenerateRequest> requests;
  for (int64_t k = 0; k < sequences; ++k) {
    GenerateRequest request{random_ids(model, prompt, static_cast<uint64_t>(k)),
                            static_cast<uint32_t>(k), 0};
    if (soups) {
      const float share = static_cast<float>(k % kSoups) / (kSoups - 1);
      request.adapter_weights = {share, 1 - share};
    }
    requests.push_back(std::move(request));
  }
  const double all = bench::seconds([&] { (void)generate(model, requests, options).value(); });
  const auto tokens = static_cast<double>(sequences * options.max_new_tokens);
  GenerateOptions first = options;
  first.max_new_tokens = 1;
  const double prefill = bench::seconds([&] { (void)generate(model, requests, first).value(); });
  return {{"work", soups ? "soups" : "decode"},
          {"sequences", sequences},
          {"prompt_tokens", prompt},
          {"new_tokens", options.max_new_tokens},
          {"tokens_per_second", (tokens - static_cast<double>(sequences)) / (all - prefill)},
          {"with_prefill_tokens_per_second", tokens / all}};
}

// Bytes a second that all threads together read, and multiply-adds x 2 a second of products whose
// weights and inputs are in the nearest caches; with the bytes and flops of one token.
Json limits(const LanguageModel& model) {
  const int threads = model.options().threads;
  static constexpr size_t kDoubles = size_t{1} << 25;
  const std::vector<double> memory(kDoubles, 1.0);
  const auto part = kDoubles / static_cast<size_t>(threads);
  double read = 0;
  for (int round = 0; round < 3; ++round) {
    volatile double kept = 0;
    const double time = bench::seconds([&] {
#pragma omp parallel for num_threads(threads) schedule(static)
      for (int i = 0; i < threads; ++i) {
        kept = bench::read_part(memory.data() + static_cast<size_t>(i) * part, part);
      }
    });
    read = std::max(read, static_cast<double>(kDoubles) * 8 / time);
  }
  static constexpr int64_t kInputs = 512;
  static constexpr int64_t kRows = PackedMatrix::kTileRows;
  const std::vector<float> weights(static_cast<size_t>(32 * kInputs), 0.5F);
  const PackedMatrix block(weights, 32, kInputs, model.options().dtype);
  const std::vector<float> input(static_cast<size_t>(kRows * kInputs), 0.0F);
  static constexpr int kRepeats = 20000;
  const double time = bench::seconds([&] {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int i = 0; i < threads; ++i) {
      std::vector<float> sums(static_cast<size_t>(kRows * 32));
      for (int repeat = 0; repeat < kRepeats; ++repeat) {
        block.multiply_block(0, {input.data(), kRows, 0, kInputs}, sums.data());
      }
    }
  });
  const double products = 2.0 * threads * kRepeats * kRows * 32 * kInputs;
  double parameters = 0;
  for (const LinearModule& module : linear_modules(model.config())) {
    parameters += static_cast<double>(model.config().layer_count * module.outputs * module.inputs);
  }
  parameters += static_cast<double>(model.config().vocabulary_size * model.config().width);
  const auto size = static_cast<double>(element_size(model.options().dtype));
  return {{"work", "limits"},
          {"read_gb_per_second", read / 1e9},
          {"product_gflops", products / time / 1e9},
          {"step_bytes", parameters * size},
          {"token_flops", 2 * parameters}};
}

Json score_speed(const LanguageModel& model, std::istringstream& in) {
  int64_t sequences = 0;
  int64_t tokens = 0;
  in >> sequences >> tokens;
  std::vector<ScoreRequest> requests;
  for (int64_t k = 0; k < sequences; ++k) {
    const std::vector<int32_t> ids = random_ids(model, tokens, static_cast<uint64_t>(k));
    requests.push_back({{ids[0]}, std::vector<int32_t>(ids.begin() + 1, ids.end())});
  }
  const double all = bench::seconds([&] { (void)score(model, requests).value(); });
  return {{"work", "score"},
          {"sequences", sequences},
          {"tokens", tokens},
          {"tokens_per_second", static_cast<double>(sequences * (tokens - 1)) / all}};
}

}  // namespace

int run(int argc, char** argv) {
  if (argc < 4) return 2;
  const LoadOptions options{.dtype = std::string(argv[2]) == "bf16" ? Dtype::kBf16 : Dtype::kF32,
                            .threads = std::atoi(argv[3])};
  std::vector<LanguageModel> model;
  const double load =
      bench::seconds([&] { model.push_back(LanguageModel::load(argv[1], options).value()); });
  std::cout << Json({{"work", "load"},
                     {"seconds", load},
                     {"dtype", argv[2]},
                     {"threads", options.threads},
                     {"instruction_set", name_of(instruction_set())}})
                   .dump()
            << std::endl;
  const std::vector<LoraAdapter> adapters = {random_adapter(model[0].config(), 1),
                                             random_adapter(model[0].config(), 2)};
  model.push_back(model[0].with_row_adapters(adapters).value());
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream in(line);
    std::string work;
    in >> work;
    const Json record = work == "limits"  ? limits(model[0])
                        : work == "score" ? score_speed(model[0], in)
                                          : decode(model[1], in, work == "soups");
    std::cout << record.dump() << std::endl;
  }
  return 0;
}

}  // namespace candor

int main(int argc, char** argv) { return candor::run(argc, argv); }
