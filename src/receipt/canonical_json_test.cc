#include "receipt/canonical_json.h"

#include <gtest/gtest.h>

namespace candor {
namespace {

TEST(CanonicalJson, OneByteString) {
  const Json a = *parse_json(R"({ "b": [1, -2, "x\u00e9\n"], "a": {"d":null,"c":true} })", "t");
  EXPECT_EQ(*canonical_json(a), "{\"a\":{\"c\":true,\"d\":null},\"b\":[1,-2,\"x\xc3\xa9\\n\"]}");
}

TEST(CanonicalJson, RefusesFloatsAndBrokenText) {
  EXPECT_NE(canonical_json(*parse_json(R"({"a":[1,2.5]})", "t")).error().message.find("$.a[1]"),
            std::string::npos);
  EXPECT_FALSE(canonical_json(Json("\xff")).ok());
}

TEST(Digest, OfBytes) {
  EXPECT_EQ(digest_of("abc"),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace candor
