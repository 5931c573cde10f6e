#include "base/fields.h"

#include <gtest/gtest.h>

namespace candor {
// Types with linkage: clang refuses the undefined conversion to one without.
namespace fields_test {

enum class Colour { kRed, kGreen };
const std::vector<std::string>& colour_names() {
  static const std::vector<std::string> kNames = {"red", "green"};
  return kNames;
}

struct Inner {
  double weight = 2;

  static constexpr auto fields() {
    return std::tuple(field(&Inner::weight, {.name = "weight", .range = {0, 10}}));
  }
};
struct Sample {
  double rate = 0.5;
  int64_t steps = 3;
  int threads = 1;
  bool fast = false;
  Colour colour = Colour::kGreen;
  std::string name = "x";
  std::vector<std::string> parts = {"a"};
  std::optional<Inner> inner = {};
  uint64_t seed = 1;

  static constexpr auto fields() {
    return std::tuple(field(&Sample::rate, {.name = "rate", .range = {0, 1, true}}),
                      field(&Sample::steps, {.name = "steps", .range = {1, 100}}),
                      field(&Sample::threads, {.name = "threads", .of_run = true}),
                      field(&Sample::fast, {.name = "fast"}),
                      field(&Sample::colour, {.name = "colour", .choices = colour_names}),
                      field(&Sample::name, {.name = "name"}),
                      field(&Sample::parts, {.name = "parts"}),
                      field(&Sample::inner, {.name = "inner"}),
                      field(&Sample::seed, {.name = "seed", .of_run = true}));
  }
};
static_assert(lists_every_member<Sample>() && lists_every_member<Inner>());

struct Forgetful {
  double rate = 0;
  bool fast = false;

  static constexpr auto fields() { return std::tuple(field(&Forgetful::rate, {.name = "rate"})); }
};
static_assert(!lists_every_member<Forgetful>(), "a member that is not listed is noticed");

TEST(Fields, GoOutAsJson) {
  Sample sample;
  EXPECT_EQ(fields_json(sample), Json::parse(R"({"rate":0.5,"steps":3,"threads":1,"fast":false,
    "colour":"green","name":"x","parts":["a"],"inner":null,"seed":1})"));
  sample.inner = Inner{};
  EXPECT_EQ(fields_json(sample)["inner"], Json::parse(R"({"weight":2.0})"));
}

std::string read_error(const char* text, Sample& sample) {
  const Json json = Json::parse(text);
  JsonReader in(json, "s.json");
  read_fields(in, sample);
  const Status status = in.finish();
  return status.ok() ? "" : status.error().message;
}

TEST(Fields, ComeInFromJsonInTheirRanges) {
  Sample sample;
  EXPECT_EQ(read_error(R"({"rate":1,"steps":7.0,"fast":true,"colour":"red","name":"y",
    "parts":["b","c"]})",
                       sample),
            "");
  EXPECT_EQ(sample.rate, 1);
  EXPECT_EQ(sample.steps, 7);
  EXPECT_TRUE(sample.fast);
  EXPECT_EQ(sample.colour, Colour::kRed);
  EXPECT_EQ(sample.parts.size(), 2U);
  EXPECT_EQ(read_error("{}", sample), "");
  EXPECT_EQ(sample.steps, 7) << "what is absent stays as it is";
  EXPECT_EQ(read_error(R"({"rate":0})", sample),
            "s.json: $.rate: found 0; expected a finite number above 0, at most 1");
  EXPECT_EQ(read_error(R"({"steps":101})", sample),
            "s.json: $.steps: found 101; expected a whole number from 1 to 100");
  EXPECT_NE(read_error(R"({"colour":"grean"})", sample).find("did you mean \"green\""),
            std::string::npos);
  EXPECT_NE(read_error(R"({"seed":3})", sample).find("not a known key"), std::string::npos);
}

TEST(Fields, AreCheckedByName) {
  Sample sample;
  EXPECT_TRUE(check_fields(sample).ok());
  sample.rate = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(check_fields(sample).error().message,
            "rate: found nan; expected a finite number above 0, at most 1");
  sample.rate = 1;
  sample.steps = 0;
  EXPECT_EQ(check_fields(sample).error().message,
            "steps: found 0; expected a whole number from 1 to 100");
}

}  // namespace fields_test
}  // namespace candor
