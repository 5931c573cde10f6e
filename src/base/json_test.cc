#include "base/json.h"

#include <gtest/gtest.h>

#include "base/strings.h"

namespace candor {
namespace {

std::string error_of(std::string_view text) {
  const Result<Json> json = parse_json(text, "f.json");
  return json.ok() ? "" : json.error().message;
}

TEST(Json, RefusesWhatTheLibraryLetsThrough) {
  EXPECT_NE(error_of(R"({"a":1,"a":2})").find("duplicate key \"a\""), std::string::npos);
  EXPECT_NE(error_of("{\"a\":1,\n  \"b\":2,\n  \"b\":3}").find("f.json:3:5: duplicate key \"b\""),
            std::string::npos);
  EXPECT_NE(error_of(R"({"a":{"b":1,"b":2}})").find("duplicate key \"b\""), std::string::npos);
  EXPECT_NE(error_of("[1e999]").find("number overflow"), std::string::npos);
  EXPECT_NE(error_of("{\"a\":\n NaN}").find("f.json:2:"), std::string::npos);
  EXPECT_NE(error_of("{} x"), "");
  EXPECT_NE(error_of(""), "");
  EXPECT_NE(error_of(std::string(200, '[')).find("nested deeper"), std::string::npos);
  EXPECT_EQ(error_of(R"({"a":{"x":1},"b":{"x":1}})"), "");
}

TEST(Json, DoublesRoundTrip) {
  for (const double value : {0.1, 1.0 / 3, 5e-324, 1.7976931348623157e308, -0.0, 1e-300}) {
    const Result<Json> json = parse_json(to_line(Json(value)), "f");
    ASSERT_TRUE(json.ok());
    EXPECT_EQ(json->get<double>(), value);
  }
}

std::string schema_error(std::string_view text) {
  const Json json = *parse_json(text, "f.json");
  JsonReader in(json, "f.json");
  in.text("name");
  in.integer("size", 1, 100);
  in.number_or("lambda", 1.0, 0.0);
  for (JsonReader& child : in.objects("groups")) {
    child.integer("size", 1, 9);
    if (Status status = child.finish(); !status.ok()) return status.error().message;
  }
  const Status status = in.finish();
  return status.ok() ? "" : status.error().message;
}

TEST(JsonReader, NamesPathValueAndWhatIsAllowed) {
  EXPECT_EQ(schema_error(R"({"name":"a","size":3.0,"groups":[{"size":2}]})"), "");
  EXPECT_EQ(schema_error(R"({"name":"a","size":1.5,"groups":[]})"),
            "f.json: $.size: found 1.5; expected a whole number from 1 to 100");
  EXPECT_EQ(schema_error(R"({"name":"a","size":3,"groups":[{"size":2},{"size":0}]})"),
            "f.json: $.groups[1].size: found 0; expected a whole number from 1 to 9");
  EXPECT_EQ(schema_error(R"({"name":"a","groups":[]})"), "f.json: $.size: is missing");
  EXPECT_EQ(schema_error(R"({"name":"a","size":3,"groups":[],"lamda":2})"),
            "f.json: $.lamda: is not a known key; did you mean \"lambda\"?");
  EXPECT_EQ(schema_error(R"({"name":"","size":3,"groups":[]})"),
            "f.json: $.name: found \"\"; expected a non-empty string");
  EXPECT_EQ(schema_error(R"({"name":"a","size":18446744073709551615,"groups":[]})"),
            "f.json: $.size: found 18446744073709551615; expected a whole number from 1 to 100");
  EXPECT_EQ(schema_error("[]"), "f.json: $: found an array; expected an object");
}

TEST(JsonReader, NamesLinesWhereThereAreSome) {
  const Json json = *parse_json(R"({"groups":[{"size":0}]})", "f");
  auto lines = std::make_shared<JsonReader::Lines>();
  (*lines)["$.groups[0]"] = 7;
  JsonReader in(json, "s.yaml", "$", lines);
  in.objects("groups")[0].integer("size", 1, 9);
  EXPECT_EQ(in.finish().error().message,
            "s.yaml:7: groups[0].size: found 0; expected a whole number from 1 to 9");
}

}  // namespace
}  // namespace candor
