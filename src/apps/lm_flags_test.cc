// The flags of `candor lm` in this process: every one that takes a number refuses what is none;
// rewards of every kind have a form.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <regex>

#include "apps/lm_commands.h"
#include "apps/lm_list.h"
#include "apps/lora_flags.h"
#include "apps/reward_argument.h"
#include "base/strings.h"
#include "lm/rlhf_settings.h"
#include "lm/sft_settings.h"
#include "study/reward_source.h"
#include "worker/reward_function.h"

namespace candor {
namespace {

struct Program {
  CLI::App app{"", "candor"};
  CommonOptions options;
  CLI::App* lm = app.add_subcommand("lm", "");
  Program() { add_lm_commands(*lm, options); }
};

// What the parser says of a value; nothing where it takes it (what else is missing comes later).
std::optional<std::string> refusal(const std::string& command, const std::string& flag,
                                   const std::string& value) {
  Program program;
  std::vector<std::string> words = {"candor", "lm", command, flag, value};
  std::vector<char*> argv;
  argv.reserve(words.size());
  for (std::string& word : words) argv.push_back(word.data());
  try {
    program.app.parse(static_cast<int>(argv.size()), argv.data());
  } catch (const CLI::RequiredError&) {
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    return error.what();
  }
  return std::nullopt;
}

struct NumberOption {
  std::string command, flag, help;
};

std::vector<NumberOption> number_options() {
  std::vector<NumberOption> out;
  const Program program;
  for (const CLI::App* command : program.lm->get_subcommands({})) {
    for (const CLI::Option* option : command->get_options()) {
      const std::string type = option->get_type_name();
      EXPECT_TRUE(type.find("INT") == std::string::npos && type.find("FLOAT") == std::string::npos)
          << command->get_name() << " --" << option->get_lnames()[0]
          << ": a number that the one reader does not read";
      if (type != "NUMBER") continue;
      for (const std::string& name : option->get_lnames()) {
        out.push_back({command->get_name(), "--" + name, option->get_description()});
      }
    }
  }
  return out;
}

// Whether the help allows the number: its words say what the parser promises.
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
  EXPECT_NE(help.find("finite number"), std::string::npos) << help;
  return true;
}

TEST(NumberFlags, TakeNumbersOfTheirRangeAlone) {
  const std::vector<NumberOption> flags = number_options();
  EXPECT_GT(flags.size(), 100U);
  for (const NumberOption& flag : flags) {
    const bool whole = flag.help.find("whole number") != std::string::npos;
    for (const std::string value : {"nan", "NaN", "inf", "-inf", "1e400", "1e-400", "1x", "", " 1",
                                    "0x10", "+1", "1,5", "-1", "0", "1e30", "0.5"}) {
      const bool number =
          value == "-1" || value == "0" || (!whole && (value == "1e30" || value == "0.5"));
      const std::optional<std::string> said = refusal(flag.command, flag.flag, value);
      const std::string place = str_cat(flag.command, " ", flag.flag, " '", value, "': ");
      if (number && allowed(flag.help, std::stod(value))) {
        EXPECT_FALSE(said.has_value()) << place << said.value_or("");
        continue;
      }
      ASSERT_TRUE(said.has_value()) << place << "is taken; " << flag.help;
      EXPECT_NE(said->find(str_cat(": found ", quote(value), "; expected a")), std::string::npos)
          << place << *said;
      EXPECT_TRUE(said->starts_with("--")) << place << *said;
    }
    if (whole) {
      EXPECT_TRUE(refusal(flag.command, flag.flag, "99999999999999999999").has_value())
          << flag.command << " " << flag.flag;
    }
  }
}

TEST(NumberFlags, SayWhatIsAllowed) {
  const std::vector<std::array<std::string, 4>> cases = {
      {"generate", "--temperature", "nan",
       "--temperature: found \"nan\"; expected a number from 0 to 100"},
      {"generate", "--top-p", "nan", "--top-p: found \"nan\"; expected a number from 1e-06 to 1"},
      {"chat", "--top-p", "0", "--top-p: found \"0\"; expected a number from 1e-06 to 1"},
      {"reward", "--l2", "nan", "--l2: found \"nan\"; expected a number from 1e-12 to 1e+06"},
      {"sft", "--seed", "-1",
       "--seed: found \"-1\"; expected a whole number from 0 to 9223372036854775807"},
      {"sft", "--seed", "9223372036854775808",
       "--seed: found \"9223372036854775808\"; expected a whole number from 0 to "
       "9223372036854775807"},
      {"sft", "--num-train-epochs", "0",
       "--num-train-epochs: found \"0\"; expected a finite number above 0, at most 1e+06"},
      {"rlhf", "--beta", "-1", "--kl-coefficient: found \"-1\"; expected a number from 0 to 1e+06"},
      {"eval", "--samples", "1.5",
       "--samples: found \"1.5\"; expected a whole number from 1 to 1048576"}};
  for (const auto& [command, flag, value, expected] : cases) {
    EXPECT_EQ(refusal(command, flag, value).value_or(""), expected);
  }
}

TEST(LmCommands, AreAllInTheHelpOfCandor) {
  const Program program;
  const std::vector<CLI::App*> commands = program.lm->get_subcommands({});
  ASSERT_EQ(commands.size(), kLmCommands.size());
  for (const CLI::App* command : commands) {
    EXPECT_NE(lm_summary().find(command->get_name()), std::string::npos) << command->get_name();
  }
}

// The kinds of a study are those that can be loaded and those that are trained, and each has a
// form.
TEST(RewardArguments, KnowEveryKindOfAStudy) {
  std::vector<std::string> loaded = RewardFunction::kinds();
  loaded.insert(loaded.end(), {"labelled", "preference"});
  std::vector<std::string> known = reward_kind_names();
  std::ranges::sort(loaded);
  std::ranges::sort(known);
  EXPECT_EQ(loaded, known);
  for (const std::string& kind : known) {
    EXPECT_TRUE(names_reward_kind(kind + ":x")) << kind;
    EXPECT_NE(reward_argument_form().find(kind + ":"), std::string::npos) << kind;
  }
  EXPECT_FALSE(names_reward_kind("brevty:20"));
  EXPECT_FALSE(names_reward_kind("words.json"));
}

TEST(RewardArguments, OfAnotherFormAreUsageErrors) {
  const RewardContext context = {.flag = "--reward", .encoder = "e", .base = {}, .trained = {}};
  for (const std::string text : {"", "brevity", "brevity:", "brevty:20", ":20", "brevity:x",
                                 "brevity:0", "brevity:nan", "brevity:20#scale", "brevity:20#=1",
                                 "brevity:20#class=x", "linear_ngrams:f", "remote:h#batch=0"}) {
    const Result<RewardArgument> argument = reward_argument(text, context);
    ASSERT_FALSE(argument.ok()) << text;
    EXPECT_EQ(argument.error().code, ErrorCode::kUsage) << text << argument.error().message;
  }
  const Result<RewardArgument> brevity = reward_argument("brevity:20", context);
  ASSERT_TRUE(brevity.ok()) << brevity.error().message;
  EXPECT_EQ(brevity->spec, Json::parse(R"({"kind":"brevity","scale_words":20.0})"));
}

LoraFlags flags_of(std::vector<std::string> words) {
  CLI::App app;
  LoraFlags flags;
  add_lora_flags(app, flags);
  std::ranges::reverse(words);
  app.parse(words);
  return flags;
}

TEST(LoraFlags, AnyOfThemAsksForLora) {
  EXPECT_FALSE(lora_of(flags_of({}))->has_value());
  EXPECT_FALSE(lora_of(flags_of({"--full"}))->has_value());
  EXPECT_EQ((*lora_of(flags_of({"--use-peft"})))->rank, 64);
  EXPECT_EQ((*lora_of(flags_of({"--lora-r", "4"})))->rank, 4);
  EXPECT_EQ((*lora_of(flags_of({"--lora-alpha", "8"})))->lora_alpha, 8);
  EXPECT_EQ((*lora_of(flags_of({"--lora-dropout", "0"})))->dropout, 0);
  EXPECT_EQ((*lora_of(flags_of({"--lora-target-modules", "k_proj,v_proj"})))->target_modules,
            (std::vector<std::string>{"k_proj", "v_proj"}));
  const Result<std::optional<LoraSettings>> both = lora_of(flags_of({"--full", "--lora-r", "4"}));
  ASSERT_FALSE(both.ok());
  EXPECT_EQ(both.error().code, ErrorCode::kUsage);
  EXPECT_EQ(both.error().message, "--lora-r: sets a LoRA adapter; --full trains every weight");
  EXPECT_THROW(flags_of({"--full", "--use-peft"}), CLI::ParseError);
  EXPECT_THROW(flags_of({"--use-peft=false"}), CLI::ParseError);
}

}  // namespace
}  // namespace candor
