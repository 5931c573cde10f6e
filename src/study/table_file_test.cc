#include "study/table_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/sha256.h"
#include "study/result_files.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

class TableFileTest : public testing::Test {
 protected:
  TableFileTest() {
    std::string pattern = (fs::temp_directory_path() / "candor-table-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~TableFileTest() override { fs::remove_all(folder_); }

  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }
  [[nodiscard]] Result<LoadedTable> load(const std::string& text) const {
    write("table.json", text);
    return load_table((folder_ / "table.json").string());
  }
  [[nodiscard]] Result<std::vector<std::vector<Int128>>> prices(const std::string& text) const {
    write("prices.json", text);
    return load_prices((folder_ / "prices.json").string(), {"a", "b"}, 2);
  }
  fs::path folder_;
};

struct Parts {
  std::string head = R"("candor":"table/1","menu_depends_on_reports":false)";
  std::string candidates =
      R"("candidates":[{"name":"x","divergence":"-5"},{"name":"y","divergence":"7"}])";
  std::string groups = R"("groups":[{"name":"a","size":3,"valuations":["4294967296","0"]},)"
                       R"({"name":"b","size":1,"valuations":["1","2"]}])";
  std::string more = {};

  [[nodiscard]] std::string text() const {
    return "{" + head + "," + candidates + "," + groups + more + "}";
  }
};

// A 2 x 2 matrix of int64 as numpy.save writes it.
std::string npy_of_integers(const std::vector<int64_t>& values) {
  const std::string header = "{'descr': '<i8', 'fortran_order': False, 'shape': (2, 2), }\n";
  std::string bytes("\x93NUMPY\x01\0", 8);
  bytes += static_cast<char>(header.size());
  bytes += '\0';
  bytes += header;
  return bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * 8);
}

TEST_F(TableFileTest, ReadsWithTheDigestOfItsCanonicalForm) {
  const Result<LoadedTable> loaded = load(Parts{}.text());
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  EXPECT_EQ(loaded->table.candidates[0].divergence, -5);
  EXPECT_EQ(loaded->table.groups[1].valuations, (std::vector<int64_t>{1, 2}));
  // Written out by hand: sorted keys, no spaces.
  const std::string canonical =
      R"({"candidates":[{"divergence":"-5","name":"x"},{"divergence":"7","name":"y"}],)"
      R"("candor":"table/1","groups":[{"name":"a","size":3,"valuations":["4294967296","0"]},)"
      R"({"name":"b","size":1,"valuations":["1","2"]}],"menu_depends_on_reports":false})";
  EXPECT_EQ(loaded->digest, "sha256:" + sha256_hex(canonical));
}

TEST_F(TableFileTest, OneTableHasOneDigest) {
  const std::string digest = load(Parts{}.text())->digest;
  write("v.npy", npy_of_integers({kFixedPointOne, 0, 1, 2}));
  const Result<LoadedTable> mapped =
      load(Parts{.groups =
                     R"("groups":[{"name":"a","size":3.0,"valuations":{"file":"v.npy","row":0}},
                        {"valuations":{"file":"v.npy","row":1},"size":1,"name":"b"}])"}
               .text());
  ASSERT_TRUE(mapped.ok()) << mapped.error().message;
  EXPECT_EQ(mapped->digest, digest);
  EXPECT_EQ(
      to_line(settlement_json(mapped->table, digest, settle(mapped->table), true)),
      to_line(settlement_json(load(Parts{}.text())->table, digest, settle(mapped->table), true)));
  // Whatever the table says changes it, provenance too.
  EXPECT_NE(load(Parts{.more = R"(,"provenance":{"seed":1})"}.text())->digest, digest);
  EXPECT_NE(load(Parts{.candidates = R"("candidates":[{"name":"x","divergence":"-5"},
                                        {"name":"y","divergence":"8"}])"}
                     .text())
                ->digest,
            digest);
}

TEST_F(TableFileTest, WhatIsNotMoney) {
  const auto with = [](const std::string& scale) {
    return Parts{.candidates = R"("candidates":[{"name":"x","divergence":"0","digest":"sha256:)" +
                               std::string(64, 'a') + R"("},{"name":"y","divergence":"7"}])",
                 .more = R"(,"max_size":10,"half_widths":[["1","0"],[3,"4294967296"]],)"
                         R"("provenance":{"prompts":"p","scale":)" +
                         scale + "}"}
        .text();
  };
  const Result<LoadedTable> numbers = load(with("[0.25,-1e-300]"));
  ASSERT_TRUE(numbers.ok()) << numbers.error().message;
  EXPECT_EQ(numbers->table.max_size, 10);
  EXPECT_EQ(numbers->digest, load(with(R"(["0.25","-1e-300"])"))->digest);
  EXPECT_NE(numbers->digest, load(with("[0.5,-1e-300]"))->digest);
}

TEST_F(TableFileTest, KnowsWhoseReportsMadeACandidate) {
  const auto made_by = [](const std::string& names) {
    return Parts{.candidates = R"("candidates":[{"name":"x","divergence":"-5","made_by":[)" +
                               names + R"(]},{"name":"y","divergence":"7"}])"}
        .text();
  };
  const auto loaded = load(made_by(R"("a","b")"));
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  EXPECT_EQ(loaded->table.candidates[0].made_by, (std::vector<size_t>{0, 1}));
  EXPECT_TRUE(loaded->table.candidates[1].made_by.empty());
  EXPECT_NE(loaded->digest, load(made_by(R"("a")"))->digest);
  EXPECT_NE(load(made_by(R"("c")"))
                .error()
                .message.find("candidates[0].made_by: found \"c\"; expected groups: a, b"),
            std::string::npos);
  EXPECT_NE(load(made_by(R"("b","a")")).error().message.find("groups in their order"),
            std::string::npos);
}

TEST_F(TableFileTest, RefusesWithTheReason) {
  write("v.npy", npy_of_integers({kFixedPointOne + 1, 0, 1, 2}));
  const auto group = [](const std::string& fields) {
    return Parts{.groups = R"("groups":[{)" + fields + "}]"}.text();
  };
  const auto candidate = [](const std::string& fields) {
    return Parts{.candidates = R"("candidates":[{"name":"x",)" + fields +
                               R"(},{"name":"y","divergence":"7"}])"}
        .text();
  };
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "table.json"},
      {Parts{.head = R"("candor":"table/1")"}.text(), "menu_depends_on_reports"},
      {Parts{.more = R"(,"half_width":[])"}.text(), "did you mean \"half_widths\""},
      {Parts{.more = R"(,"candor":"table/1")"}.text(), "candor"},
      {candidate(R"("divergence":5)"), "candidates[0].divergence: found 5; expected a string"},
      {candidate(R"("divergence":"5.0")"), "candidates[0].divergence"},
      {candidate(R"("divergence":"-0")"), "candidates[0].divergence"},
      {candidate(R"("divergence":"4611686018427387904")"), "expected -4611686018427387903"},
      {candidate(R"("divergence":"99999999999999999999999999999999999999999")"), "divergence"},
      {candidate(R"("divergence":"5","digest":"sha256:12")"), "64 hex digits"},
      {candidate(R"("divergense":"5")"), "divergence"},
      {Parts{.candidates = R"("candidates":[])"}.text(), "candidates"},
      {Parts{.candidates = R"("candidates":[{"name":"x","divergence":"0"},
                              {"name":"x","divergence":"0"}])"}
           .text(),
       "candidates[1].name: found \"x\" a second time"},
      {group(R"("name":"a","size":0,"valuations":["0","0"])"), "groups[0].size: found 0"},
      {group(R"("name":"a","size":1.5,"valuations":["0","0"])"), "groups[0].size: found 1.5"},
      {group(R"("name":"a","valuations":["0","0"])"), "groups[0].size"},
      {group(R"("name":"a","size":1,"valuations":["0"])"), "has 1 entries; there are 2"},
      {group(R"("name":"a","size":1,"valuations":["0",0.5])"), "valuations[1]: found 0.5"},
      {group(R"("name":"a","size":1,"valuations":["0","-1"])"), "valuations[1]: found \"-1\""},
      {group(R"("name":"a","size":1,"valuations":["0","4294967297"])"), "0 to 4294967296"},
      {group(R"("name":"a","size":1,"valuations":["0","01"])"), "valuations[1]"},
      {group(R"("name":"a","size":1,"valuations":"0")"), "expected an array"},
      {group(R"("name":"a","size":1,"valuations":{"file":"v.npy","row":2})"), "row 2"},
      {group(R"("name":"a","size":1,"valuations":{"file":"v.npy","row":0})"), "found 4294967297"},
      {group(R"("name":"a","size":1,"valuations":{"flie":"v.npy"})"), "file"},
      {group(R"("name":"a","size":1,"valuations":["0","0"]},)"
             R"({"name":"a","size":1,"valuations":["0","0"])"),
       "groups[1].name: found \"a\" a second time"},
      {Parts{.more = R"(,"max_size":2)"}.text(), "groups[0].size: found 3"},
      {Parts{.more = R"(,"half_widths":[["0","0"]])"}.text(), "2 rows"},
      {Parts{.more = R"(,"half_widths":[["0","0"],["0"]])"}.text(), "half_widths[1]"},
      {Parts{.more = R"(,"half_widths":[["0","0"],["0","-1"]])"}.text(), "half_widths[1][1]"},
      {Parts{.more = R"(,"half_widths":[["0","0"],["0",0.5]])"}.text(), "half_widths[1][1]"},
      {Parts{.more = R"(,"provenance":"none")"}.text(), "provenance"},
  };
  for (const auto& [text, expected] : cases) {
    const Result<LoadedTable> loaded = load(text);
    ASSERT_FALSE(loaded.ok()) << text;
    EXPECT_EQ(loaded.error().code, ErrorCode::kInvalidArgument) << text;
    EXPECT_NE(loaded.error().message.find(expected), std::string::npos)
        << "expected \"" << expected << "\" in: " << loaded.error().message;
  }
}

TEST_F(TableFileTest, Prices) {
  const auto good = prices(R"({"candor":"prices/1","groups":[{"name":"b","prices":["3","-4"]},
                             {"name":"a","prices":["1","2"]}]})");
  ASSERT_TRUE(good.ok()) << good.error().message;
  EXPECT_TRUE((*good)[0] == (std::vector<Int128>{1, 2}));
  EXPECT_TRUE((*good)[1] == (std::vector<Int128>{3, -4}));
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"candor":"prices/1","groups":[{"name":"a","prices":["1","2"]}]})",
       "no prices for \"b\""},
      {R"({"candor":"prices/1","groups":[{"name":"a","prices":["1"]}]})", "array of 2"},
      {R"({"candor":"prices/1","groups":[{"name":"c","prices":["1","2"]}]})", "groups[0].name"},
      {R"({"candor":"prices/1","groups":[{"name":"a","prices":["1",2]}]})", "prices[1]: found 2"},
      {R"({"candor":"prices/1","groups":[{"name":"a","prices":["1","2"]},
          {"name":"a","prices":["1","2"]}]})",
       "a second time"},
      {R"({"candor":"table/1","groups":[]})", "$.candor"},
  };
  for (const auto& [text, expected] : cases) {
    const auto loaded = prices(text);
    ASSERT_FALSE(loaded.ok()) << text;
    EXPECT_NE(loaded.error().message.find(expected), std::string::npos)
        << "expected \"" << expected << "\" in: " << loaded.error().message;
  }
}

}  // namespace
}  // namespace candor
