// Ten steps of RLOO (TRL's own loss) and of PPO on the tiny Llama with fixed replies and scores:
// tests/golden/rlhf.json, made by tools/make_rlhf_goldens.py.
#include <gtest/gtest.h>

#include <cmath>

#include "formats/safetensors.h"
#include "lm/rlhf_golden.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = fs::path(CANDOR_SOURCE_DIR) / "tests" / "golden";
constexpr double kTolerance = 1e-4;  // relative

double relative_difference(const std::vector<float>& got, const std::vector<float>& expected) {
  double error = 0;
  double size = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    error += std::pow(double{got[i]} - expected[i], 2);
    size += std::pow(double{expected[i]}, 2);
  }
  return std::sqrt(error / size);
}

void expect_close(double got, const Json& expected, const char* what, size_t step) {
  const double wanted = expected.get<double>();
  EXPECT_NEAR(got, wanted, kTolerance * std::max(std::abs(wanted), 1e-2))
      << what << ", step " << step;
}

double mean_kl(const Rollout& rollout) {
  double sum = 0;
  for (size_t t = 0; t < rollout.old_logprobs.size(); ++t) {
    sum += rollout.old_logprobs[t] - rollout.reference_logprobs[t];
  }
  return sum / static_cast<double>(rollout.reply_count());
}

void compare(const std::string& algorithm) {
  const Json& json = rlhf_golden();
  const RlhfSettings settings = rlhf_golden_settings(algorithm);
  auto policy = *TrainableDecoder::load(kGolden / "tiny_llama", {.threads = 1});
  const auto reference = *TrainableDecoder::load(kGolden / "tiny_llama", {.threads = 1});
  const std::vector<RlhfPrompt> prompts = rlhf_golden_prompts();
  PolicyTrainer trainer(policy, &reference, prompts, settings);
  for (size_t step = 0; step < json["steps"].size(); ++step) {
    Rollout rollout = rlhf_golden_rollout(step);
    const Json& log = json[algorithm][step];
    const auto report = trainer.update(rollout, settings.kl_coefficient,
                                       {.seed = 1, .step = static_cast<int64_t>(step)});
    ASSERT_TRUE(report.ok()) << report.error().message;
    // A mean of differences that cancel: below 0.1 relative to the log-ratios, not to what is left.
    const double kl = log["kl"].get<double>();
    EXPECT_NEAR(mean_kl(rollout), kl, kTolerance * std::max(std::abs(kl), 0.1)) << "step " << step;
    expect_close(report->policy_loss, log["loss"], "loss", step);
    expect_close(report->gradient_norm, log["grad_norm"], "gradient norm", step);
    if (algorithm == "ppo") expect_close(report->value_loss, log["value_loss"], "value", step);
    if (algorithm == "rloo") {
      const auto advantages = log["advantages"].get<std::vector<double>>();
      for (size_t i = 0; i < advantages.size(); ++i) {
        EXPECT_NEAR(rollout.advantages[i], advantages[i], 1e-4);
      }
    }
  }
  const SafeTensors after = *SafeTensors::open(kGolden / ("rlhf_" + algorithm + ".safetensors"));
  const SafeTensors before = *SafeTensors::open(kGolden / "tiny_llama" / "model.safetensors");
  std::vector<NamedTensor> parameters = policy.parameters();
  if (trainer.value_optimizer() != nullptr) {
    for (const NamedTensor& p : trainer.value_optimizer()->parameters()) parameters.push_back(p);
  }
  EXPECT_EQ(parameters.size(), after.tensors().size());
  for (const NamedTensor& parameter : parameters) {
    const auto* data = parameter.value.const_data_ptr<float>();
    const std::vector<float> got(data, data + parameter.value.numel());
    EXPECT_LT(relative_difference(got, *after.floats(parameter.name)), kTolerance)
        << parameter.name;
    if (!before.tensors().contains(parameter.name)) continue;
    EXPECT_GT(relative_difference(got, *before.floats(parameter.name)), 10 * kTolerance)
        << parameter.name << " did not move: the comparison says nothing";
  }
}

TEST(RlhfParity, TenStepsOfRloo) { compare("rloo"); }
TEST(RlhfParity, TenStepsOfPpo) { compare("ppo"); }

}  // namespace
}  // namespace candor
