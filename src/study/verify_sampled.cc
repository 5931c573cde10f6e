#include "base/file.h"
#include "base/strings.h"
#include "formats/records.h"
#include "study/bank_game.h"
#include "study/game_file.h"
#include "study/result_files.h"
#include "study/run_checks.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

// The constants that the quote says brought each group's scores to [0, 1].
Result<std::vector<Normalizer>> read_normalizers(const Json& quote, const std::string& file,
                                                 const Study& study) {
  std::vector<Normalizer> out;
  JsonReader in(quote, file);
  std::vector<JsonReader> groups = in.objects("groups");
  CANDOR_RETURN_IF_ERROR(in.status());
  for (size_t i = 0; i < groups.size(); ++i) {
    const std::string name = groups[i].text("name");
    JsonReader constants = groups[i].object("normalization");
    out.push_back({constants.number("low"), constants.number("high")});
    CANDOR_RETURN_IF_ERROR(groups[i].status());
    if (i >= study.groups.size() || name != study.groups[i].name) {
      return groups[i].error_at("name", "is not the study's");
    }
  }
  if (out.size() == study.groups.size()) return out;
  return in.error_at("groups", "are not the study's");
}

// Raw scores [n][replies] of bank.jsonl.
Result<std::vector<std::vector<double>>> read_scores(const fs::path& file, const Study& study) {
  CANDOR_TRY(const std::vector<Json> lines, read_jsonl(file));
  std::vector<std::vector<double>> out(study.groups.size());
  for (size_t r = 0; r < lines.size(); ++r) {
    JsonReader line(lines[r], str_cat(file.string(), ":", r + 1));
    JsonReader scores = line.object("scores");
    for (size_t i = 0; i < out.size(); ++i) {
      out[i].push_back(scores.number(study.groups[i].name));
    }
    CANDOR_RETURN_IF_ERROR(line.status());
  }
  const auto samples = static_cast<size_t>(study.bank.samples);
  if (!lines.empty() && lines.size() % samples == 0) return out;
  return invalid_argument(str_cat(file.string(), ": found ", lines.size(),
                                  " replies; expected a multiple of ", samples));
}

Status expect_text(const fs::path& file, const std::string& expected, const std::string& source) {
  CANDOR_TRY(const std::string found, read_file(file));
  if (found == expected) return {};
  CANDOR_TRY(const Json parsed, parse_json(found, file.string()));
  CANDOR_TRY(const Json anew, parse_json(expected, "anew"));
  CANDOR_RETURN_IF_ERROR(expect_same_fields(parsed, anew, source));
  return invalid_argument(str_cat("its bytes are not what ", source, " gives"));
}

Result<BankGame> game_of_bank(const RunChecks& checks, const Json& quote) {
  const Study& study = checks.study();
  CANDOR_TRY(std::vector<Normalizer> normalizers,
             read_normalizers(quote, (checks.folder() / "quote.json").string(), study));
  CANDOR_TRY(const auto scores, read_scores(checks.folder() / "bank.jsonl", study));
  return make_normalized_game(study, std::move(normalizers), scores,
                              scores[0].size() / static_cast<size_t>(study.bank.samples));
}

// A quote of an earlier program has other estimates beside the same payments and amounts.
Status check_earlier_quote(const Json& found, const Json& expected) {
  for (size_t i = 0; i < expected["groups"].size(); ++i) {
    const Json& group = found["groups"][i];
    for (const char* key : {"size", "amount"}) {
      const std::string place = str_cat("$.groups[", i, "].", key);
      Json there = group.value(key, Json());
      if (there.is_number_float()) continue;  // before money was decimal
      CANDOR_RETURN_IF_ERROR(
          expect_equal(place, there, expected["groups"][i][key], "the solution"));
    }
  }
  return {};
}

Status check_quote(const RunChecks& checks, const Json& found, const BankGame& game) {
  CANDOR_TRY(const Quote quote, make_quote(checks.study(), game.game));
  CANDOR_TRY(const Json expected, quote_json(checks.study(), game, quote));
  if (!checks.run().files.has_value()) return check_earlier_quote(found, expected);
  return expect_same_fields(found, expected, "the bank, quoted anew,");
}

}  // namespace

void check_sampled_run(RunChecks& checks) {
  const Result<Json> quote = read_json_file((checks.folder() / "quote.json").string());
  if (!quote.ok()) return checks.fails("quote.json", quote.error().message);
  if (!checks.has("bank.jsonl")) {
    return checks.not_checked("game.json", "the folder holds no bank.jsonl");
  }
  const Result<BankGame> game = game_of_bank(checks, *quote);
  if (!game.ok()) return checks.fails("bank.jsonl", game.error().message);
  checks.add("game.json", expect_text(checks.folder() / "game.json", to_text(game_json(game->game)),
                                      "bank.jsonl"));
  const Result<Solution> solved = solve(game->game);
  checks.add("solution.json", solved.ok() ? expect_text(checks.folder() / "solution.json",
                                                        to_text(solution_json(*solved, true)),
                                                        "the game, solved anew,")
                                          : Status(solved.error()));
  checks.add("quote.json", check_quote(checks, *quote, *game));
}

}  // namespace candor
