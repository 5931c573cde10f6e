// What `candor plan` says, against what recorded runs took (docs/results/plan/): numbers of files,
// nothing is timed here.
#include "study/cost_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "base/json.h"
#include "base/strings.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

const fs::path kRoot = CANDOR_SOURCE_DIR;
constexpr double kSecondsTolerance = 0.25;
constexpr double kOtherMachineTolerance = 0.3;
constexpr double kMemoryTolerance = 0.15;
constexpr double kShortSeconds = 1;  // a stage that is over sooner is a start of a process
// Processor seconds of a second on two cores, below which the stage shared them with other work and
// its seconds say nothing.
constexpr double kOwnMachine = 1.55;

struct Record {
  Study study;
  PlanSizes sizes;
  Json stages;
};

Record read_record(const std::string& name) {
  const fs::path file = kRoot / "docs" / "results" / "plan" / (name + ".json");
  const Json json = *read_json_file(file.string());
  JsonReader in(json, file.string());
  Record out;
  out.study =
      *load_study((kRoot / in.text("study")).string(), {.budget = in.text_or("budget", "")});
  JsonReader sizes = in.object("sizes");
  out.sizes = read_plan_sizes(sizes);
  const Status read = sizes.finish();
  EXPECT_TRUE(read.ok()) << (read.ok() ? "" : read.error().message);
  out.stages = json["stages"];
  return out;
}

struct PlannedStage {
  StageCost plan;
  Json taken;

  [[nodiscard]] double seconds() const { return taken["seconds"].get<double>(); }
  [[nodiscard]] bool alone() const {
    return !taken.contains("processor_seconds") ||
           taken["processor_seconds"].get<double>() > kOwnMachine * seconds();
  }
};

std::vector<PlannedStage> planned_stages(const std::string& name) {
  const Record record = read_record(name);
  std::vector<StageCost> plan = plan_costs(record.study, record.sizes);
  std::vector<PlannedStage> out;
  for (const Json& stage : record.stages) {
    const std::string label = stage["stage"];
    // Recorded when stages under a lie had the labels of the truth's, in the plan's order.
    const auto found = std::ranges::find_if(plan, [&](const StageCost& cost) {
      return cost.stage == label || cost.stage.starts_with(label + " under ");
    });
    if (found == plan.end()) {
      ADD_FAILURE() << name << ": " << label << " is not planned";
      continue;
    }
    out.push_back({*found, stage});
    plan.erase(found);
  }
  return out;
}

// Returns how many stages of a record have a peak.
size_t compare_peaks(const std::string& name) {
  size_t out = 0;
  for (const PlannedStage& stage : planned_stages(name)) {
    if (!stage.taken.contains("peak_memory_bytes")) continue;
    const auto bytes = stage.taken["peak_memory_bytes"].get<double>();
    EXPECT_NEAR(stage.plan.memory_bytes / bytes, 1, kMemoryTolerance)
        << name << ": " << stage.plan.stage;
    ++out;
  }
  return out;
}

// Returns how many stages of a record had the machine to themselves long enough.
size_t compare_seconds(const std::string& name) {
  size_t out = 0;
  double planned = 0;
  double taken = 0;
  for (const PlannedStage& stage : planned_stages(name)) {
    if (!stage.alone() || stage.seconds() < kShortSeconds) continue;
    EXPECT_NEAR(stage.plan.seconds / stage.seconds(), 1, kSecondsTolerance)
        << name << ": " << stage.plan.stage;
    planned += stage.plan.seconds;
    taken += stage.seconds();
    ++out;
  }
  EXPECT_NEAR(planned / taken, 1, kSecondsTolerance / 2) << name;
  return out;
}

TEST(CostModel, ShortPrompts) {
  EXPECT_GE(compare_seconds("harmless_vs_humor"), 13);
  EXPECT_EQ(compare_peaks("harmless_vs_humor"), 17);
}

TEST(CostModel, LongPrompts) {
  EXPECT_GE(compare_seconds("faithful_vs_summary"), 10);
  EXPECT_EQ(compare_peaks("faithful_vs_summary"), 12);
}

TEST(CostModel, MoreRepliesAndCandidates) {
  EXPECT_GE(compare_seconds("harmless_vs_humor_small"), 12);
}

// Eleven adapters, on machines that multiply a sixth and half as fast and to which no speed was
// fitted: training, most of a run, and the whole still come out. In the long run of the second,
// models that learn to be brief end earlier than planned, the rest later, so they are summed.
void compare_other_machine(const std::string& name, bool every_training) {
  EXPECT_GE(compare_peaks(name), 20);
  double planned = 0;
  double taken = 0;
  double planned_training = 0;
  double taken_training = 0;
  for (const PlannedStage& stage : planned_stages(name)) {
    planned += stage.plan.seconds;
    taken += stage.seconds();
    const std::string& label = stage.plan.stage;
    if (!label.starts_with("expert-") && !label.starts_with("trained-")) continue;
    planned_training += stage.plan.seconds;
    taken_training += stage.seconds();
    if (!every_training) continue;
    EXPECT_NEAR(stage.plan.seconds / stage.seconds(), 1, kOtherMachineTolerance) << label;
  }
  EXPECT_GT(taken_training, taken / 2);
  EXPECT_NEAR(planned_training / taken_training, 1, kOtherMachineTolerance);
  EXPECT_NEAR(planned / taken, 1, kOtherMachineTolerance);
}

TEST(CostModel, ASixthAsFast) { compare_other_machine("three_groups_small", true); }
TEST(CostModel, HalfAsFast) { compare_other_machine("three_groups", false); }

// A reward without a model holds little but the replies it reads.
TEST(CostModel, RepliesInMemory) {
  const std::vector<PlannedStage> stages = planned_stages("three_groups_small");
  const auto grown = [&](const auto& bytes) {
    const auto of = [&](const std::string& bank) {
      const auto found = std::ranges::find_if(stages, [&](const PlannedStage& stage) {
        return stage.plan.stage == str_cat("score brief on the ", bank);
      });
      return bytes(*found);
    };
    return of("menu bank") - of("reference bank");
  };
  const double planned = grown([](const PlannedStage& stage) { return stage.plan.memory_bytes; });
  const double taken = grown([](const PlannedStage& stage) {
    return stage.taken["peak_memory_bytes"].template get<double>();
  });
  EXPECT_NEAR(planned / taken, 1, 0.5);
}

// `lm reward --score-with` of 1,152 replies by a decoder of 135M weights (docs/results/plan).
TEST(CostModel, RewardOfAWholeDecoder) {
  constexpr double kSeconds = 43.9;
  constexpr double kTokens = 1152 * 31.8;
  constexpr double kPeakBytes = 1324304.0 * 1024;
  Record record = read_record("harmless_vs_humor");
  const PlannedModel& model = record.sizes.model;
  record.sizes.rewards[1] = {
      .model_parameters = model.body(), .model_bytes = 4 * model.parameters, .is_decoder = true};
  const std::vector<StageCost> plan = plan_costs(record.study, record.sizes);
  const auto stage =
      std::ranges::find(plan, "score humor on the reference bank", &StageCost::stage);
  const double tokens = record.sizes.prompts * static_cast<double>(record.study.reference_samples) *
                        static_cast<double>(record.study.bank.max_new_tokens);
  EXPECT_NEAR(stage->seconds / (kSeconds * tokens / kTokens), 1, kSecondsTolerance);
  EXPECT_NEAR(stage->memory_bytes / kPeakBytes, 1, kMemoryTolerance);
}

// Stages of a run in its order, under the labels that the run gives them.
TEST(CostModel, PlansEveryStageOfARun) {
  for (const std::string name : {"harmless_vs_humor", "faithful_vs_summary"}) {
    const Record record = read_record(name);
    const std::vector<StageCost> plan = plan_costs(record.study, record.sizes);
    ASSERT_EQ(plan.size(), record.stages.size());
    for (size_t i = 0; i < plan.size(); ++i) EXPECT_EQ(plan[i].stage, record.stages[i]["stage"]);
  }
}

TEST(CostModel, CostFollowsPromptsRepliesAndPasses) {
  const Record record = read_record("harmless_vs_humor");
  const auto cost = [](const Record& of, const std::string& stage) {
    const std::vector<StageCost> plan = plan_costs(of.study, of.sizes);
    return std::ranges::find(plan, stage, &StageCost::stage)->seconds;
  };
  Record changed = record;
  changed.sizes.train_prompt.mean_tokens *= 8;
  EXPECT_GT(cost(changed, "expert-humor"), 1.3 * cost(record, "expert-humor"));
  EXPECT_EQ(cost(changed, "menu bank"), cost(record, "menu bank"));
  changed = record;
  changed.sizes.prompts *= 2;
  EXPECT_GT(cost(changed, "menu bank"), 1.8 * cost(record, "menu bank"));
  EXPECT_EQ(cost(changed, "expert-humor"), cost(record, "expert-humor"));
  changed = record;
  changed.study.menu->experts->steps *= 2;
  EXPECT_GT(cost(changed, "expert-humor"), 1.6 * cost(record, "expert-humor"));
}

// The prompts' tokens by the tokenizer's golden counts.
TEST(PlanSizes, CountsTokensOfPrompts) {
  const fs::path model = kRoot / "examples" / "data" / "stories260k";
  const Json golden = *read_json_file((model / "golden.json").string());
  const fs::path folder = fs::path(testing::TempDir()) / "candor-plan-sizes";
  fs::create_directories(folder);
  double sum = 0;
  double longest = 0;
  std::ofstream prompts(folder / "prompts.jsonl");
  size_t count = 0;
  for (const Json& item : golden["encode"]) {
    const double tokens = static_cast<double>(item["ids"].size()) - 1;  // without the first mark
    if (tokens < 1 || item["text"].get<std::string>().empty()) continue;
    prompts << Json{{"prompt", item["text"]}}.dump() << "\n";
    sum += tokens;
    longest = std::max(longest, tokens);
    ++count;
  }
  prompts.close();
  ASSERT_GT(count, 2);
  std::ofstream(folder / "study.yaml")
      << "candor: study/1\nname: s\nlevel: sampled\nmodel: {source: " << model.string()
      << "}\nprompts: prompts.jsonl\ndivergence: {name: kl, lambda: 1}\n"
         "unit_price: 1\ncurrency: EUR\n"
         "groups:\n  - {name: a, size: 1, reward: {kind: brevity}}\n";
  const Study study = *load_study((folder / "study.yaml").string());
  const auto sizes = plan_sizes(*Pipeline::plan(study, {.threads = 1}));
  ASSERT_TRUE(sizes.ok()) << sizes.error().message;
  EXPECT_DOUBLE_EQ(sizes->price_prompt.mean_tokens, sum / static_cast<double>(count));
  EXPECT_DOUBLE_EQ(sizes->price_prompt.longest_tokens, longest);
  EXPECT_EQ(sizes->prompts, static_cast<double>(count));
  EXPECT_EQ(sizes->model.hidden, 64);
  EXPECT_EQ(sizes->model.layers, 5);
  EXPECT_EQ(sizes->model.embedding, 512 * 64);
  // And back from JSON.
  const Json json = plan_sizes_json(*sizes);
  JsonReader in(json, "sizes");
  EXPECT_EQ(plan_sizes_json(read_plan_sizes(in)), json);
  EXPECT_TRUE(in.finish().ok());
  fs::remove_all(folder);
}

// A whole decoder reads the prompt with every reply, unless its reward.json says that it reads
// replies alone.
TEST(PlanSizes, RewardOfAWholeDecoder) {
  const fs::path stories = kRoot / "examples" / "data" / "stories260k";
  const fs::path folder = fs::path(testing::TempDir()) / "candor-plan-decoder";
  fs::remove_all(folder);
  fs::create_directories(folder);
  fs::copy(stories, folder / "replies_alone");
  std::ofstream(folder / "replies_alone" / "reward.json")
      << Json{{"candor", "reward-model/1"}, {"chat_template", false}, {"features", "completion"}};
  std::ofstream(folder / "prompts.jsonl") << "{\"prompt\": \"Once upon a time\"}\n"
                                             "{\"prompt\": \"Lily had a red ball\"}\n";
  std::ofstream(folder / "study.yaml")
      << "candor: study/1\nname: s\nlevel: sampled\nmodel: {source: " << stories.string()
      << "}\nprompts: prompts.jsonl\ndivergence: {name: kl, lambda: 1}\n"
         "unit_price: 1\ncurrency: EUR\ngroups:\n  - {name: a, size: 1, reward: {kind: checkpoint, "
         "model: replies_alone}}\n  - {name: b, size: 1, reward: {kind: checkpoint, model: "
      << stories.string() << "}}\n";
  const Study study = *load_study((folder / "study.yaml").string());
  const auto sizes = plan_sizes(*Pipeline::plan(study, {.threads = 1}));
  ASSERT_TRUE(sizes.ok()) << sizes.error().message;
  ASSERT_EQ(sizes->rewards.size(), 2);
  for (const PlannedReward& reward : sizes->rewards) {
    EXPECT_TRUE(reward.is_decoder);
    EXPECT_EQ(reward.model_parameters, sizes->model.body());
    EXPECT_EQ(reward.model_bytes, 4 * sizes->model.parameters);
  }
  EXPECT_FALSE(sizes->rewards[0].reads_prompt);
  EXPECT_TRUE(sizes->rewards[1].reads_prompt);
  EXPECT_EQ(sizes->rewards[1].prompt_tokens, sizes->price_prompt.mean_tokens);
  EXPECT_GT(sizes->rewards[1].prompt_tokens, 0);
  const std::vector<StageCost> plan = plan_costs(study, *sizes);
  const auto seconds = [&](const std::string& label) {
    return std::ranges::find(plan, label, &StageCost::stage)->seconds;
  };
  EXPECT_GT(seconds("score b on the bank"), seconds("score a on the bank"));
  fs::remove_all(folder);
}

// "max_prompts" and a target epsilon take the first prompts of the file, and the sampling stages
// say so in their specs; a limit that cuts nothing leaves them as they were.
TEST(PlanSizes, FewerPrompts) {
  const fs::path folder = fs::path(testing::TempDir()) / "candor-max-prompts";
  fs::create_directories(folder);
  std::ofstream prompts(folder / "prompts.jsonl");
  for (int i = 0; i < 900; ++i) prompts << "{\"prompt\": \"Once " << i << "\"}\n";
  prompts.close();
  const auto pipeline = [&](const std::string& line, double target) {
    std::ofstream(folder / "study.yaml")
        << "candor: study/1\nname: s\nlevel: menu\nmodel: {source: "
        << (kRoot / "examples" / "data" / "stories260k").string() << "}\nprompts: prompts.jsonl\n"
        << line
        << "divergence: {name: kl, lambda: 1}\nunit_price: 1\ncurrency: EUR\n"
           "experts: {train_prompts: prompts.jsonl}\nmenu: {soups: 3, mixtures: 0}\n"
           "groups:\n  - {name: a, size: 1, reward: {kind: brevity}}\n"
           "  - {name: b, size: 1, reward: {kind: brevity}}\n";
    const auto study =
        load_study((folder / "study.yaml").string(), {.budget = "", .target_epsilon = target});
    EXPECT_TRUE(study.ok()) << study.error().message;
    return *MenuPipeline::plan(*study, {.threads = 1});
  };
  const MenuPipeline all = pipeline("", 0);
  EXPECT_EQ(all.base.prompts.size(), 900);
  EXPECT_FALSE(all.base.bank_stage(true).spec.contains("max_prompts"));
  EXPECT_EQ(pipeline("max_prompts: 5000\n", 0).base.bank_stage(true).spec,
            all.base.bank_stage(true).spec);
  const MenuPipeline cut = pipeline("max_prompts: 20\n", 0);
  EXPECT_EQ(cut.base.prompts.size(), 20);
  EXPECT_EQ(cut.base.prompts[19], all.base.prompts[19]);
  EXPECT_EQ(cut.base.bank_stage(true).spec["max_prompts"], 20);
  EXPECT_EQ(cut.base.seal("", "")["max_prompts"], 20);
  // log(2 x 2 groups x 4 candidates / (0.95 x 0.05)) / (2 x 0.1^2) = 290.98: initial, two experts,
  // one soup; a twentieth of the 5 % goes to the run's bounds on variances.
  const MenuPipeline target = pipeline("", 0.1);
  EXPECT_EQ(target.candidates.size(), 4);
  EXPECT_EQ(target.base.prompts.size(), 291);
  EXPECT_EQ(target.base.bank_stage(true).spec["max_prompts"], 291);
  EXPECT_EQ(pipeline("", 0.01).base.prompts.size(), 900);
  EXPECT_EQ(pipeline("max_prompts: 20\n", 0.1).base.prompts.size(), 20);
  EXPECT_FALSE(
      load_study((folder / "study.yaml").string(), {.budget = "", .target_epsilon = 1.5}).ok());
  EXPECT_FALSE(
      load_study((folder / "study.yaml").string(), {.budget = "", .target_epsilon = -1}).ok());
  fs::remove_all(folder);
}

}  // namespace
}  // namespace candor
