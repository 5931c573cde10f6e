#include "base/json_shape.h"

#include <gtest/gtest.h>

namespace candor {
namespace {

std::string error_of(const char* json, const char* shape) {
  const Status status = check_shape(Json::parse(json), Json::parse(shape), "f.json");
  return status.ok() ? "" : status.error().message;
}

TEST(JsonShape, NamesThePlaceThatIsOtherwise) {
  constexpr const char* kShape =
      R"({"name":"text","groups":[{"size":"whole","payment?":"number?","*":"any"}],"ok":"truth"})";
  EXPECT_EQ(error_of(R"({"name":"a","groups":[],"ok":true,"more":1})", kShape), "");
  EXPECT_EQ(
      error_of(R"({"name":"a","groups":[{"size":1},{"size":2,"payment":null}],"ok":true})", kShape),
      "");
  EXPECT_EQ(error_of(R"({"name":"a","groups":[{"size":1.5}],"ok":true})", kShape),
            "f.json: $.groups[0].size: found 1.5; expected a whole number");
  EXPECT_EQ(error_of(R"({"name":"a","groups":[{"size":1,"payment":"3"}],"ok":true})", kShape),
            "f.json: $.groups[0].payment: found \"3\"; expected a number or null");
  EXPECT_EQ(error_of(R"({"name":"a","groups":{},"ok":true})", kShape),
            "f.json: $.groups: found object; expected an array");
  EXPECT_EQ(error_of(R"({"name":"a","groups":[7],"ok":true})", kShape),
            "f.json: $.groups[0]: found 7; expected an object");
  EXPECT_EQ(error_of(R"({"name":"a","groups":[]})", kShape), "f.json: $.ok: is missing");
  EXPECT_EQ(error_of(R"({"name":null,"groups":[],"ok":true})", kShape),
            "f.json: $.name: found null; expected a text");
}

TEST(JsonShape, OtherKeysHaveAShapeToo) {
  EXPECT_EQ(error_of(R"({"a":1,"b":2})", R"({"*":"number"})"), "");
  EXPECT_EQ(error_of(R"({"a":1,"b":"2"})", R"({"*":"number"})"),
            "f.json: $.b: found \"2\"; expected a number");
  EXPECT_EQ(error_of(R"({"a":"x","b":2})", R"({"a":"text","*":"number"})"), "");
}

}  // namespace
}  // namespace candor
