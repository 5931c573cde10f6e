// A game/1 file solved to 30 digits by the reference solver (exact_game.h), as decimal strings.
//
//   exact_solve GAME.json
//
// Prints one JSON object like solution/1; "settled" is false where two precisions do not agree on
// the 60 digits asked for. Exit 1 then, 2 without a file, 3 for one that cannot be read.
#include <cstdio>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "exact_game.h"
#include "formats/npy.h"

namespace candor {
namespace {

template <typename Value>
Value checked(Result<Value> result) {
  if (!result.ok()) throw std::runtime_error(result.error().message);
  return std::move(result).value();
}

std::vector<double> array_of(const Json& json, const std::filesystem::path& folder) {
  if (json.is_array()) return json.get<std::vector<double>>();
  const NpyFile file = checked(NpyFile::open(folder / json.at("file").get<std::string>()));
  return checked(file.doubles(json.value("row", int64_t{0})));
}

// The file as it stands, of a game that `candor solve` accepts: load_game would round as it
// normalises.
ExactGame read_exact_game(const std::string& path) {
  const Json json = checked(read_json_file(path));
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  ExactGame game;
  const Json& divergence = json.at("divergence");
  game.divergence = divergence.at("name").get<std::string>();
  game.lambda = divergence.at("lambda").get<double>();
  game.alpha = divergence.value("alpha", 2.0);
  game.normalization = json.at("normalization").get<std::string>();
  game.initial = array_of(json.at("initial"), folder);
  for (const Json& group : json.at("groups")) {
    game.groups.push_back({group.at("name").get<std::string>(), group.at("size").get<double>(),
                           array_of(group.at("reward"), folder)});
  }
  if (json.contains("blocks")) {
    game.block_begin = {0};
    for (const Json& count : json.at("blocks")) {
      game.block_begin.push_back(game.block_begin.back() + count.get<size_t>());
    }
  }
  if (json.contains("candidates")) {
    for (const Json& model : json.at("candidates")) {
      game.candidates.push_back(array_of(model, folder));
    }
  }
  return game;
}

// 30 digits; "0" where the number is not told from it.
std::string digits_of(const ExactValue& number) {
  if (abs(number.value) <= number.error) return "0";
  return number.value.text(30);
}

Json json_of(const ExactGame& game, const ExactSolution& solution) {
  Json groups = Json::array();
  for (size_t i = 0; i < game.groups.size(); ++i) {
    const ExactOutcome& group = solution.groups[i];
    groups.push_back({{"name", game.groups[i].name},
                      {"valuation", digits_of(group.valuation)},
                      {"payment", digits_of(group.payment)},
                      {"utility", digits_of(group.utility)},
                      {"welfare_without", digits_of(group.welfare_without)}});
  }
  Json out = {{"welfare", digits_of(solution.welfare)},
              {"divergence", digits_of(solution.divergence)},
              {"groups", groups},
              {"settled", solution.settled},
              {"working_digits", solution.digits}};
  if (solution.winner.has_value()) out["winner"] = *solution.winner;
  return out;
}

int run(const std::string& path) {
  const ExactGame game = read_exact_game(path);
  const ExactSolution solution = solve_exactly(game);
  std::fputs(to_text(json_of(game, solution)).c_str(), stdout);
  return solution.settled ? 0 : 1;
}

}  // namespace
}  // namespace candor

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: exact_solve GAME.json\n", stderr);
    return 2;
  }
  try {
    return candor::run(argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "exact_solve: %s: %s\n", argv[1], error.what());
    return 3;
  }
}
