#include "worker/remote_reward.h"

#include <httplib.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>
#include <utility>

#include "base/interrupt.h"
#include "base/json.h"
#include "base/strings.h"
#include "worker/reward_models.h"

namespace candor {

namespace {

using Clock = std::chrono::steady_clock;

struct Url {
  std::string origin;  // "http://host:5000"
  std::string path;    // "/get_reward"
};

Result<Url> parse_url(const std::string& url) {
  const size_t scheme = url.find("://");
  const std::string name = url.substr(0, scheme == std::string::npos ? 0 : scheme);
  const size_t slash = scheme == std::string::npos ? scheme : url.find('/', scheme + 3);
  const bool plain = std::ranges::all_of(url, [](char c) { return c > ' ' && c < 127; });
  if ((name != "http" && name != "https") || slash == std::string::npos || slash == scheme + 3 ||
      !plain || url.find('@') != std::string::npos) {
    return invalid_argument(
        str_cat("url: found ", quote(url), "; expected http://HOST:PORT/PATH, or https"));
  }
  return Url{url.substr(0, slash), url.substr(slash)};
}

std::chrono::microseconds duration_of(double seconds) {
  return std::chrono::microseconds(static_cast<int64_t>(seconds * 1e6));
}

// One request's answer, or why there is none.
struct Answer {
  std::optional<std::string> body;
  std::string problem;
  bool again = false;  // whether asking once more may help
};

Answer post_once(httplib::Client& client, const Url& url, const std::string& body,
                 double timeout_s) {
  const Clock::time_point begin = Clock::now();
  const httplib::Result result = client.Post(url.path, body, "application/json");
  if (!result) {
    const std::chrono::duration<double> waited = Clock::now() - begin;
    const bool late = waited.count() >= 0.95 * timeout_s;
    return {.body = {},
            .problem = late ? str_cat("no answer within ", format_short(timeout_s), " s")
                            : str_cat("no answer (", httplib::to_string(result.error()), ")"),
            .again = true};
  }
  if (result->status == 200) return {.body = result->body, .problem = {}};
  return {.body = {},
          .problem = str_cat("status ", result->status, ", ", quote(result->body, 120)),
          .again = result->status == 429 || result->status >= 500};
}

Result<std::string> post(httplib::Client& client, const Url& url, const RemoteReward& remote,
                         const std::string& body) {
  for (int64_t attempt = 1;; ++attempt) {
    CANDOR_RETURN_IF_ERROR(check_interrupted());
    Answer answer = post_once(client, url, body, remote.timeout_s);
    if (answer.body.has_value()) return std::move(*answer.body);
    if (!answer.again) return invalid_argument(str_cat(remote.url, ": ", answer.problem));
    if (attempt >= remote.attempts) {
      return resource_error(str_cat(remote.url, ": ", answer.problem, " (", attempt,
                                    attempt == 1 ? " attempt)" : " attempts)"));
    }
    std::this_thread::sleep_for(duration_of(remote.pause_s));
  }
}

Result<std::vector<double>> rewards_of(const std::string& body, const std::string& url,
                                       size_t expected) {
  CANDOR_TRY(const Json json, parse_json(body, url));
  if (!json.is_object() || !json.contains("rewards") || !json["rewards"].is_array()) {
    return invalid_argument(
        str_cat(url, ": the answer has no list \"rewards\": ", quote(json.dump(), 120)));
  }
  const Json& rewards = json["rewards"];
  if (rewards.size() != expected) {
    return invalid_argument(
        str_cat(url, ": $.rewards: found ", rewards.size(), "; ", expected, " were asked for"));
  }
  std::vector<double> out;
  for (size_t i = 0; i < rewards.size(); ++i) {
    if (!rewards[i].is_number() || !std::isfinite(rewards[i].get<double>())) {
      return invalid_argument(str_cat(url, ": $.rewards[", i, "]: found ",
                                      rewards[i].dump().substr(0, 60),
                                      "; expected a finite number"));
    }
    out.push_back(rewards[i].get<double>());
  }
  return out;
}

std::string request_body(std::span<const PromptedText> texts) {
  Json query = Json::array();
  Json prompts = Json::array();
  Json labels = Json::array();
  for (const PromptedText& text : texts) {
    query.push_back(text.prompt + text.completion);
    prompts.push_back(text.prompt);
    labels.push_back("");
  }
  return to_line({{"query", query}, {"prompts", prompts}, {"labels", labels}});
}

class RemoteRewardModel final : public RewardModel {
 public:
  explicit RemoteRewardModel(RemoteReward remote) : remote_(std::move(remote)) {}
  [[nodiscard]] bool needs_prompt() const override { return true; }
  [[nodiscard]] Result<std::vector<double>> score(std::span<const RewardRequest> requests,
                                                  const ProgressSink& progress) const override {
    return ask_remote_reward(remote_, requests, progress);
  }

 private:
  RemoteReward remote_;
};

}  // namespace

Status check_remote_url(const std::string& url) {
  CANDOR_TRY(const Url parsed, parse_url(url));
  (void)parsed;
  return {};
}

Result<std::vector<double>> ask_remote_reward(const RemoteReward& remote,
                                              std::span<const PromptedText> texts,
                                              const ProgressSink& progress) {
  CANDOR_TRY(const Url url, parse_url(remote.url));
  httplib::Client client(url.origin);
  if (!client.is_valid()) return invalid_argument(str_cat(remote.url, ": no such host or port"));
  const std::chrono::microseconds timeout = duration_of(remote.timeout_s);
  client.set_connection_timeout(timeout);
  client.set_read_timeout(timeout);
  client.set_write_timeout(timeout);
  client.set_keep_alive(true);
  std::vector<double> out;
  const auto batch = static_cast<size_t>(remote.batch);
  for (size_t begin = 0; begin < texts.size(); begin += batch) {
    const std::span<const PromptedText> asked =
        texts.subspan(begin, std::min(batch, texts.size() - begin));
    CANDOR_TRY(const std::string body, post(client, url, remote, request_body(asked)));
    CANDOR_TRY(const std::vector<double> rewards, rewards_of(body, remote.url, asked.size()));
    out.insert(out.end(), rewards.begin(), rewards.end());
    if (progress) progress(out.size(), texts.size(), "texts rewarded");
  }
  return out;
}

LoadedReward load_remote_reward(JsonReader& spec) {
  RemoteReward remote;
  remote.url = spec.text("url");
  if (spec.text("version").empty() && spec.ok()) {
    spec.fail("version", "found \"\"; expected what tells this server's model from another");
  }
  remote.batch = spec.integer_or("batch", remote.batch, 1, 1 << 16);
  remote.timeout_s = spec.number_or("timeout_s", remote.timeout_s, 0.001, 86400);
  remote.attempts = spec.integer_or("attempts", remote.attempts, 1, 1000);
  CANDOR_RETURN_IF_ERROR(spec.status());
  if (const Status status = check_remote_url(remote.url); !status.ok()) {
    return spec.error_at("url", status.error().message.substr(5));
  }
  return {std::make_shared<const RemoteRewardModel>(std::move(remote))};
}

}  // namespace candor
