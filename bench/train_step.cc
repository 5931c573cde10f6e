// One optimiser step of SFT at the shape of a 135M Llama, full and LoRA, bf16 products over f32
// master weights: tokens/s, the median of some steps. bench/train_step.py runs it beside
// transformers.
//   train_step MODEL [full|lora] [f32|bf16] [steps]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <string>

#include "base/json.h"
#include "lm/sft.h"

int main(int argc, char** argv) {
  using namespace candor;
  if (argc < 4) return 2;
  const bool lora = std::string(argv[2]) == "lora";
  const int steps = argc > 4 ? std::atoi(argv[4]) : 5;
  TrainableOptions options;
  options.arithmetic = std::string(argv[3]) == "bf16" ? Dtype::kBf16 : Dtype::kF32;
  options.threads = 2;
  if (lora) options.lora = LoraSettings{};
  Result<TrainableDecoder> model = TrainableDecoder::load(argv[1], options);
  if (!model.ok()) {
    std::fprintf(stderr, "%s\n", model.error().message.c_str());
    return 3;
  }
  MicroBatch batch;
  batch.sequences.offsets.push_back(0);
  for (int64_t s = 0; s < 8; ++s) {
    for (int64_t t = 0; t < 128; ++t) {
      batch.sequences.token_ids.push_back(
          static_cast<int32_t>((s * 7919 + t * 104729) % model->config().vocabulary_size));
      batch.in_loss.push_back(t > 0 ? 1 : 0);
    }
    batch.sequences.offsets.push_back((s + 1) * 128);
  }
  AdamW optimizer(model->parameters(), {});
  std::vector<double> seconds;
  std::vector<double> processor;
  double loss = 0;
  for (int step = 0; step <= steps; ++step) {
    const auto start = std::chrono::steady_clock::now();
    const std::clock_t used = std::clock();
    const Result<SftStep> done =
        sft_step(*model, optimizer, std::span(&batch, 1),
                 {.learning_rate = 1e-4, .first_forward = static_cast<uint64_t>(step)});
    if (!done.ok()) return 3;
    loss = done->sums.loss / static_cast<double>(done->sums.learnt_tokens);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    if (step == 0) continue;  // the first one warms up
    seconds.push_back(took.count());
    processor.push_back(static_cast<double>(std::clock() - used) / CLOCKS_PER_SEC);
  }
  std::sort(seconds.begin(), seconds.end());
  std::sort(processor.begin(), processor.end());
  const double median = seconds[seconds.size() / 2];
  std::printf("%s\n", to_line({{"what", argv[2]},
                               {"dtype", argv[3]},
                               {"tokens_per_s", 1024 / median},
                               {"seconds", median},
                               {"processor_s", processor[processor.size() / 2]},
                               {"loss", loss}})
                          .c_str());
  return 0;
}
