#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

#include "base/cpu.h"
#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "formats/records.h"
#include "formats/tensorboard.h"
#include "worker/test_request.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kFiles = {"adapter/adapter_model.safetensors",
                                         "adapter/adapter_config.json",
                                         "metrics.jsonl",
                                         "warnings.json",
                                         "summary.json",
                                         "events.out.tfevents.candor"};

// The stage rlhf as the runner calls it: a process of its own, on stories260k.
class RlhfStageTest : public testing::Test {
 protected:
  RlhfStageTest() {
    const testing::TestInfo* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(testing::TempDir()) / (std::string("candor-rlhf-") + info->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    std::ofstream(folder_ / "prompts.jsonl") << "{\"prompt\":\"Once upon a time\"}\n"
                                                "{\"prompt\":\"The dog was\"}\n"
                                                "{\"prompt\":\"Lily saw a big\"}\n";
  }
  ~RlhfStageTest() override { fs::remove_all(folder_); }

  static Json spec(const std::string& algorithm) {
    return {{"model_digest", "sha256:0"},
            {"prompts_digest", "sha256:1"},
            {"seed", 5},
            {"dtype", "f32"},
            {"threads", 1},
            {"instruction_set", name_of(instruction_set())},
            {"rewards",
             {{{"kind", "brevity"},
               {"scale_words", 4.0},
               {"weight", 1.0},
               {"low", 0.0},
               {"high", 1.0}}}},
            {"settings",
             {{"algorithm", algorithm},
              {"num_generations", 2},
              {"num_ppo_epochs", 2},
              {"per_device_train_batch_size", 4},
              {"gradient_accumulation_steps", 1},
              {"num_mini_batches", 1},
              {"total_steps", 5},
              {"max_new_tokens", 6},
              {"learning_rate", 1e-3},
              {"lora_r", 4},
              {"lora_dropout", 0.1},
              {"save_steps", 1}}}};
  }

  // Runs the stage with that environment; the exit status as wait says it.
  [[nodiscard]] int run(const std::string& name, const Json& spec, bool checkpoints,
                        const std::string& environment = "") const {
    const fs::path output = folder_ / name;
    fs::remove_all(output);  // as the runner does: a stage begins with an empty folder
    fs::create_directories(output);
    Json request =
        test_request("rlhf", spec,
                     {{"model", fs::path(CANDOR_SOURCE_DIR) / "examples/data/stories260k"},
                      {"prompts", folder_ / "prompts.jsonl"}},
                     output);
    if (checkpoints) request["checkpoints"] = (folder_ / (name + ".checkpoints")).string();
    const fs::path file = folder_ / (name + ".json");
    std::ofstream(file) << request.dump();
    const std::string command = environment + " '" + CANDOR_WORKER_PROGRAM + "' stage '" +
                                file.string() + "' > '" + (folder_ / "log").string() + "' 2>&1";
    return std::system(("exec /bin/sh -c \"" + command + "\"").c_str());
  }

  [[nodiscard]] std::string bytes(const std::string& name, const std::string& file) const {
    const Result<std::string> found = read_file(folder_ / name / file);
    EXPECT_TRUE(found.ok()) << (found.ok() ? "" : found.error().message)
                            << *read_file(folder_ / "log");
    return found.ok() ? *found : "";
  }
  void expect_same(const std::string& a, const std::string& b) const {
    for (const std::string& file : kFiles) {
      EXPECT_FALSE(bytes(a, file).empty() && file != "warnings.json") << file;
      EXPECT_TRUE(bytes(a, file) == bytes(b, file)) << a << " and " << b << " differ in " << file;
    }
  }

  fs::path folder_;
};

// Killed at a random passage of a random crash point, again and again, and run once more: the bytes
// of a run that was never killed.
void kill_and_compare(const std::function<int(const std::string&, bool, const std::string&)>& run,
                      uint64_t seed) {
  RandomStream random({.seed = seed});
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  ASSERT_EQ(run("whole", false, ""), 0);
  int killed = 0;
  for (const char* point : {"rlhf.before_update", "rlhf.before_checkpoint", "rlhf.after_checkpoint",
                            "stage.rlhf.end"}) {
    const auto passage = std::to_string(1 + random.below(3));
    killed +=
        run("cut", true, "CANDOR_CRASH_AT=" + std::string(point) + ":" + passage) != 0 ? 1 : 0;
  }
  EXPECT_GE(killed, 2);
  ASSERT_EQ(run("cut", true, ""), 0);
}

TEST_F(RlhfStageTest, KilledRlooEndsInTheSameBytes) {
  kill_and_compare(
      [&](const std::string& name, bool checkpoints, const std::string& environment) {
        return run(name, spec("rloo"), checkpoints, environment);
      },
      11);
  expect_same("whole", "cut");
}

TEST_F(RlhfStageTest, KilledPpoEndsInTheSameBytes) {
  kill_and_compare(
      [&](const std::string& name, bool checkpoints, const std::string& environment) {
        return run(name, spec("ppo"), checkpoints, environment);
      },
      12);
  expect_same("whole", "cut");
}

// A group of weight 0 is a group that is not there: the leave-one-out run.
TEST_F(RlhfStageTest, AWeightOfZeroLeavesOut) {
  ASSERT_EQ(run("alone", spec("rloo"), false), 0);
  Json two = spec("rloo");
  two["rewards"].push_back(
      {{"kind", "brevity"}, {"scale_words", 50.0}, {"weight", 0.0}, {"low", 0.0}, {"high", 1.0}});
  ASSERT_EQ(run("two", two, false), 0);
  EXPECT_TRUE(bytes("alone", kFiles[0]) == bytes("two", kFiles[0]));
  two["rewards"][1]["weight"] = 1.0;
  ASSERT_EQ(run("both", two, false), 0);
  EXPECT_FALSE(bytes("alone", kFiles[0]) == bytes("both", kFiles[0]));
}

TEST_F(RlhfStageTest, MetricsAndEvents) {
  Json watched = spec("ppo");
  watched["judge"] = {
      {"kind", "brevity"}, {"scale_words", 9.0}, {"weight", 1.0}, {"low", 0.0}, {"high", 1.0}};
  ASSERT_EQ(run("out", watched, false), 0);
  const std::vector<Json> lines = *read_jsonl(folder_ / "out" / "metrics.jsonl");
  ASSERT_EQ(lines.size(), 5U);
  for (const char* name :
       {"objective/kl", "objective/entropy", "objective/non_score_reward", "objective/rlhf_reward",
        "objective/scores", "policy/approxkl_avg", "policy/clipfrac_avg", "loss/policy_avg",
        "loss/value_avg", "val/ratio", "val/num_eos_tokens", "lr", "episode", "judge",
        "rewards/reward_0/mean", "sampler/logprob_mean_abs", "completions/truncated_share"}) {
    for (const Json& line : lines) EXPECT_TRUE(line.contains(name)) << name;
  }
  EXPECT_EQ(lines[4]["episode"], 20);
  EXPECT_NEAR(lines[0]["objective/kl"].get<double>(), 0, 1e-4);  // the policy begins at theta_init
  EXPECT_GT(std::abs(lines[4]["objective/kl"].get<double>()), 1e-6);
  EXPECT_LT(lines[0]["sampler/logprob_mean_abs"].get<double>(), 1e-4);
  const auto events = *parse_tensorboard(bytes("out", "events.out.tfevents.candor"));
  ASSERT_EQ(events.size(), 5U);
  EXPECT_EQ(events[2].step, 3);
}

TEST_F(RlhfStageTest, BadSpecsAreNamed) {
  const auto expect = [&](const Json& bad, const std::string& part) {
    EXPECT_NE(run("bad", bad, false), 0);
    const std::string log = *read_file(folder_ / "log");
    EXPECT_NE(log.find(part), std::string::npos) << log;
  };
  Json bad = spec("rloo");
  bad["settings"]["num_generation"] = 2;
  expect(bad, "num_generation: is not a known key");
  bad = spec("rloo");
  bad["settings"]["num_generations"] = 1;
  expect(bad, "num_generations");
  bad = spec("rloo");
  bad["rewards"][0]["weight"] = 0;
  expect(bad, "the weights sum to 0");
  bad = spec("rloo");
  bad["rewards"][0]["high"] = 0;
  expect(bad, "low < high");
  bad = spec("rloo");
  bad["settings"]["max_new_tokens"] = 1000;
  expect(bad, "exceed the context");
}

}  // namespace
}  // namespace candor
