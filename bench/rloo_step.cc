// One RLOO step at the shape of a 135M Llama: 8 prompts x 4 replies x 48 new tokens, LoRA of rank
// 64, bf16 products and sampler. Seconds by part, medians over steps. bench/rloo_step.py runs it
// beside TRL.
//   rloo_step MODEL STEPS THREADS PROMPT...
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/json.h"
#include "lm/rlhf.h"
#include "lm/trainable_decoder.h"

namespace {

using namespace candor;

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

Status run(int argc, char** argv) {
  TrainableOptions options;
  options.arithmetic = Dtype::kBf16;
  options.threads = std::atoi(argv[3]);
  options.lora = LoraSettings{.rank = 64, .lora_alpha = 128, .dropout = 0};
  CANDOR_TRY(TrainableDecoder policy, TrainableDecoder::load(argv[1], options));
  RlhfJob job;
  for (int i = 4; i < argc; ++i) {
    CANDOR_TRY(std::vector<int32_t> ids, policy.tokenizer().encode(argv[i]));
    job.prompts.push_back({std::move(ids), argv[i]});
  }
  const auto score =
      [](std::span<const RlhfRewardRequest> requests) -> Result<std::vector<double>> {
    std::vector<double> out;
    for (const RlhfRewardRequest& request : requests) {
      out.push_back(static_cast<double>(request.reply->text.size()));
    }
    return out;
  };
  job.rewards.push_back({.name = "length", .low = 0, .high = 400, .score = score});
  job.settings.total_steps = std::atoi(argv[2]) + 1;
  job.settings.per_device_train_batch_size = 16;
  job.settings.gradient_accumulation_steps = 2;
  job.settings.bf16 = true;
  job.settings.sampler_bf16 = true;
  std::vector<double> sample;
  std::vector<double> update;
  std::vector<double> total;
  CANDOR_TRY(const RlhfResult result, train_rlhf(policy, job, [&](const StepReport& report) {
               if (report.step == 1) return Status{};  // warms up
               sample.push_back(report.times.sample_s);
               update.push_back(report.times.update_s);
               total.push_back(report.times.total_s());
               return Status{};
             }));
  std::printf("%s\n", to_line({{"seconds", median(total)},
                               {"sample_s", median(sample)},
                               {"update_s", median(update)},
                               {"last_step", result.metrics.back()}})
                          .c_str());
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  const Status done = run(argc, argv);
  if (done.ok()) return 0;
  std::fprintf(stderr, "%s\n", done.error().message.c_str());
  return 3;
}
