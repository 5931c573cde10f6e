// 10,000 small games against 100-digit arithmetic (tools/make_exact_goldens.py), every smooth
// divergence.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>

#include "base/json.h"
#include "core/divergence.h"
#include "core/solution.h"

namespace candor {
namespace {

Game game_of(const Json& line) {
  Game game;
  const auto& names = divergence_names();
  const auto kind = std::ranges::find(names, line["divergence"].get<std::string>());
  game.divergence = {static_cast<DivergenceKind>(kind - names.begin()), line["lambda"],
                     line["alpha"]};
  game.initial = line["initial"].get<std::vector<double>>();
  for (size_t i = 0; i < line["sizes"].size(); ++i) {
    Report report{.name = "g" + std::to_string(i), .group_size = line["sizes"][i], .reward = {}};
    for (const Json& level : line["rewards_64"][i]) {
      report.reward.push_back(level.get<double>() / 64);
    }
    game.groups.push_back(std::move(report));
  }
  return make_game(std::move(game)).value();
}

TEST(ExactGames, WelfareAndPaymentsToTwelveDigits) {
  std::ifstream file(std::string(CANDOR_SOURCE_DIR) + "/tests/golden/exact_games.jsonl");
  ASSERT_TRUE(file.good());
  std::string text;
  size_t games = 0;
  size_t payments = 0;
  double worst = 0;  // relative error of a payment above rounding
  while (std::getline(file, text)) {
    SCOPED_TRACE(text);
    const Json line = parse_json(text, "exact_games.jsonl").value();
    const Solution solution = solve(game_of(line)).value();
    const double scale = std::abs(line["welfare"].get<double>()) + solution.divergence;
    ASSERT_NEAR(solution.welfare, line["welfare"], 1e-12 * scale);
    for (size_t i = 0; i < solution.groups.size(); ++i) {
      const double expected = std::max(0.0, line["payments"][i].get<double>());
      const double error = std::abs(solution.groups[i].payment - expected);
      ASSERT_LE(error, 1e-12 * scale);
      ASSERT_LE(error, solution.groups[i].payment_error());
      if (expected > 1e-12 * scale) {
        worst = std::max(worst, error / expected);
        ++payments;
      }
    }
    ++games;
  }
  EXPECT_GE(games, 10000U);
  EXPECT_GT(payments, 15000U);
  EXPECT_LT(worst, 1e-10);
  std::printf("%zu games, %zu payments, worst relative error %.2g\n", games, payments, worst);
}

}  // namespace
}  // namespace candor
