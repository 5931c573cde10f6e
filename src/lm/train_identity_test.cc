// What a checkpoint must share with the run that goes on from it: all that changes a byte.
#include "lm/train_identity.h"

#include <gtest/gtest.h>

#include "lm/encoder_reward.h"
#include "lm/reward_tuning_settings.h"
#include "lm/rlhf_settings.h"
#include "lm/sft_settings.h"
#include "lm/trainable_decoder.h"

namespace candor {
namespace {

const TrainInputs kInputs = {{"model", "sha256:m"}, {"data", "sha256:d"}};

// Another value of any kind of setting.
template <typename T>
void change(const Field& about, T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    value = !value;
  } else if constexpr (std::is_enum_v<T>) {
    value = static_cast<T>((static_cast<size_t>(value) + 1) % about.choices().size());
  } else if constexpr (std::is_arithmetic_v<T>) {
    value = value == 0 ? T{1} : static_cast<T>(value * 2);
  } else if constexpr (std::is_same_v<T, std::string>) {
    value += "x";
  } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
    value.emplace_back("up_proj");
  } else {
    value.emplace();  // optional settings
  }
}

template <typename Settings>
Json identity_with(const Settings& settings) {
  TrainIdentity out("sft", 2, kInputs);
  out.add_settings("own", settings);
  return out.json();
}

// Each field of the struct, changed alone, makes another identity, and is named with both values.
template <typename Settings>
void every_field_counts(const Settings& base) {
  TrainIdentity own("sft", 2, kInputs);
  own.add_settings("own", base);
  EXPECT_TRUE(own.check(identity_with(base), "c").ok());
  size_t fields = 0;
  std::apply(
      [&](const auto&... one) {
        const auto count = [&](const auto& field) {
          ++fields;
          Settings changed = base;
          change(field.about, changed.*field.member);
          const Status status = own.check(identity_with(changed), "c.safetensors");
          ASSERT_FALSE(status.ok()) << field.about.name;
          EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
          const std::string& message = status.error().message;
          const std::string name = str_cat("settings.own.", field.about.name);
          EXPECT_NE(message.find("c.safetensors: is another run's checkpoint: " + name),
                    std::string::npos)
              << message;
          EXPECT_NE(message.find(" there and "), std::string::npos) << message;
        };
        (count(one), ...);
      },
      Settings::fields());
  EXPECT_EQ(fields, internal::member_count<Settings>());
}

TEST(TrainIdentity, HoldsEverySetting) {
  every_field_counts(SftSettings{});
  every_field_counts(RewardTuning{});
  every_field_counts(RlhfSettings{});
  every_field_counts(LoraSettings{});
  every_field_counts(TrainableOptions{});
  every_field_counts(EncoderRewardOptions{});
}

// The settings of an adapter inside the model's: not only whether there is one.
TEST(TrainIdentity, HoldsTheSettingsOfTheAdapter) {
  TrainableOptions eight = {.lora = LoraSettings{.lora_alpha = 8}};
  TrainableOptions more = {.lora = LoraSettings{.lora_alpha = 800}};
  TrainIdentity own("sft", 2, kInputs);
  own.add_settings("model", more);
  TrainIdentity saved("sft", 2, kInputs);
  saved.add_settings("model", eight);
  const Status status = own.check(saved.json(), "c");
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().message,
            "c: is another run's checkpoint: settings.model.lora.lora_alpha is 8.0 there and 800.0 "
            "here; give what it was made with, or another folder");
}

TEST(TrainIdentity, HoldsInputsTrainerAndMachine) {
  const TrainIdentity own("sft", 2, kInputs);
  const auto refused = [&](const TrainIdentity& saved) {
    const Status status = own.check(saved.json(), "c");
    return status.ok() ? std::string() : status.error().message;
  };
  EXPECT_EQ(refused(TrainIdentity("sft", 2, kInputs)), "");
  EXPECT_NE(refused(TrainIdentity("rlhf", 2, kInputs)).find("trainer is \"rlhf\" there"),
            std::string::npos);
  EXPECT_NE(refused(TrainIdentity("sft", 4, kInputs)).find("machine.threads is 4 there and 2 here"),
            std::string::npos);
  TrainInputs other = kInputs;
  other["model"] = "sha256:n";
  EXPECT_NE(refused(TrainIdentity("sft", 2, other)).find("inputs.model is \"sha256:n\" there"),
            std::string::npos);
  TrainInputs more = kInputs;
  more["adapter"] = "sha256:a";
  EXPECT_NE(refused(TrainIdentity("sft", 2, more))
                .find("inputs.adapter is \"sha256:a\" there and none here"),
            std::string::npos);
  EXPECT_NE(refused(TrainIdentity("sft", 2, {{"data", "sha256:d"}}))
                .find("inputs.model is none there and \"sha256:m\" here"),
            std::string::npos);
  for (const char* key :
       {"device_class", "instruction_set", "cpu_vendor", "torch", "aten", "threads"}) {
    Json saved = own.json();
    ASSERT_TRUE(saved["machine"].contains(key)) << key;
    saved["machine"][key] = "another";
    EXPECT_FALSE(own.check(saved, "c").ok()) << key;
  }
  EXPECT_EQ(own.json()["machine"]["device_class"], "cpu");
  for (const Json& damaged : {Json(), Json(3), Json::array(), Json("x")}) {
    EXPECT_FALSE(own.check(damaged, "c").ok());
  }
}

}  // namespace
}  // namespace candor
