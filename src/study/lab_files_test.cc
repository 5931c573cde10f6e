#include "study/lab_files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "study/theory_page.h"

namespace candor {
namespace {

Game two_by_two() {
  Game game;
  game.initial = {0.5, 0.5};
  game.groups = {{"a", 3, {1, 0}}, {"b", 1, {0, 1}}};
  return make_game(game).value();
}

class LabFiles : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) {
    const auto path = std::filesystem::path(testing::TempDir()) / name;
    std::ofstream(path) << text;
    return path.string();
  }
};

TEST_F(LabFiles, TypesAreNormalisedAndChecked) {
  const Game game = two_by_two();
  const auto types = load_types(
      write(
          "types.json",
          R"({"candor":"types/1","types":[{"size":2,"reward":[1,2]},{"size":1,"reward":[4,4]}]})"),
      game);
  ASSERT_TRUE(types.ok()) << types.error().message;
  EXPECT_EQ((*types)[0].reward, (std::vector<double>{0.5, 1}));
  EXPECT_EQ((*types)[1].reward, (std::vector<double>{1, 1}));
  for (const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{
           {R"({"candor":"types/1","types":[]})", "types"},
           {R"({"candor":"types/1","types":[{"size":1,"reward":[1]}]})", "has 1 entries"},
           {R"({"candor":"types/1","types":[{"size":1,"reward":[0,0]}]})", "types[0].reward"},
           {R"({"candor":"types/1","types":[{"size":0,"reward":[0,1]}]})", "size: found 0"},
           {R"({"candor":"types/1","types":[{"size":1,"reward":[0,-1]}]})", "types[0].reward"}}) {
    const auto bad = load_types(write("bad.json", text), game);
    ASSERT_FALSE(bad.ok()) << text;
    EXPECT_NE(bad.error().message.find(part), std::string::npos) << bad.error().message;
  }
}

// A rule that does the opposite of what the group wants: no payments can save it.
constexpr const char* kContrary = R"({"candor":"rule/1","name":"contrary","rows":[
  {"name":"likes 0","size":1,"reward":[1,0],"allocation":[0.1,0.9]},
  {"name":"likes 1","size":1,"reward":[0,1],"allocation":[0.9,0.1]}]})";

TEST_F(LabFiles, ATableRuleIsStudiedOnItsOwnTypes) {
  const Game game = two_by_two();
  auto loaded = load_rule(write("contrary.json", kContrary), game, 0);
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  const auto lab = run_laboratory(game, 0, {loaded->rule.get()}, loaded->types, {});
  ASSERT_TRUE(lab.ok()) << lab.error().message;
  const Json json = lab_json(game, *lab);
  EXPECT_EQ(json["rules"][0]["implementable"], false);
  EXPECT_EQ(json["rules"][0]["verdict"], "no");
  EXPECT_EQ(json["rules"][0]["types_searched"], 2);
  EXPECT_FALSE(json["rules"][0].contains("payments"));
  EXPECT_EQ(json["rules"][0]["witness"].size(), 2U);
  // By hand: each type's edge is 0.1 - 0.9; the two-cycle has length -1.6.
  EXPECT_NEAR(json["rules"][0]["worst_cycle"]["length"].get<double>(), -1.6, 1e-15);
  EXPECT_NE(json["rules"][0]["path"]["reason"].get<std::string>().find("no payments"),
            std::string::npos);
  EXPECT_TRUE(json["rules"][0]["path"]["points"].empty());
  EXPECT_NE(lab_page(game, *lab).find("contrary"), std::string::npos);
  // No bounds that close are drawn where there is nothing to enclose.
  EXPECT_EQ(lab_page(game, *lab).find("<svg"), std::string::npos);
}

// What a table chooses for its own types says nothing about others: not known.
TEST_F(LabFiles, ATableWithPaymentsIsNotProved) {
  const Game game = two_by_two();
  auto loaded = load_rule(write("fair.json", R"({"candor":"rule/1","name":"fair","rows":[
      {"size":1,"reward":[1,0],"allocation":[0.9,0.1]},
      {"size":1,"reward":[0,1],"allocation":[0.1,0.9]}]})"),
                          game, 0);
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  const Laboratory lab = run_laboratory(game, 0, {loaded->rule.get()}, loaded->types, {}).value();
  const Json rule = lab_json(game, lab)["rules"][0];
  EXPECT_EQ(rule["verdict"], "none_found");
  EXPECT_TRUE(rule["implementable"].is_null());
  EXPECT_EQ(rule["rule_runs"], 2);
  EXPECT_FALSE(rule.contains("witness"));
  EXPECT_NE(rule["path"]["reason"].get<std::string>().find("no row"), std::string::npos);
  // By hand: p(1) - p(0) <= 0.9 - 0.1 both ways, of which the interval leaves nothing out.
  EXPECT_GE(rule["payments"][1]["high"].get<double>(), 0.8);
  EXPECT_NEAR(rule["payments"][1]["high"].get<double>(), 0.8, 1e-12);
  EXPECT_LE(rule["payments"][1]["low"].get<double>(), -0.8);
  EXPECT_NEAR(rule["payments"][1]["low"].get<double>(), -0.8, 1e-12);
}

TEST_F(LabFiles, AWitnessIsReadAgainAsItWasWritten) {
  Game game = two_by_two();
  game.groups[0].group_size = 1;
  const auto rule = make_training_rule("nash").value();
  const Laboratory lab = run_laboratory(game, 0, {rule.get()}, {}, {}).value();
  ASSERT_EQ(lab.rules[0].verdict, Verdict::kNo);
  const auto types = load_types(write("witness.json", to_text(witness_types_json(lab))), game);
  ASSERT_TRUE(types.ok()) << types.error().message;
  const Laboratory again = run_laboratory(game, 0, {rule.get()}, *types, {}).value();
  EXPECT_EQ(again.rules[0].verdict, Verdict::kNo);
  EXPECT_DOUBLE_EQ(again.rules[0].incentives.worst_cycle_length,
                   lab.rules[0].incentives.worst_cycle_length);
}

TEST_F(LabFiles, RulesThatAreNoRulesAreRefused) {
  const Game game = two_by_two();
  for (const auto& [text, part] :
       std::vector<std::pair<std::string, std::string>>{{R"({"candor":"rule/1","name":"x","rows":[
             {"size":1,"reward":[1,0],"allocation":[0.5,0.6]}]})",
                                                         "sums to 1.1"},
                                                        {R"({"candor":"rule/1","name":"x","rows":[
             {"size":1,"reward":[1,0],"allocation":[-0.5,1.5]}]})",
                                                         "found -0.5"},
                                                        {R"({"candor":"rule/1","name":"x","rows":[
             {"size":1,"reward":[1,0],"allocation":[0.5,0.5]},
             {"size":1,"reward":[2,0],"allocation":[0.5,0.5]}]})",
                                                         "same type as rows[0]"}}) {
    const auto bad = load_rule(write("bad.json", text), game, 0);
    ASSERT_FALSE(bad.ok()) << text;
    EXPECT_NE(bad.error().message.find(part), std::string::npos) << bad.error().message;
  }
}

}  // namespace
}  // namespace candor
