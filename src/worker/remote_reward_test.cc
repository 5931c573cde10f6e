// Rewards of a server and of a whole model, against a server inside this test and against what
// transformers gives (tests/golden/reward.json).
#include "worker/remote_reward.h"

#include <gtest/gtest.h>
#include <httplib.h>

#include <chrono>
#include <cmath>
#include <functional>
#include <mutex>
#include <thread>

#include "base/json.h"
#include "base/strings.h"
#include "worker/reward_function.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

// A server on a port of its own; `answer` is asked with the request's JSON.
class TestServer {
 public:
  using Answer = std::function<void(const Json&, httplib::Response&)>;
  explicit TestServer(const Answer& answer) {
    server_.Post("/get_reward",
                 [this, answer](const httplib::Request& request, httplib::Response& response) {
                   const std::lock_guard lock(mutex_);
                   seen_.push_back(Json::parse(request.body));
                   answer(seen_.back(), response);
                 });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }
  ~TestServer() {
    server_.stop();
    thread_.join();
  }
  [[nodiscard]] std::string url() const {
    return str_cat("http://127.0.0.1:", port_, "/get_reward");
  }
  [[nodiscard]] std::vector<Json> seen() {
    const std::lock_guard lock(mutex_);
    return seen_;
  }

 private:
  httplib::Server server_;
  std::mutex mutex_;
  std::vector<Json> seen_;
  int port_ = 0;
  std::thread thread_;
};

// The length of every query: what the tests compute without the server.
void lengths(const Json& request, httplib::Response& response) {
  Json rewards = Json::array();
  for (const Json& query : request["query"]) {
    rewards.push_back(query.get<std::string>().size() / 4.0);
  }
  response.set_content(Json{{"rewards", rewards}, {"extra_logs", nullptr}}.dump(),
                       "application/json");
}

std::vector<PromptedText> texts(size_t count) {
  std::vector<PromptedText> out;
  for (size_t i = 0; i < count; ++i) {
    out.push_back({str_cat("p", i, " "), std::string(i, 'x') + "ä\n\""});
  }
  return out;
}

TEST(RemoteReward, AsksInBatchesAsOpenRlhfDoes) {
  TestServer server(lengths);
  const std::vector<PromptedText> asked = texts(10);
  const std::vector<double> got = *ask_remote_reward({.url = server.url(), .batch = 4}, asked);
  ASSERT_EQ(got.size(), 10U);
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i], static_cast<double>(asked[i].prompt.size() + asked[i].completion.size()) / 4);
  }
  const std::vector<Json> seen = server.seen();
  ASSERT_EQ(seen.size(), 3U);
  EXPECT_EQ(seen[2]["query"], Json({"p8 xxxxxxxxä\n\"", "p9 xxxxxxxxxä\n\""}));
  EXPECT_EQ(seen[2]["prompts"], Json({"p8 ", "p9 "}));
  EXPECT_EQ(seen[2]["labels"], Json({"", ""}));
  EXPECT_EQ(seen[2].size(), 3U);
  EXPECT_TRUE(ask_remote_reward({.url = server.url()}, {})->empty());
}

struct Refusal {
  std::string message;
  ErrorCode code = ErrorCode::kInternal;
  size_t requests = 0;
};

Refusal refusal(const TestServer::Answer& answer, RemoteReward remote = {}) {
  TestServer server(answer);
  remote.url = server.url();
  remote.pause_s = 0.01;
  const Result<std::vector<double>> got = ask_remote_reward(remote, texts(3));
  EXPECT_FALSE(got.ok());
  if (got.ok()) return {};
  EXPECT_TRUE(got.error().message.starts_with(server.url() + ":")) << got.error().message;
  const std::string message = got.error().message.substr(server.url().size() + 1);
  return {message.starts_with(" ") ? message.substr(1) : message, got.error().code,
          server.seen().size()};
}

TestServer::Answer says(const std::string& body, int status = 200) {
  return [body, status](const Json&, httplib::Response& response) {
    response.status = status;
    response.set_content(body, "application/json");
  };
}

// A wrong answer is said at once: asking again would only hide it.
TEST(RemoteReward, WrongAnswersAreNamed) {
  const auto expect = [](const std::string& body, const std::string& message) {
    const Refusal got = refusal(says(body));
    EXPECT_EQ(got.message, message) << body;
    EXPECT_EQ(got.code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(got.requests, 1U);
  };
  expect(R"({"rewards":[1,2]})", "$.rewards: found 2; 3 were asked for");
  expect(R"({"rewards":[1,2,3,4]})", "$.rewards: found 4; 3 were asked for");
  expect(R"({"rewards":[1,null,3]})", "$.rewards[1]: found null; expected a finite number");
  expect(R"({"rewards":[1,[2],3]})", "$.rewards[1]: found [2]; expected a finite number");
  expect(R"({"rewards":[1,"2",3]})", "$.rewards[1]: found \"2\"; expected a finite number");
  expect(R"({"scores":[1,2,3]})", R"(the answer has no list "rewards": "{"scores":[1,2,3]}")");
  const auto begins = [](const std::string& body, const std::string& message) {
    const Refusal got = refusal(says(body));
    EXPECT_TRUE(got.message.starts_with(message)) << got.message;
    EXPECT_EQ(got.code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(got.requests, 1U);
  };
  begins(R"({"rewards":[1,NaN,3]})", "1:15: not valid JSON");  // as Python's json says it
  begins(R"({"rewards":[1,1e999,3]})", "1:19: not valid JSON: number overflow");
  begins("", "1:1: not valid JSON");
  const Refusal missing = refusal(says("gone", 404));
  EXPECT_EQ(missing.message, "status 404, \"gone\"");
  EXPECT_EQ(missing.requests, 1U);
}

TEST(RemoteReward, FailuresAreTriedAgain) {
  const Refusal broken = refusal(says("out of memory", 500), {.url = {}, .attempts = 3});
  EXPECT_EQ(broken.message, "status 500, \"out of memory\" (3 attempts)");
  EXPECT_EQ(broken.code, ErrorCode::kResource);
  EXPECT_EQ(broken.requests, 3U);
  int passes = 0;
  TestServer recovers([&](const Json& request, httplib::Response& response) {
    if (++passes < 3) {
      response.status = passes == 1 ? 503 : 429;
      return;
    }
    lengths(request, response);
  });
  EXPECT_TRUE(ask_remote_reward({.url = recovers.url(), .pause_s = 0.01}, texts(2)).ok());
  EXPECT_EQ(recovers.seen().size(), 3U);
}

TEST(RemoteReward, SilenceEndsInTime) {
  const auto begin = std::chrono::steady_clock::now();
  const Refusal silent = refusal(
      [](const Json& request, httplib::Response& response) {
        std::this_thread::sleep_for(std::chrono::milliseconds(400));
        lengths(request, response);
      },
      {.url = {}, .timeout_s = 0.1, .attempts = 2});
  EXPECT_EQ(silent.message, "no answer within 0.1 s (2 attempts)");
  EXPECT_EQ(silent.code, ErrorCode::kResource);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  // Nobody listens there.
  std::string gone;
  {
    TestServer server(lengths);
    gone = server.url();
  }
  const auto nobody = ask_remote_reward({.url = gone, .attempts = 2, .pause_s = 0.01}, texts(1));
  ASSERT_FALSE(nobody.ok());
  EXPECT_EQ(nobody.error().code, ErrorCode::kResource);
  EXPECT_NE(nobody.error().message.find("(2 attempts)"), std::string::npos);
}

TEST(RemoteReward, UrlsAreChecked) {
  for (const char* bad : {"", "localhost:5000/x", "ftp://a/b", "http://", "http:///x",
                          "http://host:1", "http://a b/c", "http://me:secret@host/x"}) {
    EXPECT_FALSE(check_remote_url(bad).ok()) << bad;
  }
  EXPECT_TRUE(check_remote_url("http://host:5000/get_reward").ok());
  EXPECT_TRUE(check_remote_url("https://host/a?b=c").ok());
  EXPECT_FALSE(ask_remote_reward({.url = "http://host:99999999/x", .attempts = 1}, texts(1)).ok());
}

Result<RewardFunction> load(const Json& spec, const std::map<std::string, fs::path>& paths) {
  JsonReader in(spec, "spec.json");
  Result<RewardFunction> reward = RewardFunction::load(
      in,
      [&](const std::string& name) -> Result<fs::path> {
        const auto found = paths.find(name);
        if (found != paths.end()) return found->second;
        return invalid_argument("no path " + name);
      },
      2);
  if (reward.ok()) CANDOR_RETURN_IF_ERROR(in.finish());
  return reward;
}

TEST(RemoteReward, AsAKindOfReward) {
  TestServer server(lengths);
  const Json spec = {{"kind", "remote"}, {"url", server.url()}, {"version", "a"}, {"batch", 2}};
  const RewardFunction reward = *load(spec, {});
  EXPECT_TRUE(reward.needs_prompt());
  EXPECT_EQ((*reward.score(texts(5)))[4], 11 / 4.0);
  EXPECT_EQ(server.seen().size(), 3U);
  const auto message = [&](const char* key, const Json& value) {
    Json changed = spec;
    changed[key] = value;
    const Result<RewardFunction> loaded = load(changed, {});
    return loaded.ok() ? std::string() : loaded.error().message;
  };
  EXPECT_NE(message("version", "").find("$.version"), std::string::npos) << message("version", "");
  EXPECT_NE(message("url", "x").find("$.url: found \"x\""), std::string::npos)
      << message("url", "x");
  EXPECT_NE(message("attempts", 0).find("$.attempts"), std::string::npos);
}

// A folder of transformers' and an adapter of peft's: the sigmoid of their rewards.
TEST(CheckpointReward, GivesTransformersRewards) {
  const fs::path golden = fs::path(CANDOR_SOURCE_DIR) / "tests" / "golden";
  const Json runs = *read_json_file((golden / "reward.json").string());
  for (const std::string name : {"full", "lora"}) {
    Json spec = {{"kind", "checkpoint"}, {"model_digest", "x"}};
    std::map<std::string, fs::path> paths = {{"model", golden / "tiny_reward"}};
    if (name == "lora") {
      spec["adapter_digest"] = "y";
      paths = {{"model", golden / "tiny_llama"}, {"adapter", golden / "tiny_reward_lora"}};
    }
    std::vector<RewardRequest> asked;
    for (const Json& text : runs[name]["texts"]) {
      asked.push_back({text["prompt"], text["completion"]});
    }
    for (const double sign : {1.0, -1.0}) {
      if (sign < 0) spec["positive_is_good"] = false;
      spec["scale"] = "probability";
      const RewardFunction reward = *load(spec, paths);
      spec["scale"] = "logit";
      const RewardFunction raw = *load(spec, paths);
      EXPECT_TRUE(reward.needs_prompt());
      const std::vector<double> got = *reward.score(asked);
      const std::vector<double> logits = *raw.score(asked);
      for (size_t i = 0; i < asked.size(); ++i) {
        const double theirs = sign * runs[name]["texts"][i]["reward"].get<double>();
        EXPECT_NEAR(logits[i], theirs, 2e-5) << name << i;
        EXPECT_NEAR(got[i], 1 / (1 + std::exp(-theirs)), 1e-5) << name << i;
      }
    }
  }
}

}  // namespace
}  // namespace candor
