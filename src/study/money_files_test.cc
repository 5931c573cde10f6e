#include "study/money_files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "base/strings.h"
#include "core/table.h"
#include "study/bank_game.h"
#include "study/receipt_file.h"
#include "study/run_directory.h"
#include "study/study.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

const fs::path kFolder = fs::path(testing::TempDir()) / "candor-money";

// A study whose last lines are `money`.
Result<Study> study_of(const std::string& money, const std::string& budget = "") {
  fs::create_directories(kFolder);
  const std::string path = (kFolder / "money.yaml").string();
  std::ofstream(path) << "candor: study/1\nname: s\nlevel: sampled\nmodel: {source: m}\n"
                         "prompts: p.jsonl\nnormalization: max\n"
                         "divergence: {name: kl, lambda: 1}\nbank: {samples: 4}\nresamples: 50\n"
                         "groups:\n  - {name: a, size: 1, reward: {kind: brevity}}\n"
                         "  - {name: b, size: 1, reward: {kind: brevity}}\n"
                      << money;
  return load_study(path, {.budget = budget, .target_epsilon = 0});
}

// What is wrong with a study, without its folder.
std::string refusal(const std::string& money) {
  const Result<Study> study = study_of(money);
  if (study.ok()) return "nothing";
  return study.error().message.substr(kFolder.string().size() + 1);
}

TEST(StudyMoney, PricesAreDecimalsHoweverTheyAreWritten) {
  for (const auto& [written, text] : {std::pair{"0.29", "0.29"},
                                      {"\"0.29\"", "0.29"},
                                      {"100", "100"},
                                      {"100.0", "100"},
                                      {"1e2", "100"},
                                      {"0", "0"},
                                      {"\"0\"", "0"},
                                      {"0.1", "0.1"},
                                      {"123456789012.345678", "123456789012.345678"},
                                      {"1e12", "1000000000000"}}) {
    const auto study = study_of(str_cat("unit_price: ", written, "\ncurrency: EUR\n"));
    ASSERT_TRUE(study.ok()) << study.error().message;
    EXPECT_EQ(study->unit_price.text(), text) << written;
    EXPECT_EQ(study->resolved["unit_price"], text) << written;
    EXPECT_EQ(study->resolved["currency"], "EUR");
    EXPECT_EQ(study->resolved["exponent"], 2);
  }
}

TEST(StudyMoney, ABudgetsPriceIsReadAsItIsWrittenToo) {
  const std::string money =
      "unit_price: 0.1\ncurrency: credits\n"
      "budgets:\n  fine: {unit_price: 123456789012.345678, exponent: 6}\n"
      "  text: {unit_price: \"0.3\"}\n  bad: {unit_price: 0.1234567}\n";
  EXPECT_EQ(study_of(money)->unit_price.text(), "0.1");
  EXPECT_EQ(study_of(money, "fine")->unit_price.text(), "123456789012.345678");
  EXPECT_EQ(study_of(money, "fine")->currency.exponent, 6);
  EXPECT_EQ(study_of(money, "text")->unit_price.text(), "0.3");
  EXPECT_NE(
      study_of(money, "bad").error().message.find("money.yaml:18: unit_price: found \"0.1234567\""),
      std::string::npos);
}

TEST(StudyMoney, RefusalsNamePlaceValueAndWhatIsAllowed) {
  const std::string allowed =
      "; expected a decimal from 0 to 1000000000000 with at most 6 decimals, such as \"100\" or "
      "\"0.29\"";
  for (const auto& [written, found] : {std::pair{"0.1234567", "\"0.1234567\""},
                                       {"\"0.1234567\"", "\"0.1234567\""},
                                       {"-1", "\"-1\""},
                                       {"\"1e2\"", "\"1e2\""},
                                       {"1e-7", "\"1e-7\""},
                                       {"0.30000000000000004", "\"0.30000000000000004\""},
                                       {"1000000000000.5", "\"1000000000000.5\""},
                                       {"cheap", "\"cheap\""},
                                       {"+1", "\"+1\""},
                                       {".5", "\".5\""},
                                       {"1,5", "\"1,5\""},
                                       {".nan", "\".nan\""}}) {
    EXPECT_EQ(refusal(str_cat("unit_price: ", written, "\ncurrency: EUR\n")),
              str_cat("money.yaml:13: unit_price: found ", found, allowed));
  }
  EXPECT_EQ(refusal("unit_price: true\ncurrency: EUR\n"),
            "money.yaml:13: unit_price: found true; expected a decimal with at most 6 decimals, "
            "such as \"0.29\"");
  EXPECT_EQ(refusal("currency: EUR\n"), "money.yaml:1: unit_price: is missing");
  EXPECT_EQ(refusal("unit_price: 1\ncurrency: JPY\nexponent: 2\n"),
            "money.yaml:15: exponent: found 2; amounts in \"JPY\" have 0 digits by ISO 4217 (leave "
            "exponent out)");
  EXPECT_EQ(refusal("unit_price: 1\ncurrency: credits\nexponent: 7\n"),
            "money.yaml:15: exponent: found 7; expected a whole number from 0 to 6");
  EXPECT_EQ(refusal("unit_price: 1\ncurrency: credits\nexponent: 2\n"), "nothing");
}

// X is worth 1 to each of a's agents, Y to each of b's. X is chosen where a is the larger; it then
// pays what b's agents lose: one unit each.
MenuSettlement settled(int64_t a, int64_t b) {
  MenuSettlement out;
  out.table.candidates = {{"X", 0}, {"Y", 0}};
  out.table.groups = {{"a", a, {kFixedPointOne, 0}}, {"b", b, {0, kFixedPointOne}}};
  out.digest = "sha256:table";
  out.settlement = settle(out.table);
  return out;
}

// The amounts of both receipts, as they are printed.
std::string receipts(const std::string& money, int64_t a, int64_t b) {
  const Result<Study> study = study_of(money);
  EXPECT_TRUE(study.ok()) << study.error().message;
  const MenuSettlement menu = settled(a, b);
  std::vector<std::string> out;
  for (size_t group = 0; group < 2; ++group) {
    const auto receipt = receipt_json(*study, menu, group);
    EXPECT_TRUE(receipt.ok()) << receipt.error().message;
    EXPECT_EQ((*receipt)["exponent"], study->currency.exponent);
    EXPECT_EQ((*receipt)["unit_price"], study->unit_price.text());
    out.push_back(format_money((*receipt)["amount"].get<std::string>(),
                               (*receipt)["currency"].get<std::string>()));
  }
  return join(out, ", ");
}

TEST(Receipts, ChargeTheDecimalsTheyShould) {
  EXPECT_EQ(receipts("unit_price: 0.29\ncurrency: EUR\n", 2, 1), "0.29 EUR, 0.00 EUR");
  EXPECT_EQ(receipts("unit_price: 0.1\ncurrency: EUR\n", 4, 3), "0.30 EUR, 0.00 EUR");
  EXPECT_EQ(receipts("unit_price: 0.07\ncurrency: EUR\n", 10, 100), "0.00 EUR, 0.70 EUR");
  EXPECT_EQ(receipts("unit_price: 0.29\ncurrency: JPY\n", 9, 4), "1 JPY, 0 JPY");
  EXPECT_EQ(receipts("unit_price: 0.29\ncurrency: KWD\n", 9, 4), "1.160 KWD, 0.000 KWD");
  EXPECT_EQ(receipts("unit_price: 0.29\ncurrency: credits\n", 9, 4), "1.16 credits, 0.00 credits");
  EXPECT_EQ(receipts("unit_price: 0.29\ncurrency: credits\nexponent: 0\n", 9, 4),
            "1 credits, 0 credits");
  EXPECT_EQ(receipts("unit_price: 0.000001\ncurrency: credits\nexponent: 6\n", 9, 4),
            "0.000004 credits, 0.000000 credits");
  EXPECT_EQ(receipts("unit_price: 999999.999999\ncurrency: EUR\n", 2147483647, 2147483646),
            "2147483645997852.51 EUR, 0.00 EUR");
  EXPECT_EQ(receipts("unit_price: 1000000000000\ncurrency: EUR\n", 2147483647, 2147483646),
            "2147483646000000000000.00 EUR, 0.00 EUR");
}

// README's game (catalog/sun2025/fig1_shape.json) for two prompts of the same rewards: payments
// 0.055088774 and 0.045184525.
TEST(Quotes, ShowDecimalAmounts) {
  const auto quoted = [](const std::string& money) {
    const Result<Study> study = study_of(money);
    EXPECT_TRUE(study.ok()) << study.error().message;
    std::vector<GroupScores> scores(2);
    scores[0].bank = scores[0].reference = {1, 0.7, 0.3, 0.1, 1, 0.7, 0.3, 0.1};
    scores[1].bank = scores[1].reference = {0.2, 0.5, 1, 0.6, 0.2, 0.5, 1, 0.6};
    const BankGame game = *make_bank_game(*study, scores, 2);
    return *quote_json(*study, game, *make_quote(*study, game.game));
  };
  const Json euros = quoted("unit_price: 1000\ncurrency: EUR\n");
  EXPECT_EQ(euros["candor"], "quote/2");
  EXPECT_EQ(euros["unit_price"], "1000");
  EXPECT_EQ(euros["exponent"], 2);
  EXPECT_EQ(euros["groups"][0]["amount"], "55.08");
  EXPECT_EQ(euros["groups"][1]["amount"], "45.18");
  const Json yen = quoted("unit_price: 100000\ncurrency: JPY\n");
  EXPECT_EQ(yen["groups"][0]["amount"], "5508");
  EXPECT_EQ(quoted("unit_price: 10\ncurrency: credits\n")["groups"][1]["amount"], "0.45");
}

TEST(StudyMoney, OlderFilesAreRead) {
  EXPECT_EQ(unit_price_text(Json::parse("100.0")), "100");
  EXPECT_EQ(unit_price_text(Json::parse("0.29")), "0.29");
  EXPECT_EQ(unit_price_text(Json("0.29")), "0.29");
  EXPECT_EQ(written_amount(Json::parse("0.28")), "0.28");  // quote/1
  EXPECT_EQ(written_amount(Json::parse("73.3")), "73.30");
  EXPECT_EQ(written_amount(Json::parse("5")), "5.00");
  EXPECT_EQ(written_amount(Json("73.30")), "73.30");
  const Json old =
      Json::parse(R"({"unit_price":100.0,"currency":"EUR","candor":"study/1","seed":1})");
  EXPECT_EQ(with_decimal_money(old),
            Json::parse(R"({"unit_price":"100","currency":"EUR","exponent":2,
                            "candor":"study/1","seed":1})"));
}

// A run that an earlier version began goes on; one at another price does not.
TEST(StudyMoney, ARunOfAnEarlierVersionResumes) {
  const Study study = *study_of("unit_price: 0.29\ncurrency: EUR\n");
  const fs::path run = kFolder / "run";
  const auto resumes = [&](const Json& price) {
    fs::remove_all(run);
    fs::create_directories(run);
    Json before = study.resolved;
    before["unit_price"] = price;
    before.erase("exponent");
    std::ofstream(run / "study.resolved.yaml") << "# Every setting.\n" << to_text(before);
    return RunDirectory::open(run, study, {}, true).ok();
  };
  EXPECT_TRUE(resumes(0.29));
  EXPECT_FALSE(resumes(0.28));
  EXPECT_FALSE(resumes("0.30"));
  fs::remove_all(run);
  EXPECT_TRUE(RunDirectory::open(run, study, {}, false).ok());
  EXPECT_TRUE(RunDirectory::open(run, study, {}, true).ok());
  EXPECT_FALSE(
      RunDirectory::open(run, *study_of("unit_price: 0.3\ncurrency: EUR\n"), {}, true).ok());
  fs::remove_all(kFolder);
}

}  // namespace
}  // namespace candor
