#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <new>
#include <stdexcept>

#include "base/file.h"
#include "base/foreign_error.h"
#include "formats/npy.h"
#include "formats/records.h"
#include "worker/generation_records.h"
#include "worker/reward_function.h"
#include "worker/reward_training.h"
#include "worker/stage.h"
#include "worker/test_request.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

class StageTest : public testing::Test {
 protected:
  StageTest() {
    const testing::TestInfo* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(testing::TempDir()) / (std::string("candor-worker-test-") + info->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_ / "out");
  }
  ~StageTest() override { fs::remove_all(folder_); }

  fs::path write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }

  // Runs a score stage over three replies with that reward.
  Status score(const Json& reward, std::map<std::string, fs::path> paths = {}) const {
    paths["bank"] = write("bank.jsonl",
                          "{\"text\":\"\"}\n{\"text\":\" Good  day\\nsir \"}\n"
                          "{\"text\":\"BAD, bad, good stuff\"}\n");
    const Json spec = {{"bank_digest", "sha256:0"}, {"threads", 1}, {"reward", reward}};
    return run(test_request("score", spec, paths, folder_ / "out"));
  }
  Status run(const Json& request) const { return run_stage(write("request.json", request.dump())); }
  std::vector<double> scores() const {
    return *NpyFile::open(folder_ / "out" / "scores.npy")->doubles();
  }
  Status lexicon(const std::string& name, const std::string& text) const {
    fs::remove_all(folder_ / "out");
    fs::create_directories(folder_ / "out");
    return score({{"kind", "lexicon"}, {"digest", "sha256:0"}}, {{"lexicon", write(name, text)}});
  }

  fs::path folder_;
};

RewardPaths paths_to(const std::string& name, const fs::path& path) {
  return [name, path](const std::string& asked) -> Result<fs::path> {
    if (asked == name) return path;
    return invalid_argument("no path " + asked);
  };
}

void expect_error(const Status& status, ErrorCode code, const std::string& part) {
  ASSERT_FALSE(status.ok()) << "expected: " << part;
  EXPECT_EQ(status.error().code, code) << status.error().message;
  EXPECT_NE(status.error().message.find(part), std::string::npos) << status.error().message;
}

TEST_F(StageTest, BrevityCountsWords) {
  const Status status = score({{"kind", "brevity"}, {"scale_words", 4.0}});
  ASSERT_TRUE(status.ok()) << status.error().message;
  EXPECT_EQ(scores(), (std::vector<double>{1.0, 1 / (1 + 3 / 4.0), 0.5}));  // 0, 3 and 4 words
}

// good 2, bad -4: the second reply knows "good" alone, the third knows bad, bad, good.
TEST_F(StageTest, LexiconInBothForms) {
  const std::vector<double> expected = {0.5, 0.5 + 0.5 * 2 / 4,
                                        0.5 + 0.5 * (-4 - 4 + 2) / (3 * 4.0)};
  ASSERT_TRUE(lexicon("words.json", R"({"Good":2,"bad":-4})").ok());
  EXPECT_EQ(scores(), expected);
  const Status text =
      lexicon("words.txt", "good\t2.0\t0.8\t[2, 2]\r\n:-)\t1.5\t1\t[]\n\nbad\t-4\n");
  ASSERT_TRUE(text.ok()) << text.error().message;
  EXPECT_EQ(scores(), expected);
}

TEST_F(StageTest, BadLexicons) {
  const auto expect = [&](const char* name, const char* text, const char* part) {
    expect_error(lexicon(name, text), ErrorCode::kInvalidArgument, part);
    EXPECT_TRUE(fs::is_empty(folder_ / "out")) << text;
  };
  expect("a.json", R"(["good"])", "expected an object");
  expect("a.json", R"({"good":"2"})", "$.good: found");
  expect("a.json", R"({"good":2,"GOOD":1})", "in another case");
  expect("a.json", "{}", "holds no word");
  expect("a.json", R"({"good":0})", "every valence is 0");
  expect("a.txt", "good\t2\nbad\n", "a.txt:2: found \"bad\"");
  expect("a.txt", "good\tnan\n", "a.txt:1: ");
  expect("a.txt", "good\t2x\n", "a.txt:1: ");
}

TEST_F(StageTest, BadRequests) {
  const auto bad = ErrorCode::kInvalidArgument;
  expect_error(score({{"kind", "brevty"}}), bad, "did you mean \"brevity\"");
  expect_error(score({{"kind", "brevity"}, {"scale_words", 0}}), bad, "scale_words");
  expect_error(score({{"kind", "brevity"}, {"scale_words", 1}, {"scale", 1}}), bad,
               "$.spec.reward");
  expect_error(score({{"kind", "lexicon"}, {"digest", "x"}}), bad, "$.inputs.lexicon: is missing");
  Json request = test_request("scores", Json::object(), {}, folder_ / "out");
  expect_error(run(request), bad, "did you mean \"score\"");
  request["kind"] = "score";
  request["output"] = (folder_ / "nowhere").string();
  expect_error(run(request), bad, "nowhere");
  EXPECT_TRUE(fs::is_empty(folder_ / "out"));
}

// A head whose numbers are not finite never scores a reply.
TEST_F(StageTest, HeadsAreChecked) {
  const RewardHead head{.weight = {0.25, -1e300}, .bias = 0.1};
  const fs::path file = write("head.safetensors", reward_head_bytes(head));
  const RewardHead back = *load_reward_head(file, 2);
  EXPECT_EQ(back.weight, head.weight);
  EXPECT_EQ(back.bias, head.bias);
  EXPECT_FALSE(load_reward_head(file, 3).ok());
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(
      load_reward_head(write("a.safetensors", reward_head_bytes({{0.25, nan}, 0})), 2).ok());
  EXPECT_FALSE(
      load_reward_head(write("b.safetensors", reward_head_bytes({{0.25, 1}, nan})), 2).ok());
}

// onnxruntime's probabilities of hatesonar's model (tools/make_judge.py) on the goldens.
TEST_F(StageTest, LinearNgramsAgreeWithOnnxruntime) {
  const fs::path root(CANDOR_SOURCE_DIR);
  const std::vector<Json> goldens = *read_jsonl(root / "tests" / "golden" / "hatesonar.jsonl");
  const std::vector<std::string> classes = {"hate_speech", "offensive_language", "neither"};
  ASSERT_GE(goldens.size(), 10U);
  for (size_t k = 0; k < classes.size(); ++k) {
    const Json spec = {{"kind", "linear_ngrams"}, {"digest", "x"}, {"class", classes[k]}};
    JsonReader reader(spec, "test");
    const RewardFunction reward = *RewardFunction::load(
        reader, paths_to("model", root / "examples/data/hatesonar/model.json.gz"), 1);
    ASSERT_TRUE(reader.finish().ok());
    EXPECT_FALSE(reward.needs_prompt());
    std::vector<RewardRequest> requests;
    for (const Json& golden : goldens)
      requests.push_back({.prompt = {}, .completion = golden["text"]});
    const std::vector<double> scores = *reward.score(requests);
    for (size_t i = 0; i < goldens.size(); ++i) {
      EXPECT_NEAR(scores[i], goldens[i]["probabilities"][k].get<double>(), 2e-6)
          << goldens[i]["text"];
    }
  }
}

// By hand: "good good bad" has x = (2 * 3, 4) / |(6, 4)|.
TEST_F(StageTest, LinearNgramsByHand) {
  const fs::path model = write("m.json", R"({"candor":"linear-ngrams/1","classes":["no","yes"],
    "intercepts":[0.5,-0.25],"terms":{"good":[3,0,2],"bad":[4,1,-1]}})");
  const Json reward = {{"kind", "linear_ngrams"}, {"digest", "x"}, {"class", "yes"}};
  ASSERT_TRUE(score(reward, {{"model", model.string()}}).ok());
  const auto yes = [](double good, double bad) {
    return 1 / (1 + std::exp(0.5 + bad - (-0.25 + 2 * good - bad)));
  };
  const std::vector<double> found = scores();
  EXPECT_NEAR(found[0], yes(0, 0), 1e-15);
  EXPECT_NEAR(found[1], yes(1, 0), 1e-15);
  const double length = std::sqrt(3.0 * 3.0 + 8.0 * 8.0);  // "BAD, bad, good stuff"
  EXPECT_NEAR(found[2], yes(3 / length, 8 / length), 1e-15);
}

TEST_F(StageTest, BadLinearNgrams) {
  const auto expect = [&](const char* text, const char* wanted, const char* part) {
    fs::remove_all(folder_ / "out");
    fs::create_directories(folder_ / "out");
    const Json reward = {{"kind", "linear_ngrams"}, {"digest", "x"}, {"class", wanted}};
    expect_error(score(reward, {{"model", write("m.json", text).string()}}),
                 ErrorCode::kInvalidArgument, part);
  };
  const char* good = R"({"candor":"linear-ngrams/1","classes":["no","yes"],"intercepts":[0,0],
    "terms":{"good":[3,0,2]}})";
  expect(good, "yse", "did you mean \"yes\"");
  expect(R"({"candor":"linear-ngrams/2","classes":["no","yes"],"intercepts":[0,0],"terms":{}})",
         "yes", "$.candor");
  expect(
      R"({"candor":"linear-ngrams/1","classes":["no","yes"],"intercepts":[0],"terms":{"a":[1,2,3]}})",
      "yes", "2 classes and 1 intercepts");
  expect(R"({"candor":"linear-ngrams/1","classes":["no","yes"],"intercepts":[0,0],"terms":{}})",
         "yes", "$.terms: expected");
  expect(
      R"({"candor":"linear-ngrams/1","classes":["no","yes"],"intercepts":[0,0],"terms":{"a":[1,2]}})",
      "yes", "$.terms.a: found [1,2]");
}

TEST(RewardPrompts, AsARewardReadsThem) {
  const auto text = [](const char* json) {
    return reward_prompt_text(Json::parse(json), "p.jsonl:2");
  };
  EXPECT_EQ(*text(R"({"prompt":"a"})"), "a");
  EXPECT_EQ(*text(R"({"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},
                      {"role":"assistant","content":"b"},{"role":"user","content":"c"}]})"),
            "a\n\nb\n\nc");
  for (const char* bad : {"[]", "{}", R"({"prompt":1})", R"({"messages":[]})"}) {
    ASSERT_FALSE(text(bad).ok()) << bad;
    EXPECT_TRUE(text(bad).error().message.starts_with("p.jsonl:2: ")) << text(bad).error().message;
  }
}

TEST(Exceptions, MemoryIsAResource) {
  // What LibTorch says on a CPU, and on a GPU.
  for (const char* text :
       {"[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 46881792 bytes.\nframe #0: x",
        "CUDA out of memory. Tried to allocate 2 GiB\nframe #0: x"}) {
    const Error error = error_of_exception(std::runtime_error(text), "stage bank");
    EXPECT_EQ(error.code, ErrorCode::kResource);
    EXPECT_TRUE(error.message.starts_with("stage bank: ")) << error.message;
    EXPECT_EQ(error.message.find("frame"), std::string::npos);
  }
  EXPECT_EQ(error_of_exception(std::bad_alloc(), "x").code, ErrorCode::kResource);
  EXPECT_EQ(error_of_exception(std::runtime_error("shapes differ"), "x").code,
            ErrorCode::kInternal);
}

TEST(ChatMessages, OnlyAList) {
  for (const char* text : {R"("hi")", R"({"role":"user","content":"x"})", "[]", "null", "[\"x\"]",
                           R"([{"role":"user"}])", R"([{"role":"user","content":1}])"}) {
    const auto messages = chat_messages(Json::parse(text), "in.jsonl:3");
    ASSERT_FALSE(messages.ok()) << text;
    EXPECT_EQ(messages.error().code, ErrorCode::kInvalidArgument);
    EXPECT_TRUE(messages.error().message.starts_with("in.jsonl:3: $.messages"))
        << messages.error().message;
  }
  const auto good = chat_messages(Json::parse(R"([{"role":"user","content":""}])"), "x");
  ASSERT_TRUE(good.ok());
  EXPECT_EQ((*good)[0].role, "user");
}

}  // namespace
}  // namespace candor
