#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <map>
#include <numeric>

#include "base/rng.h"
#include "core/solution.h"
#include "lm/rlhf.h"
#include "lm/tiny_model.h"
#include "lm/trainable_decoder.h"

// RLHF on a model whose replies can all be listed: what training reaches against the closed form
// p* = p0 exp(rm / b) / Z, which the exact core solves for.

namespace candor {
namespace {

namespace fs = std::filesystem;

constexpr int32_t kVocabulary = 6;
constexpr int64_t kLongest = 3;
constexpr double kKlCoefficient = 0.25;

using Reply = std::vector<int32_t>;

class ExactTest : public testing::Test {
 protected:
  ExactTest() : folder_(fs::path(testing::TempDir()) / ("candor-exact-" + name())) {
    write_tiny_model({.vocabulary_size = kVocabulary, .layer_count = 1}, folder_);
    for (const double place : {0.3, 0.6}) rewards_.push_back(random_reward(place));
  }
  ~ExactTest() override { fs::remove_all(folder_); }

  static std::string name() {
    return testing::UnitTest::GetInstance()->current_test_info()->name();
  }

  [[nodiscard]] TrainableDecoder load() const {
    auto model = TrainableDecoder::load(folder_, {.threads = 1});
    EXPECT_TRUE(model.ok()) << (model.ok() ? "" : model.error().message);
    return std::move(model).value();
  }

  // Every reply: those that end, and those cut at kLongest tokens.
  [[nodiscard]] static std::vector<Reply> all_replies(int32_t vocabulary) {
    std::vector<Reply> done;
    std::vector<Reply> open = {{}};
    for (int64_t length = 1; length <= kLongest; ++length) {
      std::vector<Reply> longer;
      for (const Reply& start : open) {
        for (int32_t token = 0; token < vocabulary; ++token) {
          Reply reply = start;
          reply.push_back(token);
          const bool ended = token == vocabulary - 1 || length == kLongest;
          (ended ? done : longer).push_back(std::move(reply));
        }
      }
      open = std::move(longer);
    }
    return done;
  }

  // A reward in [0, 1] for every reply, kept by the reply.
  [[nodiscard]] std::map<Reply, double> random_reward(double shift) const {
    RandomStream random({.seed = 17, .stream = static_cast<uint32_t>(100 * shift)});
    std::map<Reply, double> reward;
    for (const Reply& reply : replies_) reward[reply] = random.uniform();
    return reward;
  }

  // The exact distribution of replies to the prompt.
  [[nodiscard]] std::vector<double> distribution(const TrainableDecoder& model) const {
    PackedSequences packed{{}, {0}};
    std::vector<int64_t> rows;
    Reply targets;
    for (const Reply& reply : replies_) {
      for (size_t t = 0; t < reply.size(); ++t) {
        rows.push_back(packed.offsets.back() + static_cast<int64_t>(t));
      }
      targets.insert(targets.end(), reply.begin(), reply.end());
      packed.token_ids.push_back(kPrompt);
      packed.token_ids.insert(packed.token_ids.end(), reply.begin(), reply.end() - 1);
      packed.offsets.push_back(static_cast<int64_t>(packed.token_ids.size()));
    }
    const at::Tensor hidden = model.hidden(packed, {}).detach();
    const at::Tensor logprobs =
        model.token_scores(hidden.index_select(0, at::tensor(rows, at::kLong)), targets)
            .logprobs.detach();
    std::vector<double> out;
    int64_t place = 0;
    for (const Reply& reply : replies_) {
      double sum = 0;
      for (size_t t = 0; t < reply.size(); ++t) sum += logprobs[place++].item<float>();
      out.push_back(std::exp(sum));
    }
    EXPECT_NEAR(std::accumulate(out.begin(), out.end(), 0.0), 1, 1e-4);
    return out;
  }

  // SW-Max of the groups with these weights, by the exact core.
  [[nodiscard]] std::vector<double> optimum(const std::vector<double>& initial,
                                            const std::vector<double>& weights,
                                            double kl_coefficient) const {
    Game game;
    game.normalization = Normalization::kNone;
    game.initial = initial;
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    game.divergence = {.kind = DivergenceKind::kKl, .regularization = kl_coefficient * total};
    for (size_t i = 0; i < weights.size(); ++i) {
      Report report{"group " + std::to_string(i), weights[i], {}};
      for (const Reply& reply : replies_) report.reward.push_back(rewards_[i].at(reply));
      game.groups.push_back(std::move(report));
    }
    const Result<Game> made = make_game(std::move(game));
    EXPECT_TRUE(made.ok());
    return solve(*made)->allocation;
  }

  [[nodiscard]] RlhfJob job(const RlhfSettings& settings,
                            const std::vector<double>& weights) const {
    RlhfJob out;
    out.prompts = {{{kPrompt}, "a"}};
    for (size_t i = 0; i < weights.size(); ++i) {
      out.rewards.push_back(
          {"reward" + std::to_string(i), weights[i], 0, 1,
           [this, i](std::span<const RlhfRewardRequest> requests) -> Result<std::vector<double>> {
             std::vector<double> scores;
             for (const RlhfRewardRequest& request : requests) {
               scores.push_back(rewards_[i].at(request.reply->token_ids));
             }
             return scores;
           }});
    }
    out.settings = settings;
    return out;
  }

  // Trains and returns the total variation between what was reached and the optimum.
  [[nodiscard]] double distance_after(const RlhfSettings& settings,
                                      const std::vector<double>& weights) const {
    TrainableDecoder policy = load();
    const TrainableDecoder reference = load();
    const std::vector<double> initial = distribution(policy);
    const std::vector<double> best = optimum(initial, weights, kKlCoefficient);
    EXPECT_GT(total_variation(initial, best), 0.2) << "the test would pass without training";
    RlhfJob run = job(settings, weights);
    run.reference = &reference;
    const char* trace = std::getenv("CANDOR_TRACE");
    const Result<RlhfResult> result =
        train_rlhf(policy, run, [&](const StepReport& report) -> Status {
          if (trace != nullptr && report.step % 100 == 0) {
            std::printf("%d tv %.4f s %.3f+%.3f %s\n", static_cast<int>(report.step),
                        total_variation(distribution(policy), best), report.times.sample_s,
                        report.times.update_s,
                        report.metrics->at("objective/rlhf_reward").dump().c_str());
          }
          return {};
        });
    EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
    const double distance = total_variation(distribution(policy), best);
    RecordProperty("total_variation", std::to_string(distance));
    std::printf("total variation to the optimum: %.5f\n", distance);
    return distance;
  }

  static double total_variation(const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += std::abs(a[i] - b[i]) / 2;
    return sum;
  }

  static constexpr int32_t kPrompt = 0;
  std::vector<Reply> replies_ = all_replies(kVocabulary);
  fs::path folder_;
  std::vector<std::map<Reply, double>> rewards_;
};

RlhfSettings base_settings() {
  RlhfSettings settings;
  settings.kl_coefficient = kKlCoefficient;
  settings.use_peft = false;
  settings.num_generations = 64;
  settings.per_device_train_batch_size = 64;
  settings.gradient_accumulation_steps = 1;
  settings.max_new_tokens = kLongest;
  settings.learning_rate = 4e-3;
  settings.lr_scheduler_type = Schedule::kCosine;
  settings.total_steps = 1000;
  settings.max_grad_norm = 0;
  return settings;
}

TEST_F(ExactTest, Rloo) { EXPECT_LT(distance_after(base_settings(), {1}), 0.01); }

TEST_F(ExactTest, Ppo) {
  RlhfSettings settings = base_settings();
  settings.algorithm = RlhfAlgorithm::kPpo;
  settings.num_generations = 128;
  settings.per_device_train_batch_size = 128;
  settings.whiten_advantages = false;  // at the optimum advantages vanish; whitening undoes that
  settings.value_learning_rate = 1e-2;
  settings.learning_rate = 5e-3;
  settings.total_steps = 1200;
  EXPECT_LT(distance_after(settings, {1}), 0.01);
}

TEST_F(ExactTest, RlooOfTwoWeightedRewards) {
  EXPECT_LT(distance_after(base_settings(), {2, 1}), 0.01);
}

// The planted fault: a coefficient that is half of what it should be reaches another model.
TEST_F(ExactTest, AHalvedCoefficientIsFound) {
  RlhfSettings settings = base_settings();
  settings.kl_coefficient /= 2;
  settings.total_steps = 300;
  EXPECT_GT(distance_after(settings, {1}), 0.05);
}

}  // namespace
}  // namespace candor
