// The stages of a menu on stories260k with the adapters of tests/golden.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/cpu.h"
#include "base/file.h"
#include "base/strings.h"
#include "formats/npy.h"
#include "formats/records.h"
#include "formats/test_data.h"
#include "worker/chat_session.h"
#include "worker/stage.h"
#include "worker/test_request.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

class MenuStageTest : public testing::Test {
 protected:
  MenuStageTest() {
    const testing::TestInfo* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(testing::TempDir()) / (std::string("candor-menu-stage-") + info->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    std::ofstream(folder_ / "prompts.jsonl") << R"({"prompt":"Once upon a time"})"
                                             << "\n"
                                             << R"({"prompt":"Lily had a dog"})"
                                             << "\n";
    const fs::path golden = fs::path(CANDOR_SOURCE_DIR) / "tests" / "golden";
    paths_ = {{"model", shared_data("stories260k")},
              {"prompts", folder_ / "prompts.jsonl"},
              {"adapter_0", golden / "lora_a"},
              {"adapter_1", golden / "lora_b"}};
    spec_ = {{"model_digest", "m"},
             {"prompts_digest", "p"},
             {"adapter_digests", {"a", "b"}},
             {"candidates", Json::parse(R"([
               {"name":"initial","kind":"initial"},
               {"name":"soup","kind":"soup","weights":[0.3,0.7]},
               {"name":"mix","kind":"mixture","weights":[0.5,0.5],
                "divergence":{"name":"kl","lambda":1.0}},
               {"name":"b","kind":"adapter","index":1}])")},
             {"threads", 1},
             {"instruction_set", name_of(instruction_set())}};
  }
  ~MenuStageTest() override { fs::remove_all(folder_); }

  [[nodiscard]] Json bank_spec() const {
    Json spec = spec_;
    spec.update({{"samples", 3},
                 {"max_new_tokens", 8},
                 {"temperature", 1.0},
                 {"top_p", 1.0},
                 {"top_k", 0},
                 {"seed", 4},
                 {"stream", 2},
                 {"batch", 8},
                 {"dtype", "f32"}});
    return spec;
  }
  [[nodiscard]] Json divergence_spec(const std::string& name = "kl") const {
    Json spec = spec_;
    spec.update({{"bank_digest", "k"},
                 {"divergence", {{"name", name}, {"lambda", 1.0}}},
                 {"temperature", 1.0},
                 {"batch", 16},
                 {"dtype", "f32"}});
    return spec;
  }

  Status run(const std::string& kind, const Json& spec, const std::string& output = "out") {
    fs::remove_all(folder_ / output);
    fs::create_directories(folder_ / output);
    const Json request = test_request(kind, spec, paths_, folder_ / output);
    std::ofstream(folder_ / "request.json") << request.dump();
    return run_stage(folder_ / "request.json");
  }
  void expect_ok(const Status& status) const { ASSERT_TRUE(status.ok()) << status.error().message; }
  void expect_error(const Status& status, const std::string& part) const {
    ASSERT_FALSE(status.ok()) << "expected: " << part;
    EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(status.error().message.find(part), std::string::npos) << status.error().message;
    EXPECT_TRUE(fs::is_empty(folder_ / "out"));
  }
  [[nodiscard]] std::string bytes(const std::string& name) const {
    return *read_file(folder_ / name);
  }

  fs::path folder_;
  std::map<std::string, fs::path> paths_;
  Json spec_;
};

TEST_F(MenuStageTest, BankInOrderAndWithTheSameBytes) {
  expect_ok(run("menu_bank", bank_spec(), "first"));
  const std::vector<Json> lines = *read_jsonl(folder_ / "first" / "bank.jsonl");
  ASSERT_EQ(lines.size(), 4 * 2 * 3);
  const std::vector<std::string> names = {"initial", "soup", "mix", "b"};
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i]["candidate"], names[i / 6]);
    EXPECT_EQ(lines[i]["prompt_index"], i / 3 % 2);
    EXPECT_EQ(lines[i]["sample"], i % 3);
    EXPECT_EQ(lines[i]["token_ids"].size(), lines[i]["token_logprobs"].size());
    EXPECT_FALSE(lines[i]["text"].get<std::string>().empty());
  }
  EXPECT_NE(lines[0]["text"], lines[18]["text"]);
  const Json metrics = *read_json_file((folder_ / "first" / "metrics.json").string());
  EXPECT_EQ(metrics["candidates"][2]["name"], "mix");
  EXPECT_EQ(metrics["candidates"][2]["replies"], 6);
  EXPECT_GT(metrics["candidates"][2]["mean_tokens"], 0);
  Json other = bank_spec();
  other["batch"] = 3;
  expect_ok(run("menu_bank", other, "second"));
  EXPECT_EQ(bytes("first/bank.jsonl"), bytes("second/bank.jsonl"));
  EXPECT_EQ(bytes("first/metrics.json"), bytes("second/metrics.json"));
}

// One candidate that is the initial model gives the bank stage's replies.
TEST_F(MenuStageTest, TheInitialCandidateIsTheBankStage) {
  expect_ok(run("menu_bank", bank_spec(), "menu"));
  Json spec = bank_spec();
  spec.erase("adapter_digests");
  spec.erase("candidates");
  expect_ok(run("bank", spec, "bank"));
  const std::vector<Json> menu = *read_jsonl(folder_ / "menu" / "bank.jsonl");
  const std::vector<Json> bank = *read_jsonl(folder_ / "bank" / "bank.jsonl");
  for (size_t i = 0; i < bank.size(); ++i) {
    Json line = menu[i];
    EXPECT_EQ(line["candidate"], "initial");
    line.erase("candidate");
    EXPECT_EQ(line, bank[i]);
  }
}

TEST_F(MenuStageTest, Divergences) {
  expect_ok(run("menu_bank", bank_spec(), "bank"));
  paths_["bank"] = folder_ / "bank" / "bank.jsonl";
  expect_ok(run("divergence", divergence_spec(), "kl"));
  const std::vector<double> kl = *NpyFile::open(folder_ / "kl" / "divergence.npy")->doubles();
  ASSERT_EQ(kl.size(), 24);
  for (size_t r = 0; r < kl.size(); ++r) {
    if (r < 6) {
      EXPECT_EQ(kl[r], 0);
    } else {
      EXPECT_GT(kl[r], 0);
    }
  }
  const Json metrics = *read_json_file((folder_ / "kl" / "metrics.json").string());
  EXPECT_EQ(metrics["candidates"][0]["mean"], 0);
  const double mean = metrics["candidates"][1]["mean"].get<double>();
  double sum = 0;
  for (size_t r = 6; r < 12; ++r) sum += kl[r];
  EXPECT_NEAR(mean, sum / 6, 1e-12);
  EXPECT_GT(metrics["candidates"][1]["largest_share"], 1.0 / 6);
  // lambda has no effect, and the run is repeatable.
  Json spec = divergence_spec();
  spec["divergence"]["lambda"] = 0.01;
  spec["batch"] = 5;
  expect_ok(run("divergence", spec, "again"));
  EXPECT_EQ(bytes("kl/divergence.npy"), bytes("again/divergence.npy"));
  // Bounded: hellinger's contributions are at most 2.
  expect_ok(run("divergence", divergence_spec("hellinger"), "hellinger"));
  const std::vector<double> hellinger =
      *NpyFile::open(folder_ / "hellinger" / "divergence.npy")->doubles();
  for (const double value : hellinger) EXPECT_LE(value, 2);
}

// A bank of other candidates, or of none, is refused before it becomes a number.
TEST_F(MenuStageTest, ForeignBanksAreRefused) {
  expect_ok(run("menu_bank", bank_spec(), "bank"));
  const fs::path file = folder_ / "bank" / "bank.jsonl";
  std::vector<Json> lines = *read_jsonl(file);
  paths_["bank"] = file;
  const auto with = [&](size_t line, const Json& change, const std::string& part) {
    std::vector<Json> changed = lines;
    changed[line].update(change);
    std::string text;
    for (const Json& item : changed) text += item.dump() + "\n";
    std::ofstream(file) << text;
    expect_error(run("divergence", divergence_spec()), part);
  };
  with(7, {{"candidate", "b"}}, "bank.jsonl:8: $.logprob: found ");
  with(7, {{"candidate", "c"}}, "bank.jsonl:8: $.candidate: found \"c\"");
  with(2, {{"prompt_index", 2}}, "bank.jsonl:3: $.prompt_index");
  with(2, {{"token_ids", {1.5}}}, "bank.jsonl:3: $.token_ids: found 1.5");
  with(2, {{"token_ids", {512}}}, "reply 3: token id: found 512");
  with(2, {{"token_ids", Json::array()}}, "reply 3: it has no token");
  std::ofstream(file) << "";
  expect_error(run("divergence", divergence_spec()), "holds no reply");
}

TEST_F(MenuStageTest, BadSpecsAreNamed) {
  const auto refused = [&](const Json& candidate, const std::string& part) {
    Json spec = bank_spec();
    spec["candidates"].push_back(candidate);
    expect_error(run("menu_bank", spec), part);
  };
  refused({{"name", "x"}, {"kind", "soap"}}, "did you mean \"soup\"");
  refused({{"name", "soup"}, {"kind", "initial"}}, "candidates[4].name: \"soup\" is there already");
  refused({{"name", "x"}, {"kind", "adapter"}, {"index", 2}}, "adapter 2 of 2; expected 0 to 1");
  refused({{"name", "x"}, {"kind", "soup"}, {"weights", {1, 2, 3}}}, "3 weights for 2 adapters");
  refused({{"name", "x"},
           {"kind", "mixture"},
           {"weights", {1, 0}},
           {"divergence", {{"name", "tv"}, {"lambda", 1}}}},
          "tv has no inverse slope");
  refused({{"name", "x"},
           {"kind", "mixture"},
           {"weights", {-1, 0}},
           {"divergence", {{"name", "kl"}, {"lambda", 1}}}},
          "a weight is -1");
  refused({{"name", "x"}, {"kind", "mixture"}, {"weights", {1, 0}}}, "divergence");
  refused({{"name", "x"}, {"kind", "initial"}, {"weights", {1}}}, "weights");
  Json spec = bank_spec();
  spec["instruction_set"] = "abacus";
  expect_error(run("menu_bank", spec),
               "instruction_set: found \"abacus\"; allowed instruction sets are");
  spec = bank_spec();
  spec["max_tokens"] = 3;
  expect_error(run("menu_bank", spec), "max_tokens");
  paths_.erase("adapter_1");
  expect_error(run("menu_bank", bank_spec()), "$.inputs.adapter_1: is missing");
}

TEST_F(MenuStageTest, ChecksOfTheMenu) {
  Json spec = spec_;
  spec.update({{"prompts", 2}, {"positions", 2}});
  expect_ok(run("menu_check", spec));
  Json checks = *read_json_file((folder_ / "out" / "checks.json").string());
  EXPECT_EQ(checks["passed"], true) << checks.dump();
  EXPECT_EQ(checks["checks"].size(), 1 + 1 + 4 + 6);
  // A soup that is all but the initial model does not differ from it.
  spec["candidates"][1]["weights"] = {1e-9, 0};
  expect_ok(run("menu_check", spec));
  checks = *read_json_file((folder_ / "out" / "checks.json").string());
  EXPECT_EQ(checks["passed"], false);
  std::string failed;
  for (const Json& check : checks["checks"]) {
    if (check["passed"] == false) failed += check["name"].get<std::string>() + ";";
  }
  EXPECT_EQ(failed, "interior soup <> the initial model;");
}

// With "max_prompts" both sampling stages give the lines of the first prompts, and no others.
TEST_F(MenuStageTest, FewerPromptsAreTheFirstOnes) {
  Json spec = bank_spec();
  expect_ok(run("menu_bank", spec, "all"));
  spec["max_prompts"] = 1;
  expect_ok(run("menu_bank", spec, "one"));
  std::vector<Json> expected = *read_jsonl(folder_ / "all" / "bank.jsonl");
  std::erase_if(expected, [](const Json& line) { return line["prompt_index"] != 0; });
  EXPECT_EQ(expected.size(), 4 * 3);
  EXPECT_EQ(*read_jsonl(folder_ / "one" / "bank.jsonl"), expected);
  spec.erase("adapter_digests");
  spec.erase("candidates");
  expect_ok(run("bank", spec, "bank"));
  EXPECT_EQ(read_jsonl(folder_ / "bank" / "bank.jsonl")->size(), 3);
  spec["max_prompts"] = 0;
  expect_error(run("bank", spec), "max_prompts: found 0");
}

// A reply told in pieces is the reply; pieces come while it is made.
TEST_F(MenuStageTest, ChatTellsRepliesInPieces) {
  const LanguageModel model =
      *LanguageModel::load(shared_data("stories260k"), {.dtype = Dtype::kF32, .threads = 1});
  const CandidateModel base = initial_candidate("base", 0);
  ChatOptions options{.generate = {.max_new_tokens = 24}, .plain = true, .system = {}};
  ChatSession session = *ChatSession::create(model, {base}, options);
  std::string told;
  size_t pieces = 0;
  size_t ended = 0;
  const ChatSession::Listener listener{
      .on_text =
          [&](const std::string& candidate, std::string_view piece) {
            EXPECT_EQ(candidate, "base");
            EXPECT_EQ(ended, 0);
            told += piece;
            ++pieces;
          },
      .on_reply = [&](const ChatReply&) { ++ended; }};
  const auto replies = session.say("Once upon a time", listener);
  ASSERT_TRUE(replies.ok()) << replies.error().message;
  EXPECT_EQ(told, trim((*replies)[0].text));
  EXPECT_GT(pieces, 5);
  EXPECT_EQ(ended, 1);
}

}  // namespace
}  // namespace candor
