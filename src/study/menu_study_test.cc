#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <numeric>

#include "base/rng.h"
#include "study/menu_candidates.h"
#include "study/menu_table.h"
#include "study/merge_patch.h"
#include "study/reward_source.h"
#include "study/reward_stages.h"
#include "study/study.h"

namespace candor {
namespace {

constexpr const char* kStudy = R"(candor: study/1
name: s
level: menu
model: {source: m}
prompts: p.jsonl
divergence: {name: kl, lambda: 0.5}
unit_price: 1
currency: EUR
sizes: [[3, 7, 2]]
experts: {train_prompts: t.jsonl, kl_coefficient: auto, steps: 10}
menu: {soups: 3, mixtures: 2, trained: [[1, 2, 1]], leave_one_out: true, shortcuts: [0.5]}
misreports: [{group: b, size_inflation: 2}]
groups:
  - {name: a, reward: {kind: brevity}}
  - {name: b, reward: {kind: brevity}}
  - {name: c, reward: {kind: brevity}}
budgets:
  small: {experts: {steps: 3}, misreports: null, bank: {samples: 2}}
)";

std::string write_study(const std::string& text) {
  std::string path = testing::TempDir() + "menu_study.yaml";
  std::ofstream(path) << text;
  return path;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(MenuStudy, ReadsAndResolves) {
  const Study study = load_study(write_study(kStudy)).value();
  ASSERT_TRUE(study.menu.has_value());
  EXPECT_EQ(study.groups[1].size, 7);  // the first vector of sizes
  EXPECT_EQ(study.menu->experts->steps, 10);
  EXPECT_EQ(study.resolved["experts"]["kl_coefficient"], "auto");
  EXPECT_EQ(study.resolved["menu"]["soups"], 3);
  const Study small = load_study(write_study(kStudy), {.budget = "small"}).value();
  EXPECT_EQ(small.menu->experts->steps, 3);
  EXPECT_TRUE(small.menu->misreports.empty());
  EXPECT_EQ(small.bank.samples, 2);
  EXPECT_EQ(small.resolved["budget"], "small");
}

TEST(MenuStudy, BadStudiesNamePlaceAndLine) {
  const std::vector<std::tuple<std::string, std::string, std::string>> cases = {
      {"soups: 3", "soups: 1", "menu.soups: found 1"},
      {"[[3, 7, 2]]", "[[3, 7]]", "sizes[0]: found 2 sizes; expected one for each of 3 groups"},
      {"[[3, 7, 2]]", "[[3, 7.5, 2]]", "sizes[0][1]: found 7.5"},
      {"[[1, 2, 1]]", "[[1, 0, 1]]", "menu.trained[0]: expected 3 numbers above 0"},
      {"group: b, size", "group: bb, size",
       "misreports[0].group: found \"bb\"; expected one of a, b, c"},
      {"size_inflation: 2}", "size_inflation: 2, preference_mix: 2}", "one"},
      {"experts: {train_prompts: t.jsonl, kl_coefficient: auto, steps: 10}\n", "",
       "experts: is missing"},
      {"shortcuts: [0.5]", "shortcuts: [1.5]", "menu.shortcuts[0]: found 1.5"},
      {"steps: 10", "stepz: 10", "did you mean \"steps\""},
      {"level: menu", "level: trained", "not supported yet"},
      {"soups: 3", "soups: 200", "expected at most 512"}};
  for (const auto& [from, to, part] : cases) {
    const auto study = load_study(write_study(replaced(kStudy, from, to)));
    ASSERT_FALSE(study.ok()) << to;
    EXPECT_NE(study.error().message.find(part), std::string::npos)
        << to << ": " << study.error().message;
  }
  const auto budget = load_study(write_study(kStudy), {.budget = "smal"});
  EXPECT_NE(budget.error().message.find("it has small; did you mean \"small\""), std::string::npos)
      << budget.error().message;
  // A mistake inside a budget has the budget's own line.
  const auto inside =
      load_study(write_study(replaced(kStudy, "experts: {steps: 3}", "experts: {steps: 0}")),
                 {.budget = "small"});
  EXPECT_NE(inside.error().message.find(":18: experts.steps: found 0"), std::string::npos)
      << inside.error().message;
}

// A model is independent of the reports only where its maker is not a group.
TEST(MenuStudy, WhoMadeACandidate) {
  const std::string given =
      replaced(replaced(kStudy, "{name: a, reward: {kind: brevity}}",
                        "{name: a, reward: {kind: brevity}, expert: {adapter: x}}"),
               "{name: b, reward: {kind: brevity}}",
               "{name: b, reward: {kind: brevity}, expert: {adapter: y, made_by: provider}}");
  MenuPipeline pipeline;
  pipeline.base.study = load_study(write_study(given)).value();
  EXPECT_EQ(pipeline.study().resolved["groups"][0]["expert"]["made_by"], "a");
  pipeline.runs = expert_runs(pipeline.study());
  using Makers = std::vector<size_t>;
  EXPECT_EQ(pipeline.makers_of_adapter(0), Makers{0});          // brought by a itself
  EXPECT_EQ(pipeline.makers_of_adapter(1), Makers{});           // the provider's
  EXPECT_EQ(pipeline.makers_of_adapter(2), Makers{2});          // trained here
  EXPECT_EQ(pipeline.makers_of_adapter(3), (Makers{0, 1, 2}));  // trained-1-2-1
  size_t adapter = 3;
  size_t left_out = 0;
  for (const ExpertRun& run : pipeline.runs) {
    if (run.role == ExpertRun::Role::kExpert) continue;
    Makers others = {0, 1, 2};
    if (run.role == ExpertRun::Role::kLeaveOneOut || run.role == ExpertRun::Role::kEarlyStop) {
      std::erase(others, run.group);
      ++left_out;
    }
    EXPECT_EQ(pipeline.makers_of_adapter(adapter++), others) << run.name;
  }
  EXPECT_EQ(left_out, 6U);
  const auto makers = [&](MenuCandidate::Kind kind, std::vector<double> weights) {
    return pipeline.makers_of({.name = "x", .kind = kind, .weights = std::move(weights)});
  };
  EXPECT_EQ(makers(MenuCandidate::Kind::kInitial, {}), Makers{});
  EXPECT_EQ(makers(MenuCandidate::Kind::kSoup, {0.5, 0.5, 0}), Makers{0});
  EXPECT_EQ(makers(MenuCandidate::Kind::kSoup, {0, 1, 0}), Makers{});
  EXPECT_EQ(makers(MenuCandidate::Kind::kMixture, {0.2, 0.3, 0.5}), (Makers{0, 2}));
  EXPECT_TRUE(pipeline.depends_on_reports());
}

// What the worker would refuse after training, or the divergence would get wrong.
TEST(MenuStudy, BanksThatCannotBePricedAreRefused) {
  const std::string bank = "bank: {samples: 4, ";
  for (const auto& [setting, part] :
       {std::pair{"top_p: 0.9", "bank.top_p: found 0.9; a menu's bank is drawn without top-p"},
        std::pair{"top_k: 40", "bank.top_k: found 40; a menu's bank is drawn without top-k"}}) {
    const auto study = load_study(write_study(kStudy + (bank + setting + "}\n")));
    ASSERT_FALSE(study.ok()) << setting;
    EXPECT_NE(study.error().message.find(part), std::string::npos) << study.error().message;
  }
  const std::string tv = replaced(kStudy, "name: kl", "name: tv");
  EXPECT_TRUE(load_study(write_study(replaced(tv, "mixtures: 2", "mixtures: 0"))).ok());
  const auto mixed = load_study(write_study(tv));
  ASSERT_FALSE(mixed.ok());
  EXPECT_NE(mixed.error().message.find("menu.mixtures: found 2; the divergence tv has no inverse"),
            std::string::npos)
      << mixed.error().message;
}

// What a study says of a reward, as it is resolved and as a stage gets it.
TEST(RewardSources, CheckpointAndRemote) {
  const auto read = [](const char* text) {
    const Json group = Json::parse(text);
    JsonReader in(group, "study");
    RewardSource source = read_reward_source(in, "reward");
    return std::pair(source, in.status());
  };
  const auto [checkpoint, fine] = read(
      R"({"reward":{"kind":"checkpoint","model":"base","adapter":"made","positive_is_good":false}})");
  ASSERT_TRUE(fine.ok()) << fine.error().message;
  EXPECT_EQ(
      reward_source_json(checkpoint),
      Json::parse(R"({"kind":"checkpoint","model":"base","adapter":"made","scale":"probability",
                            "positive_is_good":false})"));
  RewardFiles files;
  files.model_digest = "sha256:m";
  files.adapter_digest = "sha256:a";
  EXPECT_EQ(files.digests(), Json::parse(R"({"model":"sha256:m","adapter":"sha256:a"})"));
  const RewardSpec spec = *reward_spec(checkpoint, files, {});
  EXPECT_TRUE(spec.needs_prompt);
  EXPECT_EQ(spec.spec, Json::parse(R"({"kind":"checkpoint","model_digest":"sha256:m",
      "adapter_digest":"sha256:a","positive_is_good":false})"));
  EXPECT_EQ(spec.inputs.at("model").digest, "sha256:m");
  EXPECT_EQ(spec.inputs.at("adapter").digest, "sha256:a");
  const auto [remote, well] =
      read(R"({"reward":{"kind":"remote","url":"http://h:1/r","version":"3 May","attempts":2}})");
  ASSERT_TRUE(well.ok()) << well.error().message;
  const Json sent = Json::parse(R"({"kind":"remote","url":"http://h:1/r","version":"3 May",
                                    "batch":64,"timeout_s":180.0,"attempts":2})");
  EXPECT_EQ(reward_source_json(remote), sent);
  EXPECT_EQ(reward_spec(remote, {}, {})->spec, sent);
  for (const auto& [text, part] :
       {std::pair{R"({"reward":{"kind":"remote","url":"http://h:1/r"}})", "$.reward.version"},
        std::pair{R"({"reward":{"kind":"remote","url":"x","version":""}})", "$.reward.version"},
        std::pair{R"({"reward":{"kind":"checkpoint"}})", "$.reward.model"},
        std::pair{R"({"reward":{"kind":"checkpoint","model":"m","scale":"log"}})",
                  "$.reward.scale"},
        std::pair{R"({"reward":{"kind":"checkpoints","model":"m"}})",
                  "did you mean \"checkpoint\""}}) {
    const auto [source, status] = read(text);
    ASSERT_FALSE(status.ok()) << text;
    EXPECT_NE(status.error().message.find(part), std::string::npos) << status.error().message;
  }
}

TEST(MergePatch, Rfc7396Examples) {
  const std::vector<std::array<const char*, 3>> cases = {
      {R"({"a":"b"})", R"({"a":"c"})", R"({"a":"c"})"},
      {R"({"a":"b"})", R"({"b":"c"})", R"({"a":"b","b":"c"})"},
      {R"({"a":"b","b":"c"})", R"({"a":null})", R"({"b":"c"})"},
      {R"({"a":["b"]})", R"({"a":"c"})", R"({"a":"c"})"},
      {R"({"a":{"b":"c"}})", R"({"a":{"b":"d","c":null}})", R"({"a":{"b":"d"}})"},
      {R"({"a":[{"b":"c"}]})", R"({"a":[1]})", R"({"a":[1]})"},
      {R"(["a","b"])", R"(["c","d"])", R"(["c","d"])"},
      {R"({"e":null})", R"({"a":1})", R"({"e":null,"a":1})"},
      {R"({})", R"({"a":{"bb":{"ccc":null}}})", R"({"a":{"bb":{}}})"}};
  for (const auto& [target, patch, result] : cases) {
    Json value = Json::parse(target);
    merge_patch(value, Json::parse(patch));
    EXPECT_EQ(value, Json::parse(result)) << target << " with " << patch;
  }
}

TEST(SimplexGrid, HoldsEveryPointOnce) {
  const auto line = simplex_grid(11, 2);
  ASSERT_EQ(line.size(), 11U);
  EXPECT_EQ(line.front(), (std::vector<double>{1, 0}));
  EXPECT_EQ(line.back(), (std::vector<double>{0, 1}));
  for (const auto& [points, dimension, count] :
       {std::tuple{4, 3, 10}, std::tuple{5, 3, 15}, std::tuple{3, 4, 10}, std::tuple{2, 1, 1}}) {
    auto grid = simplex_grid(points, static_cast<size_t>(dimension));
    EXPECT_EQ(grid.size(), static_cast<size_t>(count));
    for (const auto& point : grid) {
      EXPECT_NEAR(std::accumulate(point.begin(), point.end(), 0.0), 1, 1e-12);
    }
    std::sort(grid.begin(), grid.end());
    EXPECT_EQ(std::unique(grid.begin(), grid.end()), grid.end());
  }
}

TEST(MenuCandidates, CornersAreTheExpertsAndAppearOnce) {
  const Study study = load_study(write_study(kStudy)).value();
  std::vector<std::string> names;
  for (const MenuCandidate& one : menu_candidates(study)) names.push_back(one.name);
  const std::vector<std::string> expected = {"initial",        "expert-a",       "expert-b",
                                             "expert-c",       "soup-0.5-0.5-0", "soup-0.5-0-0.5",
                                             "soup-0-0.5-0.5", "soup-uniform"};
  EXPECT_EQ(names, expected);  // mixtures of 2 points per edge are the experts
}

TEST(ExpertRuns, MaximiseTheReportedSum) {
  const Study study = load_study(write_study(kStudy)).value();
  const std::vector<ExpertRun> runs = expert_runs(study);
  // 3 experts; trained, its checkpoint, and for each group a run without it, whole and shortened.
  ASSERT_EQ(runs.size(), 3U + 2U + 6U);
  EXPECT_EQ(runs[1].weights, (std::vector<double>{0, 1, 0}));
  EXPECT_DOUBLE_EQ(runs[1].kl_coefficient, 0.5 / 7);  // lambda / agents
  EXPECT_EQ(runs[3].weights, (std::vector<double>{0.25, 0.5, 0.25}));
  EXPECT_DOUBLE_EQ(runs[3].kl_coefficient, 0.5 / 4);
  EXPECT_EQ(runs[4].steps, 5);
  EXPECT_EQ(runs[7].role, ExpertRun::Role::kLeaveOneOut);
  for (const ExpertRun& run : runs) {
    EXPECT_NEAR(std::accumulate(run.weights.begin(), run.weights.end(), 0.0), 1, 1e-12) << run.name;
  }
  // Size x 2: the expert's weights stay, its KL coefficient halves.
  const auto inflated = expert_runs(study, {.group = 1, .size_inflation = 2});
  EXPECT_EQ(inflated[1].weights, runs[1].weights);
  EXPECT_DOUBLE_EQ(inflated[1].kl_coefficient, 0.25 / 7);
  EXPECT_NEAR(inflated[3].weights[1], 4.0 / 6, 1e-12);
  // b = 2: 2 rm_b - rm_{-b}, the others by size (3 and 2).
  const auto mixed = expert_runs(study, {.group = 1, .preference_mix = 2});
  EXPECT_NEAR(mixed[1].weights[1], 2, 1e-12);
  EXPECT_NEAR(mixed[1].weights[0], -3.0 / 5, 1e-12);
  EXPECT_NEAR(mixed[1].weights[2], -2.0 / 5, 1e-12);
  EXPECT_EQ(mixed[0].weights, runs[0].weights);
}

// A bank of random rewards as tabulate_menu takes it.
MenuBank random_bank(const Study& study, size_t prompts, uint64_t seed) {
  RandomStream random({.seed = seed, .stream = 4715});
  MenuBank bank;
  bank.candidates = menu_candidates(study);
  const size_t replies = bank.candidates.size() * prompts * static_cast<size_t>(study.bank.samples);
  bank.scores.assign(study.groups.size(), std::vector<double>(replies));
  for (auto& row : bank.scores) {
    for (double& value : row) value = 2 * random.uniform() - 0.5;
  }
  for (size_t r = 0; r < replies; ++r) bank.divergences.push_back(random.uniform());
  return bank;
}

TEST(MenuTable, MeansOfNormalisedClippedRewards) {
  const Study study = load_study(write_study(kStudy)).value();
  const MenuBank bank = random_bank(study, 5, 1);
  const std::vector<Normalizer> unit(3, Normalizer{0, 1});
  const MenuTable menu = tabulate_menu(study, bank, unit, 5).value();
  const TableMeans means = means_of_samples(menu.menu);
  const size_t block = bank.scores[0].size() / bank.candidates.size();
  size_t clipped = 0;
  for (size_t k = 0; k < bank.candidates.size(); ++k) {
    double value = 0;
    double divergence = 0;
    for (size_t r = k * block; r < (k + 1) * block; ++r) {
      const double score = bank.scores[2][r];
      clipped += score < 0 || score > 1 ? 1 : 0;
      value += std::min(1.0, std::max(0.0, score)) / static_cast<double>(block);
      divergence += 0.5 * bank.divergences[r] / static_cast<double>(block);
    }
    EXPECT_NEAR(means.valuations[2][k], value, 1e-12);
    EXPECT_NEAR(means.divergences[k], divergence, 1e-12);
  }
  EXPECT_EQ(menu.clipped[2], clipped);
}

TEST(MenuTable, InfiniteDivergenceLeavesTheMenu) {
  const Study study = load_study(write_study(kStudy)).value();
  MenuBank bank = random_bank(study, 3, 2);
  const size_t block = bank.divergences.size() / bank.candidates.size();
  bank.divergences[block] = HUGE_VAL;  // expert-a
  const std::vector<Normalizer> unit(3, Normalizer{0, 1});
  const MenuTable menu = tabulate_menu(study, bank, unit, 3).value();
  EXPECT_EQ(menu.excluded, std::vector<std::string>{"expert-a"});
  EXPECT_EQ(menu.candidates.size(), bank.candidates.size() - 1);
  bank.divergences.assign(bank.divergences.size(), HUGE_VAL);
  EXPECT_FALSE(tabulate_menu(study, bank, unit, 3).ok());
  bank.scores[1][7] = std::nan("");
  const auto bad = tabulate_menu(study, bank, unit, 3);
  EXPECT_NE(bad.error().message.find("group \"b\""), std::string::npos) << bad.error().message;
}

TEST(MenuTable, AClippedReportNeverBeatsTheTruth) {
  const Study study = load_study(write_study(kStudy)).value();
  const std::vector<double> parameters = {0, 0.5, 1, 1.5, 2, 3};
  size_t moved = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const MenuBank bank = random_bank(study, 4, seed);
    const std::vector<Normalizer> unit(3, Normalizer{0, 1});
    const MenuTable menu = tabulate_menu(study, bank, unit, 4).value();
    MenuSettlement settled;
    settled.sizes = {3, 7, 2};
    settled.table = make_table(menu.menu, settled.sizes, 1000).value();
    settled.settlement = settle(settled.table);
    for (size_t group = 0; group < 3; ++group) {
      const auto points = clipped_mix_sweep(menu, settled, group, parameters,
                                            static_cast<size_t>(study.bank.samples));
      EXPECT_EQ(points[2].winner, settled.settlement.winner) << "seed " << seed;
      EXPECT_EQ(points[2].clipped, 0U);
      for (const ClippedPoint& point : points) {
        EXPECT_LE(point.utility, points[2].utility + 1e-12) << "seed " << seed;
        moved += point.clipped > 0 ? 1 : 0;
      }
    }
  }
  EXPECT_GT(moved, 20U);
}

}  // namespace
}  // namespace candor
