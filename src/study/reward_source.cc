#include "study/reward_source.h"

#include <algorithm>

#include "base/strings.h"

namespace candor {

namespace {

const std::vector<std::string> kRewardKinds = {"labelled", "preference",    "head",       "brevity",
                                               "lexicon",  "linear_ngrams", "checkpoint", "remote"};
const std::vector<std::string> kFeatures = {"completion", "prompt_completion"};
const std::vector<std::string> kScales = {"probability", "logit"};

void read_training(JsonReader& in, bool labelled, RewardSource& out) {
  out.data = in.text("data");
  if (labelled) {
    out.text_field = in.text_or("text_field", out.text_field);
    out.label_field = in.text_or("label_field", out.label_field);
    if (in.has("positive_values")) out.positive_values = in.texts("positive_values");
  }
  out.prompt_field = in.text_or("prompt_field", "");
  out.features = in.choice_or("features", out.features, kFeatures);
  out.max_texts = in.integer_or("max_texts", 0, 0, INT64_MAX);
  out.balance = in.boolean_or("balance", true);
  out.l2 = in.number_or("l2", 1e-3, 1e-12, 1e6);
}

void read_checkpoint(JsonReader& in, RewardSource& out) {
  out.model = in.text("model");
  out.adapter = in.text_or("adapter", "");
  out.scale = in.choice_or("scale", out.scale, kScales);
  out.positive_is_good = in.boolean_or("positive_is_good", true);
}

void read_remote(JsonReader& in, RewardSource& out) {
  out.url = in.text("url");
  out.version = in.text("version");
  if (in.ok() && out.version.empty()) {
    in.fail("version", "found \"\"; expected what tells this server's model from another");
  }
  out.remote_batch = in.integer_or("batch", out.remote_batch, 1, 1 << 16);
  out.timeout_s = in.number_or("timeout_s", out.timeout_s, 0.001, 86400);
  out.attempts = in.integer_or("attempts", out.attempts, 1, 1000);
}

}  // namespace

const std::vector<std::string>& reward_kind_names() { return kRewardKinds; }

RewardSource read_reward_source(JsonReader& group, const std::string& key) {
  JsonReader in = group.object(key);
  RewardSource out;
  const std::string known = in.choice("kind", kRewardKinds);
  out.kind = static_cast<RewardSource::Kind>(std::ranges::find(kRewardKinds, known) -
                                             kRewardKinds.begin());
  if (out.trained() || known == "head") {
    out.encoder = in.text("encoder");
    out.scale = in.choice_or("scale", out.scale, kScales);
    // Of a pair one text is the better one: there is no other way round.
    if (known != "preference") out.positive_is_good = in.boolean_or("positive_is_good", true);
  }
  if (known == "head") out.head = in.text("head");
  if (out.trained()) read_training(in, known == "labelled", out);
  if (known == "linear_ngrams") {
    out.model = in.text("model");
    out.label_class = in.text("class");
  }
  if (known == "checkpoint") read_checkpoint(in, out);
  if (known == "remote") read_remote(in, out);
  if (known == "brevity") out.scale_words = in.number_or("scale_words", 20, 1e-3, 1e9);
  if (known == "lexicon") out.lexicon = in.text("lexicon");
  group.adopt(in.finish());
  return out;
}

Json reward_source_json(const RewardSource& reward) {
  Json out = {{"kind", kRewardKinds[static_cast<size_t>(reward.kind)]}};
  if (reward.kind == RewardSource::Kind::kLabelled) {
    out.update({{"text_field", reward.text_field},
                {"label_field", reward.label_field},
                {"positive_values", reward.positive_values}});
  }
  if (reward.trained()) {
    out.update({{"data", reward.data},
                {"prompt_field", reward.prompt_field},
                {"features", reward.features},
                {"max_texts", reward.max_texts},
                {"balance", reward.balance},
                {"l2", reward.l2}});
  }
  if (!reward.encoder.empty()) {
    out["encoder"] = reward.encoder;
    out["positive_is_good"] = reward.positive_is_good;
    out["scale"] = reward.scale;
  }
  if (!reward.model.empty()) out["model"] = reward.model;
  if (!reward.label_class.empty()) out["class"] = reward.label_class;
  if (reward.kind == RewardSource::Kind::kCheckpoint) {
    if (!reward.adapter.empty()) out["adapter"] = reward.adapter;
    out["positive_is_good"] = reward.positive_is_good;
    out["scale"] = reward.scale;
  }
  if (reward.kind == RewardSource::Kind::kRemote) {
    out.update({{"url", reward.url},
                {"version", reward.version},
                {"batch", reward.remote_batch},
                {"timeout_s", reward.timeout_s},
                {"attempts", reward.attempts}});
  }
  if (!reward.head.empty()) out["head"] = reward.head;
  if (!reward.lexicon.empty()) out["lexicon"] = reward.lexicon;
  if (reward.kind == RewardSource::Kind::kBrevity) out["scale_words"] = reward.scale_words;
  return out;
}

}  // namespace candor
