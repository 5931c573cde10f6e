#include "formats/preferences.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "formats/gzip.h"
#include "formats/records.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

PreferencePair pair_of(const char* json) {
  Result<PreferencePair> pair = preference_of_record(Json::parse(json), "in.jsonl:4");
  EXPECT_TRUE(pair.ok()) << json << ": " << (pair.ok() ? "" : pair.error().message);
  return pair.ok() ? *pair : PreferencePair{};
}

void expect_pair(const char* json, const PreferencePair& expected) {
  const PreferencePair pair = pair_of(json);
  EXPECT_EQ(pair.prompt, expected.prompt) << json;
  EXPECT_EQ(pair.chosen, expected.chosen) << json;
  EXPECT_EQ(pair.rejected, expected.rejected) << json;
}

// The same comparison in every form of record reads as the same pair.
TEST(Preferences, EveryFormat) {
  const PreferencePair expected{"Hi\n\nHello!\n\nHow are you?", "Fine.", "Go away."};
  expect_pair(
      R"({"chosen":"\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: How are you?\n\nAssistant: Fine.",
        "rejected":"\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: How are you?\n\nAssistant: Go away."})",
      expected);
  expect_pair(
      R"({"prompt":"\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: How are you?\n\nAssistant:",
        "chosen":"Fine.","rejected":"Go away."})",
      expected);
  expect_pair(R"({"prompt":"Hi\n\nHello!\n\nHow are you?","chosen":"Fine.","rejected":"Go away."})",
              expected);
  expect_pair(
      R"({"prompt":[{"role":"system","content":"Be kind."},{"role":"user","content":"Hi"},
        {"role":"assistant","content":"Hello!"},{"role":"user","content":"How are you?"}],
        "chosen":[{"role":"assistant","content":"Fine."}],
        "rejected":[{"role":"assistant","content":"Go away."}]})",
      expected);
  expect_pair(
      R"({"chosen":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello!"},
        {"role":"user","content":"How are you?"},{"role":"assistant","content":"Fine."}],
        "rejected":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello!"},
        {"role":"user","content":"How are you?"},{"role":"assistant","content":"Go away."}]})",
      expected);
  expect_pair(R"({"chosen":"Fine.","rejected":"Go away."})", {"", "Fine.", "Go away."});
}

// HH pairs may part before the last turn: what follows the fork are the completions.
TEST(Preferences, DialoguesThatForkEarly) {
  expect_pair(
      R"({"chosen":"\n\nHuman: Hi\n\nAssistant: A\n\nHuman: B\n\nAssistant: C",
        "rejected":"\n\nHuman: Hi\n\nAssistant: X"})",
      {"Hi", "A\n\nB\n\nC", "X"});
  // One dialogue is the beginning of the other: each keeps a turn of its own.
  expect_pair(
      R"({"chosen":"\n\nHuman: Hi\n\nAssistant: A","rejected":"\n\nHuman: Hi\n\nAssistant: A\n\nHuman: B"})",
      {"Hi", "A", "A\n\nB"});
}

TEST(Preferences, Comparisons) {
  const char* record =
      R"({"info":{"id":"t3_1","post":"I lost it.","title":"Lost","subreddit":"advice"},
        "summaries":[{"text":" a","policy":"p"},{"text":" b"}],"choice":%,"worker":"w"})";
  for (const int choice : {0, 1}) {
    std::string text = record;
    text.replace(text.find('%'), 1, std::to_string(choice));
    expect_pair(text.c_str(), {"SUBREDDIT: r/advice\n\nTITLE: Lost\n\nPOST: I lost it.\n\nTL;DR:",
                               choice == 0 ? " a" : " b", choice == 0 ? " b" : " a"});
  }
  expect_pair(R"({"info":{"article":"News."},"summaries":[{"text":"a"},{"text":"b"}],"choice":1})",
              {"News.", "b", "a"});
}

TEST(Preferences, BadRecords) {
  const auto expect = [](const char* json, const char* part) {
    const Result<PreferencePair> pair = preference_of_record(Json::parse(json), "in.jsonl:4");
    ASSERT_FALSE(pair.ok()) << json;
    EXPECT_TRUE(pair.error().message.starts_with("in.jsonl:4: ")) << pair.error().message;
    EXPECT_NE(pair.error().message.find(part), std::string::npos) << pair.error().message;
  };
  expect("[]", "expected \"chosen\"");
  expect(R"({"text":"a","label":1})", "has the fields label, text");
  expect(R"({"chosen":"a"})", "$.rejected: is missing");
  expect(R"({"chosen":"a","rejected":3})", "$.rejected: found 3");
  expect(R"({"chosen":"\n\nHuman: a\n\nAssistant: b","rejected":"b"})", "$.rejected: found \"b\"");
  expect(R"({"chosen":[{"role":"user","content":"a"}],"rejected":"b"})", "$.rejected: found \"b\"");
  expect(R"({"chosen":[],"rejected":[]})", "$.chosen: found []");
  expect(R"({"chosen":[{"role":"user"}],"rejected":[]})", "$.chosen[0].content");
  expect(R"({"summaries":[],"choice":0})", "$.info");
  expect(R"({"info":{"post":"p"},"summaries":[{"text":"a"}],"choice":0})", "two summaries");
  expect(R"({"info":{"post":"p"},"summaries":[{"text":"a"},{"txt":"b"}],"choice":0})",
         "$.summaries[1]: $.text: is missing");
  expect(R"({"info":{"post":"p"},"summaries":[{"text":"a"},{"text":"b"}],"choice":2})",
         "$.choice: found 2");
  expect(R"({"info":{},"summaries":[{"text":"a"},{"text":"b"}],"choice":0})", "\"article\"");
}

class PreferenceFiles : public testing::Test {
 protected:
  PreferenceFiles() : folder_(fs::path(testing::TempDir()) / "candor-preferences-test") {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~PreferenceFiles() override { fs::remove_all(folder_); }
  [[nodiscard]] fs::path write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return folder_ / name;
  }
  // "{}" lines packed by gzip(1).
  [[nodiscard]] fs::path packed(const std::string& name, const std::string& bytes) const {
    const fs::path plain = write(name, bytes);
    EXPECT_EQ(std::system(("gzip -nf '" + plain.string() + "'").c_str()), 0);
    return folder_ / (name + ".gz");
  }
  fs::path folder_;
};

TEST_F(PreferenceFiles, LinesCsvAndGzip) {
  const std::string lines =
      "{\"prompt\":\"p\",\"chosen\":\"a\",\"rejected\":\"b\"}\n"
      "{\"prompt\":\"p\",\"chosen\":\"same\",\"rejected\":\"same\"}\n";
  const std::string csv = "rejected,id,chosen,prompt\nb,1,a,p\nsame,2,same,p\n";
  for (const fs::path& path : {write("a.jsonl", lines), packed("b.jsonl", lines),
                               write("a.csv", csv), packed("b.csv", csv)}) {
    const Result<PreferenceData> data = read_preferences(path);
    ASSERT_TRUE(data.ok()) << data.error().message;
    ASSERT_EQ(data->pairs.size(), 1U) << path;
    EXPECT_EQ(data->equal_count, 1);
    EXPECT_EQ(data->pairs[0].prompt, "p");
    EXPECT_EQ(data->pairs[0].chosen, "a");
    EXPECT_EQ(data->pairs[0].rejected, "b");
  }
  const auto expect = [&](const fs::path& path, const char* part) {
    const Result<PreferenceData> data = read_preferences(path);
    ASSERT_FALSE(data.ok()) << path;
    EXPECT_NE(data.error().message.find(part), std::string::npos) << data.error().message;
  };
  expect(write("a.txt", lines), "expected a name ending in");
  expect(write("c.csv", "chosen,label\na,1\n"), "c.csv:1: has the columns chosen, label");
  expect(write("c.jsonl", "{\"chosen\":\"a\",\"rejected\":\"b\"}\n{\"chosen\":\"a\"}\n"),
         "c.jsonl:2: $.rejected");
  expect(write("d.jsonl", "{\"chosen\":\"a\",\"rejected\":\"a\"}\n"), "no pair of two different");
}

// Unpacked bytes are the packed ones; every cut and every flipped byte is an error or changes
// nothing that is read (the header's time and name are not checked by gzip).
TEST_F(PreferenceFiles, GzipIsChecked) {
  std::string text;
  for (int i = 0; i < 40000; ++i) text += "line " + std::to_string(i) + "\n";
  const std::string bytes = *read_record_file(write("raw", text));
  const fs::path path = packed("t.jsonl", text);
  EXPECT_EQ(bytes, text);
  EXPECT_EQ(*read_record_file(path), text);
  std::ifstream in(path, std::ios::binary);
  const std::string gz((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  EXPECT_EQ(*gunzip_bytes(gz + gz, "two members", 1 << 30), text + text);
  const auto expect = [](const std::string& packed_bytes, uint64_t limit, const char* part) {
    const Result<std::string> out = gunzip_bytes(packed_bytes, "x.gz", limit);
    ASSERT_FALSE(out.ok()) << part;
    EXPECT_NE(out.error().message.find(part), std::string::npos) << out.error().message;
  };
  expect("", 100, "cut short");
  expect("not gzip", 100, "not valid gzip");
  expect(gz.substr(0, gz.size() - 1), 1 << 30, "cut short");
  expect(gz.substr(0, gz.size() / 2), 1 << 30, "cut short");
  expect(gz + "x", 1 << 30, "cut short");
  expect(gz + "xyz", 1 << 30, "not valid gzip");
  expect(gz, text.size() - 1, "more than");
  for (size_t place = 10; place < gz.size(); place += 997) {
    std::string bad = gz;
    bad[place] = static_cast<char>(bad[place] ^ 0x10);
    const Result<std::string> out = gunzip_bytes(bad, "x.gz", 1 << 30);
    EXPECT_FALSE(out.ok()) << place;
  }
}

// A file may hold pairs and labelled texts; errors still name the line.
TEST_F(PreferenceFiles, PairsAndLabelsMixed) {
  const auto data = read_reward_data(
      {.path = write("m.jsonl",
                     "{\"text\":\"good\",\"label\":1,\"source\":\"s\"}\n"
                     "{\"chosen\":\"a\",\"rejected\":\"b\",\"source\":\"t\"}\n"
                     "{\"text\":\"bad\",\"label\":0}\n{\"chosen\":\"a\",\"rejected\":\"a\"}\n")});
  ASSERT_TRUE(data.ok()) << data.error().message;
  ASSERT_EQ(data->pairs.size(), 1U);
  EXPECT_EQ(data->pairs[0].source, "t");
  EXPECT_EQ(data->equal_count, 1);
  ASSERT_EQ(data->labelled.size(), 2U);
  EXPECT_EQ(data->labelled[0].source, "s");
  EXPECT_EQ(data->labelled[1].label, 0);
  const auto bad = read_reward_data(
      {.path = write("n.jsonl",
                     "{\"chosen\":\"a\",\"rejected\":\"b\"}\n{\"txt\":\"bad\",\"label\":0}\n")});
  ASSERT_FALSE(bad.ok());
  EXPECT_NE(bad.error().message.find("n.jsonl:2: has no field \"text\""), std::string::npos)
      << bad.error().message;
  EXPECT_EQ(read_reward_data({.path = write("p.csv", "chosen,rejected\na,b\n")})->pairs.size(), 1U);
  EXPECT_EQ(read_reward_data({.path = write("l.csv", "text,label\na,1\nb,0\n")})->labelled.size(),
            2U);
}

TEST_F(PreferenceFiles, Demonstrations) {
  const auto data = read_prompt_completions(write(
      "a.jsonl",
      "{\"prompt\":\"p\",\"completion\":\"c\"}\n"
      "{\"post\":\"It broke.\",\"title\":\"Help\",\"subreddit\":\"diy\",\"summary\":\"s\"}\n"
      "{\"prompt\":\"p\",\"summary\":\"s\"}\n"
      "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":"
      "\"a\"}]}\n"));
  ASSERT_TRUE(data.ok()) << data.error().message;
  ASSERT_EQ(data->size(), 4U);
  EXPECT_EQ((*data)[0].completion, "c");
  EXPECT_EQ((*data)[1].prompt, "SUBREDDIT: r/diy\n\nTITLE: Help\n\nPOST: It broke.\n\nTL;DR:");
  EXPECT_EQ((*data)[2].completion, "s");
  EXPECT_EQ((*data)[3].prompt, "q");
  const auto bad = read_prompt_completions(
      write("b.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}\n"));
  ASSERT_FALSE(bad.ok());
  EXPECT_NE(bad.error().message.find("b.jsonl:1: $.messages: ends with a turn of \"user\""),
            std::string::npos)
      << bad.error().message;
}

// What the repository brings reads, and no prompt is both trained on and priced.
TEST(ExampleData, ReadsAndIsDisjoint) {
  const fs::path data = fs::path(CANDOR_SOURCE_DIR) / "examples" / "data";
  EXPECT_EQ(read_reward_data({.path = data / "hh-harmless-base/pairs.jsonl.gz"})->pairs.size(),
            2312U);
  EXPECT_EQ(read_reward_data({.path = data / "colbert-humor/texts.jsonl.gz"})->labelled.size(),
            12000U);
  const std::vector<Json> train = *read_jsonl(data / "conversation/train.jsonl");
  const std::vector<Json> price = *read_jsonl(data / "conversation/price.jsonl");
  EXPECT_EQ(train.size(), 200U);
  EXPECT_EQ(price.size(), 64U);
  for (const Json& prompt : price) {
    EXPECT_EQ(std::ranges::count(train, prompt), 0) << prompt;
    EXPECT_TRUE(messages_of_json(prompt["messages"], "price", "$.messages").ok());
  }
}

}  // namespace
}  // namespace candor
