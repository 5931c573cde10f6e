// The program `candor` from outside: stdout, stderr and exit codes of the theory's commands.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>

#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "base/strings.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

struct Outcome {
  int code = -1;
  std::string out;
  std::string err;
};

class CliTest : public testing::Test {
 protected:
  CliTest() {
    std::string pattern = (fs::temp_directory_path() / "candor-cli-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~CliTest() override { fs::remove_all(folder_); }

  // Files are named relative to the test's own folder.
  [[nodiscard]] Outcome candor(const std::string& arguments) const {
    const std::string command = "cd " + folder_.string() + " && " + CANDOR_PROGRAM + " " +
                                arguments + " </dev/null >out 2>err";
    const int status = std::system(command.c_str());
    return {WEXITSTATUS(status), *read_file(folder_ / "out"), *read_file(folder_ / "err")};
  }
  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }
  fs::path folder_;
};

std::string catalog(const std::string& name) {
  return std::string(CANDOR_SOURCE_DIR) + "/catalog/" + name;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

constexpr const char* kTable = R"({"candor":"table/1","menu_depends_on_reports":false,
 "candidates":[{"name":"x","divergence":"0"},{"name":"y","divergence":"1"}],
 "groups":[{"name":"a","size":2,"valuations":["0","10"]},
           {"name":"b","size":1,"valuations":["5","1"]}]})";
// By hand: T = (5, 2*10 + 1 - 1 = 20), so y wins. a: B = (5, 0), pays 5. b: B = (0, 19), pays 0.
constexpr const char* kSettled =
    R"({"candor":"settlement/1","groups":[)"
    R"({"name":"a","payment":"5","prices":["0","5"],"size":2,"utility":"15","valuation":"20"},)"
    R"({"name":"b","payment":"0","prices":["19","0"],"size":1,"utility":"1","valuation":"1"}],)"
    R"("table":"sha256:%","welfare":"20","winner":1})";

TEST_F(CliTest, SettleGivesTheSameBytesEveryTime) {
  write("t.json", kTable);
  const std::string canonical =
      R"({"candidates":[{"divergence":"0","name":"x"},{"divergence":"1","name":"y"}],)"
      R"("candor":"table/1","groups":[{"name":"a","size":2,"valuations":["0","10"]},)"
      R"({"name":"b","size":1,"valuations":["5","1"]}],"menu_depends_on_reports":false})";
  std::string expected = kSettled;
  expected.replace(expected.find('%'), 1, sha256_hex(canonical));
  for (const std::string threads : {"", " --threads 1", " --threads 7 --seed 9 --quiet"}) {
    const Outcome settled = candor("settle t.json --prices --format json" + threads);
    EXPECT_EQ(settled.code, 0);
    EXPECT_EQ(settled.out, expected + "\n");
    EXPECT_EQ(settled.err, "");
  }
  EXPECT_FALSE(contains(candor("settle t.json --format json").out, "prices"));
  const Outcome people = candor("settle " + catalog("sun2025/table2_w321.json") + " --prices");
  EXPECT_EQ(people.code, 0);
  EXPECT_TRUE(contains(people.out, "winner: C (candidate 2), welfare 3.083")) << people.out;
}

TEST_F(CliTest, EveryOutputSaysThatTheMenuDependsOnReports) {
  std::string table = kTable;
  table.replace(table.find("false"), 5, "true");
  write("t.json", table);
  EXPECT_TRUE(contains(candor("settle t.json").out, "menu depends on the reports"));
  EXPECT_TRUE(contains(candor("audit t.json").out, "menu depends on the reports"));
  for (const std::string command : {"settle", "audit"}) {
    const Outcome json = candor(command + " t.json --format json");
    EXPECT_TRUE(parse_json(json.out, "out")->at("menu_depends_on_reports").get<bool>());
    write("plain.json", kTable);
    EXPECT_FALSE(contains(candor(command + " plain.json --format json").out, "menu_depends"));
  }
}

// KL on two outcomes: ASW* = log sum p0 e^s, written out again here.
TEST_F(CliTest, SolveAgreesWithTheClosedForm) {
  write("g.json", R"({"candor":"game/1","divergence":{"name":"kl","lambda":1},
    "normalization":"max","initial":[0.25,0.75],"groups":[
    {"name":"a","size":2,"reward":[1,0.5]},{"name":"b","size":1,"reward":[0,1]}]})");
  const Outcome solved = candor("solve g.json --format json");
  ASSERT_EQ(solved.code, 0) << solved.err;
  EXPECT_EQ(solved.err, "");
  const Json json = *parse_json(solved.out, "out");
  const double top = 0.25 * std::exp(2.0);
  const double other = 0.75 * std::exp(2.0);
  const double p = top / (top + other);
  EXPECT_NEAR(json["welfare"].get<double>(), std::log(top + other), 1e-12);
  EXPECT_NEAR(json["allocation"][0].get<double>(), p, 1e-12);
  const Json& a = json["groups"][0];
  const double valuation = 2 * (p + 0.5 * (1 - p));
  const double without = std::log(0.25 + 0.75 * std::exp(1.0));
  EXPECT_NEAR(a["valuation"].get<double>(), valuation, 1e-12);
  EXPECT_NEAR(a["welfare_without"].get<double>(), without, 1e-12);
  EXPECT_NEAR(a["payment"].get<double>(), without - (std::log(top + other) - valuation), 1e-12);
  for (const char* key : {"candor", "gap", "reads"}) EXPECT_TRUE(json.contains(key)) << key;
  const Outcome people = candor("solve g.json");
  EXPECT_EQ(people.code, 0);
  EXPECT_TRUE(contains(people.out, "payment")) << people.out;
}

// App. C.3: raw scores of any sign. Two outcomes by hand: a is (0, 1) and b is (1, 0) once they are
// normalised.
TEST_F(CliTest, MinMaxGamesGoThroughEveryCommand) {
  const auto game = [](const std::string& of_b) {
    return R"({"candor":"game/1","divergence":{"name":"kl","lambda":1},"normalization":"min_max",)"
           R"("initial":[0.25,0.75],"groups":[{"name":"a","size":2,"reward":[-3,5]},)"
           R"({"name":"b","size":1,"reward":)" +
           of_b + "}]}";
  };
  write("g.json", game("[10,8]"));
  const Json solved = *parse_json(candor("solve g.json --format json").out, "out");
  const double welfare = std::log(0.25 * std::exp(1.0) + 0.75 * std::exp(2.0));
  const double valuation = 2 * 0.75 * std::exp(2.0 - welfare);
  const double without = std::log(0.25 * std::exp(1.0) + 0.75);
  EXPECT_NEAR(solved["welfare"].get<double>(), welfare, 1e-12);
  EXPECT_NEAR(solved["groups"][0]["valuation"].get<double>(), valuation, 1e-12);
  EXPECT_NEAR(solved["groups"][0]["payment"].get<double>(), without - (welfare - valuation), 1e-12);
  EXPECT_EQ(candor("audit g.json").code, 0);
  EXPECT_EQ(candor("audit g.json --payments zero").code, 1);
  const Outcome lab = candor("lab sw_max g.json");
  EXPECT_EQ(lab.code, 0) << lab.err;
  EXPECT_TRUE(contains(lab.out, "Lost under min_max:\n  no path: ")) << lab.out;
  EXPECT_TRUE(contains(lab.out, "  no room for a fee: ")) << lab.out;
  const Json study = *parse_json(candor("lab sw_max g.json --format json").out, "out");
  EXPECT_TRUE(contains(study["rules"][0]["path"]["reason"].get<std::string>(), "Cor 3.7"));
  EXPECT_TRUE(contains(study["fee"]["reason"].get<std::string>(), "Thm 4.11"));
  const Outcome noise = candor("noise g.json --epsilon 0.05 --format json");
  EXPECT_EQ(noise.code, 0) << noise.err;
  EXPECT_NEAR(parse_json(noise.out, "out")->at("loss_bound").get<double>(), 2 * 0.05 * 3, 1e-15);
  write("flat.json", game("[8,8]"));
  for (const std::string command : {"solve", "audit", "lab sw_max", "noise"}) {
    const Outcome refused = candor(command + " flat.json");
    EXPECT_EQ(refused.code, 3) << command;
    EXPECT_TRUE(
        contains(refused.err, "flat.json: $.groups[1].reward: group \"b\" has the reward 8"))
        << refused.err;
  }
}

// What is not known to the tolerance says so, and ends with 1.
TEST_F(CliTest, ASolutionOutsideItsToleranceHasNotConverged) {
  write("g.json", R"({"candor":"game/1","divergence":{"name":"js","lambda":1},
    "normalization":"max","initial":[1,2,3],
    "groups":[{"name":"a","size":3,"reward":[1,0.3,0]},{"name":"b","size":2,"reward":[0.1,0.7,1]}]})");
  const Outcome fine = candor("solve g.json --format json");
  EXPECT_EQ(fine.code, 0);
  const Json solved = *parse_json(fine.out, "out");
  EXPECT_EQ(solved["converged"], true);
  EXPECT_DOUBLE_EQ(solved["tolerance"].get<double>(), 6e-9);
  for (const char* number : {"valuation", "payment", "utility", "welfare_without"}) {
    const Json& group = solved["groups"][0];
    EXPECT_LE(group["enclosures"][number]["low"], group[number]) << number;
    EXPECT_GE(group["enclosures"][number]["high"], group[number]) << number;
  }
  const Outcome missed = candor("solve g.json --tolerance 1e-30");
  EXPECT_EQ(missed.code, 1);
  EXPECT_TRUE(contains(missed.out, "NOT CONVERGED")) << missed.out;
  EXPECT_EQ(parse_json(candor("solve g.json --tolerance 1e-30 --format json").out, "out")
                ->at("converged"),
            false);
  for (const char* bad : {"0", "-1", "inf", "nan", "1e-9x", "many"}) {
    const Outcome refused = candor(std::string("solve g.json --tolerance ") + bad);
    EXPECT_EQ(refused.code, 2) << bad;
    EXPECT_TRUE(contains(refused.err, "expected a finite number above 0")) << refused.err;
    EXPECT_FALSE(contains(refused.err, "did you mean")) << refused.err;
  }
}

TEST_F(CliTest, SolveWithCandidatesNamesTheWinner) {
  write("g.json", R"({"candor":"game/1","divergence":{"name":"chi2","lambda":0.1},
    "normalization":"none","initial":[1,1],"candidates":[[1,1],[1,0],[0,1]],
    "groups":[{"name":"a","size":1,"reward":[1,0]},{"name":"b","size":3,"reward":[0,1]}]})");
  const Json json = *parse_json(candor("solve g.json --format json").out, "out");
  EXPECT_EQ(json["winner"], 2);
  EXPECT_LT(json["gap"], 1e-13);
  // T = (2, .9, 2.9): D([0,1]) = .1 * (.5 + .5) = .1. b without: max(.5, .9, -.1) - (-.1) = 1.
  EXPECT_NEAR(json["welfare"].get<double>(), 2.9, 1e-12);
  EXPECT_NEAR(json["groups"][1]["payment"].get<double>(), 1.0, 1e-12);
}

TEST_F(CliTest, AuditTellsTruthfulPaymentsFromOthers) {
  write("t.json", kTable);
  write("g.json", *read_file(catalog("sun2025/fig1_shape.json")));
  for (const std::string file : {"t.json", "g.json"}) {
    const Outcome affine = candor("audit " + file + " --format json");
    EXPECT_EQ(affine.code, 0) << affine.err;
    const Json json = *parse_json(affine.out, "out");
    EXPECT_EQ(json["candor"], "audit/1");
    EXPECT_EQ(json["payments"], "affine");
    EXPECT_EQ(json["profitable"], false);
    for (const std::string rule : {"zero", "pay_report"}) {
      const Outcome lies = candor(str_cat("audit ", file, " --format json --payments ", rule));
      EXPECT_EQ(lies.code, 1) << rule << lies.err;
      EXPECT_EQ(parse_json(lies.out, "out")->at("profitable"), true);
    }
    const Outcome people = candor("audit " + file + " --payments zero");
    EXPECT_EQ(people.code, 1);
    EXPECT_TRUE(contains(people.out, "a group gains by lying")) << people.out;
  }
  // Without payments b makes x win: true value 5 instead of 1.
  const Json zero = *parse_json(candor("audit t.json --payments zero --format json").out, "out");
  EXPECT_EQ(zero["groups"][0]["deviation_gain"], "0");
  EXPECT_EQ(zero["groups"][1]["deviation_gain"], "4");
  EXPECT_EQ(zero["groups"][1]["bound"], "exact");
  EXPECT_EQ(zero["groups"][1]["best_report"]["winner"], 0);
}

// The affine prices as a file leave no profitable lie; one unit off, and the audit finds it.
TEST_F(CliTest, AuditOfGivenPrices) {
  write("t.json", kTable);
  const auto prices = [](const std::string& of_b) {
    return R"({"candor":"prices/1","groups":[{"name":"a","prices":["0","5"]},{"name":"b","prices":)" +
           of_b + "}]}";
  };
  write("fair.json", prices(R"(["19","0"])"));
  EXPECT_EQ(candor("audit t.json --payments fair.json").code, 0);
  write("off.json", prices(R"(["3","0"])"));
  const Outcome off = candor("audit t.json --payments off.json --format json");
  EXPECT_EQ(off.code, 1);
  const Json json = *parse_json(off.out, "out");
  EXPECT_EQ(json["payments"], "prices");
  EXPECT_EQ(json["groups"][1]["deviation_gain"], "1");  // 5 - 3 instead of 1 - 0
  EXPECT_EQ(candor("audit t.json --payments absent.json").code, 3);
  const Outcome game =
      candor("audit " + catalog("sun2025/fig1_shape.json") + " --payments fair.json");
  EXPECT_EQ(game.code, 3);
  EXPECT_TRUE(contains(game.err, "no candidates")) << game.err;
}

TEST_F(CliTest, HelpAndVersion) {
  EXPECT_TRUE(contains(candor("--help").out, "settle"));
  for (const std::string command : {"solve", "settle", "audit"}) {
    const Outcome help = candor(command + " --help");
    EXPECT_EQ(help.code, 0);
    EXPECT_TRUE(contains(help.out, "Example:\n  candor " + command)) << help.out;
    const Outcome version = candor(command + " --version");
    EXPECT_EQ(version.code, 0) << version.err;
    EXPECT_EQ(version.out, candor("--version").out);
  }
}

TEST_F(CliTest, UsageErrors) {
  write("t.json", kTable);
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "--help"},
      {"setle t.json", "did you mean \"settle\""},
      {"settle", "TABLE is required"},
      {"settle t.json --pirces", "did you mean \"--prices\""},
      {"settle t.json --format yaml", "yaml"},
      {"settle t.json --threads -1", "--threads"},
      {"settle t.json --seed x", "--seed"},
      {"settle t.json --seed -1", "--seed"},
      {"settle t.json other.json", "other.json"},
      {"audit t.json --payments affin", "did you mean \"affine\""},
  };
  for (const auto& [arguments, expected] : cases) {
    const Outcome outcome = candor(arguments);
    EXPECT_EQ(outcome.code, 2) << arguments;
    EXPECT_EQ(outcome.out, "") << arguments;
    EXPECT_TRUE(contains(outcome.err, expected)) << arguments << ": " << outcome.err;
  }
}

TEST_F(CliTest, BadInput) {
  const auto group = [](const std::string& fields) {
    return R"({"candor":"game/1","divergence":{"name":"kl","lambda":1},"normalization":"max",)"
           R"("initial":[1,1],"groups":[{)" +
           fields + "}]}";
  };
  write("zero.json", group(R"("name":"a","size":0,"reward":[0,1])"));
  write("half.json", group(R"("name":"a","size":1.5,"reward":[0,1])"));
  write("absent.json", group(R"("name":"a","reward":[0,1])"));
  write("typo.json", group(R"("name":"a","size":1,"rewards":[0,1])"));
  write("twice.json", group(R"("name":"a","size":1,"size":2,"reward":[0,1])"));
  write("nan.json", group(R"("name":"a","size":1,"reward":[0,NaN])"));
  write("same.json",
        group(R"("name":"a","size":1,"reward":[0,1]},{"name":"a","size":1,"reward":[0,1])"));
  write("kind.json", R"({"candor":"gmae/1"})");
  write("cut.json", std::string(kTable).substr(0, 100));
  std::string number = kTable;
  number.replace(number.find("\"10\""), 4, "10");
  write("number.json", number);
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"solve nowhere.json", "nowhere.json"},
      {"solve .", "."},
      {"solve zero.json", "zero.json: $.groups[0].size: found 0; expected"},
      {"solve half.json", "half.json: $.groups[0].size: found 1.5"},
      {"solve absent.json", "$.groups[0].size"},
      {"solve typo.json", "$.groups[0]"},
      {"solve twice.json", "twice.json:1"},
      {"solve nan.json", "nan.json:1"},
      {"solve same.json", "$.groups[1].name: found \"a\" a second time"},
      {"audit kind.json", "expected \"game/1\" or \"table/1\""},
      {"settle zero.json", "\"table/1\""},
      {"settle cut.json", "cut.json:"},
      {"settle number.json", "$.groups[0].valuations[1]: found 10; expected a string"},
  };
  for (const auto& [arguments, expected] : cases) {
    for (const std::string format : {"", " --format json"}) {
      const Outcome outcome = candor(arguments + format);
      EXPECT_EQ(outcome.code, 3) << arguments;
      EXPECT_EQ(outcome.out, "") << arguments;
      EXPECT_TRUE(contains(outcome.err, expected)) << arguments << ": " << outcome.err;
      EXPECT_TRUE(outcome.err.starts_with("candor: ")) << outcome.err;
    }
  }
}

// The flags of a command's help that take a number: {"--draws", "Monte Carlo draws; ... (a whole
// number from 4 to 10000000)"}.
std::vector<std::pair<std::string, std::string>> number_flags(const std::string& help) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const std::string& line : split(help, '\n')) {
    const size_t kind = line.find(" NUMBER ");
    if (kind == std::string::npos) continue;
    const std::string name(trim(std::string_view(line).substr(0, kind)));
    out.emplace_back(name, line.substr(kind));
  }
  return out;
}

// Whether the help's words allow the number.
bool allowed(const std::string& help, double value) {
  std::smatch found;
  if (std::regex_search(help, found, std::regex("number from (\\S+) to ([^ )]+)\\)?$"))) {
    return value >= std::stod(found[1]) && value <= std::stod(found[2]);
  }
  if (std::regex_search(help, found, std::regex("number of at least ([^ )]+)"))) {
    return value >= std::stod(found[1]);
  }
  if (std::regex_search(help, found, std::regex("number above (\\S+), at most ([^ )]+)"))) {
    return value > std::stod(found[1]) && value <= std::stod(found[2]);
  }
  if (std::regex_search(help, found, std::regex("number above ([^ )]+)"))) {
    return value > std::stod(found[1]);
  }
  ADD_FAILURE() << "no range in: " << help;
  return true;
}

// Every number of the command line goes through one reader: what is no finite number of the range
// that the help names is refused with the flag, the value and what is allowed.
TEST_F(CliTest, FlagsTakeNumbersOfTheirRangeAlone) {
  const std::vector<std::string> commands = {"solve", "merge", "settle",  "audit",
                                             "lab",   "noise", "catalog", "run",
                                             "quote", "plan",  "report"};
  size_t flags = 0;
  for (const std::string& command : commands) {
    const std::string help = candor(command + " --help").out;
    for (const char* type : {" INT", " UINT", " FLOAT"}) {
      EXPECT_FALSE(contains(help, type))
          << command << ": a number that the one reader does not read";
    }
    for (const auto& [flag, text] : number_flags(help)) {
      ++flags;
      const bool whole = contains(text, "whole number");
      for (const std::string value :
           {"nan", "inf", "-inf", "1e400", "1e-400", "1x", "", "0x10", "+1", "-1", "0", "1e30"}) {
        const bool number = value == "-1" || value == "0" || (!whole && value == "1e30");
        const bool fine = number && allowed(text, std::stod(value));
        // The files that a command needs are missing: that comes after its flags.
        const Outcome outcome = candor(str_cat(command, " ", flag, " '", value, "'"));
        const bool refused =
            contains(outcome.err, str_cat(flag, ": found ", quote(value), "; expected a"));
        EXPECT_EQ(refused, !fine) << command << " " << flag << " '" << value
                                  << "': " << outcome.err;
        EXPECT_TRUE(fine || outcome.code == 2) << command << " " << flag << " " << value;
      }
    }
  }
  EXPECT_GT(flags, 30U);
  const std::string game = "noise " + catalog("sun2025/fig1_shape.json");
  for (const auto& [arguments, expected] : std::vector<std::pair<std::string, std::string>>{
           {" --confidence nan",
            "--confidence: found \"nan\"; expected a number from 0.5 to 0.999999999999"},
           {" --seed -1",
            "--seed: found \"-1\"; expected a whole number from 0 to 9223372036854775807"},
           {" --draws 1e3", "--draws: found \"1e3\"; expected a whole number from 4 to 10000000"},
           {" --target-epsilon 2",
            "--target-epsilon: found \"2\"; expected a number from 1e-06 to 1"}}) {
    const Outcome outcome = candor(game + arguments);
    EXPECT_EQ(outcome.code, 2) << arguments;
    EXPECT_TRUE(contains(outcome.err, expected)) << arguments << ": " << outcome.err;
  }
}

// Names come from files: what a terminal would obey is shown, not sent.
TEST_F(CliTest, ControlCharactersOfNamesAreShown) {
  const std::string name = R"(a\u001b[31mred\u0007\u009b2J\u202e)";
  const std::string shown = R"(a\x1b[31mred\x07\u009b2J\u202e)";
  std::string table = kTable;
  table.replace(table.find(R"("name":"y")"), 10, R"("name":")" + name + "\"");
  table.replace(table.find(R"("name":"a")"), 10, R"("name":")" + name + "\"");
  write("t.json", table);
  write("g.json",
        R"({"candor":"game/1","divergence":{"name":"kl","lambda":1},"normalization":"max",)"
        R"("initial":[1,1],"groups":[{"name":")" +
            name + R"(","size":2,"reward":[0.5,1]},{"name":"b","size":1,"reward":[1,0]}]})");
  std::string twice = *read_file(folder_ / "g.json");
  twice.replace(twice.find(R"("name":"b")"), 10, R"("name":")" + name + "\"");
  write("twice.json", twice);
  std::string key_file = *read_file(folder_ / "g.json");
  key_file.replace(key_file.find("\"initial\""), 0, R"("\u001b[2J":1,)");
  write("key.json", key_file);
  const auto harmless = [&](const std::string& text) {
    return std::ranges::none_of(text,
                                [](char c) {
                                  const auto byte = static_cast<unsigned char>(c);
                                  return (byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f;
                                }) &&
           !contains(text, "\xc2\x9b") && !contains(text, "\xe2\x80\xae");
  };
  for (const std::string arguments :
       {"settle t.json --prices", "audit t.json --payments zero --report t.html", "solve g.json",
        "audit g.json --payments zero --attacks --report g.html",
        "lab max_min g.json --report l.html", "noise g.json --draws 4 --report n.html",
        "solve twice.json"}) {
    const Outcome outcome = candor(arguments);
    EXPECT_TRUE(contains(outcome.out + outcome.err, shown))
        << arguments << outcome.out << outcome.err;
    EXPECT_TRUE(harmless(outcome.out) && harmless(outcome.err)) << arguments;
  }
  for (const std::string file : {"t.html", "g.html", "l.html", "n.html"}) {
    const std::string page = *read_file(folder_ / file);
    EXPECT_TRUE(harmless(page)) << file;
    EXPECT_TRUE(contains(page, shown)) << file;
  }
  const Outcome key = candor("solve key.json");
  EXPECT_TRUE(harmless(key.err)) << key.err;
  EXPECT_TRUE(contains(key.err, R"($.\x1b[2J)")) << key.err;
}

// A result that could not be written is no success.
TEST_F(CliTest, FullDisk) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "skipped: no /dev/full on this system";
  write("t.json", kTable);
  const std::string command = "cd " + folder_.string() + " && " + CANDOR_PROGRAM +
                              " settle t.json --format json >/dev/full 2>err";
  EXPECT_EQ(WEXITSTATUS(std::system(command.c_str())), 4);
  EXPECT_TRUE(contains(*read_file(folder_ / "err"), "standard output"));
}

TEST_F(CliTest, LabTellsImplementableRulesFromOthers) {
  const std::string game = catalog("sun2025/fig1_shape.json");
  const Outcome fine = candor("lab sw_max " + game + " --steps 4 --format json --report lab.html");
  EXPECT_EQ(fine.code, 0) << fine.err;
  const Json json = *parse_json(fine.out, "stdout");
  EXPECT_EQ(json["rules"][0]["implementable"], true);
  EXPECT_EQ(json["rules"][0]["verdict"], "proved");
  EXPECT_TRUE(contains(*read_file(folder_ / "lab.html"), "<svg"));
  EXPECT_EQ(candor("lab max_min " + game + " --steps 1").code, 1);
  // Not known is no failure; the witness of a no proves it again.
  const Outcome unknown =
      candor("lab mean_of_optima " + game + " --type-count 2 --search-runs 0 --witness none.json");
  EXPECT_EQ(unknown.code, 0) << unknown.out;
  EXPECT_TRUE(contains(unknown.out, "none_found")) << unknown.out;
  EXPECT_TRUE(contains(unknown.out, "no other types were looked at")) << unknown.out;
  EXPECT_TRUE(contains(unknown.err, "no witness found, so none.json is not written"));
  EXPECT_EQ(candor("lab nash " + game + " --witness witness.json").code, 1);
  const Outcome again = candor("lab nash " + game + " --types witness.json");
  EXPECT_EQ(again.code, 1);
  EXPECT_TRUE(contains(again.out, "length -0.05")) << again.out;
  EXPECT_TRUE(contains(candor("lab swmax " + game).err, "did you mean \"sw_max\""));
  EXPECT_EQ(candor("lab swmax " + game).code, 2);
  EXPECT_EQ(candor("lab " + game).code, 2);
  EXPECT_TRUE(contains(candor("lab nash " + game + " --group gruop").err, "--group"));
  write("types.json", R"({"candor":"types/1","types":[{"size":1,"reward":[1]}]})");
  const Outcome types = candor("lab sw_max " + game + " --types types.json");
  EXPECT_EQ(types.code, 3);
  EXPECT_TRUE(contains(types.err, "types.json: $.types[0].reward: has 1 entries")) << types.err;
}

TEST_F(CliTest, NoiseNeedsANoiseAndAPlanATarget) {
  const std::string game = catalog("sun2025/fig1_shape.json");
  const Outcome fine =
      candor("noise " + game + " --draws 20 --format json --target-epsilon 0.1 --report n.html");
  EXPECT_EQ(fine.code, 0) << fine.err;
  const Json json = *parse_json(fine.out, "stdout");
  EXPECT_LE(json["plan"]["epsilon"].get<double>(), 0.1);
  EXPECT_EQ(json["plan"]["basis"], "hoeffding");
  EXPECT_TRUE(json["plan"]["between_variance"].is_null());
  EXPECT_LE(json["worst_loss_found"].get<double>(), json["loss_bound"].get<double>());
  EXPECT_TRUE(contains(*read_file(folder_ / "n.html"), "<svg"));
  EXPECT_EQ(candor("noise " + game + " --noise white").code, 2);
  EXPECT_EQ(candor("noise " + game + " --epsilon 0").code, 2);
  write("t.json", kTable);
  const Outcome table = candor("noise t.json");
  EXPECT_EQ(table.code, 3);
  EXPECT_TRUE(contains(table.err, "half_widths: is missing")) << table.err;
}

TEST_F(CliTest, APlanSaysWhatItsPromiseNeeds) {
  write("pilot.json",
        R"({"candor":"game/1","divergence":{"name":"kl","lambda":1},"normalization":"max",)"
        R"("initial":[1,1,1,1],"blocks":[2,2],"groups":[{"name":"a","size":1,)"
        R"("reward":[1,1,1,1]}]})");
  const std::string plan = "noise pilot.json --draws 4 --target-epsilon 0.02";
  const Outcome small = candor(plan);
  EXPECT_TRUE(contains(small.out,
                       "takes 4612 prompts x 1 reply for the one candidate (4612 "
                       "samples)\nwhatever the variances are (Hoeffding): a pilot of 2 "
                       "prompts is too small"))
      << small.out;
  const Outcome assumed = candor(plan + " --between-variance 0.02 --within-variance 0.05");
  EXPECT_TRUE(contains(assumed.out,
                       ", if the variance is at most 0.02 between prompts and 0.05 "
                       "within\nwithout that assumption: 4612 prompts"))
      << assumed.out;
  const Json json = *parse_json(candor(plan + " --between-variance 0.02 --format json").out, "out");
  EXPECT_EQ(json["plan"]["basis"], "assumed");
  EXPECT_EQ(json["plan"]["condition"], "the variance is at most 0.02 between prompts");
  EXPECT_TRUE(json["plan"]["pilot"].is_null());

  // 200 prompts that agree: a promise for the initial model, a condition for other candidates.
  Json game = {
      {"candor", "game/1"},
      {"divergence", {{"name", "kl"}, {"lambda", 1}}},
      {"normalization", "none"},
      {"initial", std::vector<int>(400, 1)},
      {"blocks", std::vector<int>(200, 2)},
      {"groups", {{{"name", "a"}, {"size", 1}, {"reward", std::vector<double>(400, 0.5)}}}}};
  write("large.json", game.dump());
  const std::string large = "noise large.json --draws 4 --target-epsilon 0.02 --format json";
  const Json one = (*parse_json(candor(large).out, "out"))["plan"];
  EXPECT_EQ(one["basis"], "pilot");
  EXPECT_EQ(one["condition"], "");
  EXPECT_LT(one["prompts"], 1000);
  EXPECT_EQ(one["pilot"]["prompts"], 200);
  const Json more = (*parse_json(candor(large + " --candidates 3").out, "out"))["plan"];
  EXPECT_TRUE(contains(more["condition"].get<std::string>(), "no candidate's rewards vary more"));
  game["initial"][7] = 3;
  write("large.json", game.dump());
  const Json weighted = (*parse_json(candor(large).out, "out"))["plan"];
  EXPECT_EQ(weighted["basis"], "hoeffding");
  EXPECT_TRUE(contains(weighted["note"].get<std::string>(), "outcome 0 of block 3")) << weighted;
  game["groups"][0]["reward"][0] = 2;
  write("large.json", game.dump());
  const Outcome above = candor(large);
  EXPECT_EQ(above.code, 3);
  EXPECT_TRUE(contains(above.err, "large.json: group \"a\": found a reward of 2")) << above.err;
}

TEST_F(CliTest, AuditSearchesAttacksWhenAsked) {
  const std::string game = catalog("candor/chi2_split.json");
  const Outcome plain = candor("audit " + game + " --format json");
  EXPECT_FALSE(contains(plain.out, "attacks"));
  const Outcome found = candor("audit " + game + " --attacks --format json --report a.html");
  EXPECT_EQ(found.code, 0) << found.err;  // attacks do not make an audit fail
  const Json json = *parse_json(found.out, "stdout");
  EXPECT_EQ(json["attacks"].size(), 3U);
  EXPECT_TRUE(contains(*read_file(folder_ / "a.html"), "<svg"));
}

TEST_F(CliTest, CatalogNamesWhatItDoesNotKnow) {
  const std::string dir = " --dir " + std::string(CANDOR_SOURCE_DIR) + "/catalog";
  const Outcome one = candor("catalog thm3_3_dsic" + dir);
  EXPECT_EQ(one.code, 0) << one.err;
  EXPECT_TRUE(contains(one.out, "agrees"));
  const Outcome none = candor("catalog thm3_3_dsik" + dir);
  EXPECT_EQ(none.code, 2);
  EXPECT_TRUE(contains(none.err, "did you mean \"thm3_3_dsic\"")) << none.err;
  EXPECT_EQ(candor("catalog --dir nowhere").code, 3);
  fs::create_directory(folder_ / "c");
  write("c/catalog.json",
        R"({"candor":"catalog/1","entries":[{"name":"x","source":"s","by":"us","claim":"c",
    "finding":"{}","run":{"command":"solve"},"value":"welfare","says":{"equal":1}}]})");
  EXPECT_TRUE(contains(candor("catalog --dir c").err, "expected one of equals"));
}

}  // namespace
}  // namespace candor
