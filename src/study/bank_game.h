#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "core/estimate.h"
#include "core/game.h"
#include "core/solution.h"
#include "study/study.h"

namespace candor {

// The constants that bring one group's scores to [0, 1]: a function of its own scores on the sealed
// reference bank alone (DESIGN 6), so DSIC holds.
struct Normalizer {
  double low = 0;   // maps to 0; 0 under "max"
  double high = 1;  // maps to 1
  // Errors: NaN or infinite scores, or a constant reward, naming the group.
  static Result<Normalizer> fit(const std::string& rule, const std::string& group,
                                const std::vector<double>& reference_scores);
  // Scores outside [low, high] are clipped; *clipped counts them.
  [[nodiscard]] std::vector<double> apply(const std::vector<double>& scores, size_t* clipped) const;
};

// Constants that other reference banks of the same size might have given: how far chance in the
// bank moves them. A lowest and a highest score are no means, and a resample never leaves their
// range, so each draw compares two halves of the bank's prompts, as exchangeable as two banks are:
// the ratio of their ranges and the distance of their ends, in units of range, move the bank's own
// constants. Extremes of half the prompts vary about as much as those of all.
struct RedrawOptions {
  std::string rule;    // of Normalizer::fit
  size_t samples = 1;  // replies of the bank to each prompt
  uint64_t seed = 1;   // one seed splits the prompts alike for every group
  int draws = 400;
};
// Empty where the bank says nothing: fewer than 4 prompts, or halves in which all replies score
// alike. `scores` are the bank's, finite, prompt by prompt; `sealed` is what Normalizer::fit made
// of them.
[[nodiscard]] std::vector<Normalizer> redrawn_normalizers(const Normalizer& sealed,
                                                          const std::vector<double>& scores,
                                                          const RedrawOptions& options);

struct GroupScores {
  std::vector<double> reference;  // raw scores on the reference bank
  std::vector<double> bank;       // raw scores on the pricing bank
};

struct BankGame {
  Game game;
  std::vector<Normalizer> normalizers;  // [n]
  std::vector<size_t> clipped;          // [n]
};

// The block game of the sampled level (DESIGN 1): a block per prompt, the initial model uniform
// over its replies, repeated replies separate. scores[n]; prompts x study.bank.samples outcomes.
Result<BankGame> make_bank_game(const Study& study, const std::vector<GroupScores>& scores,
                                size_t prompt_count);

// The same with constants that were fitted before; bank[n] holds raw scores on the pricing bank.
Result<BankGame> make_normalized_game(const Study& study, std::vector<Normalizer> normalizers,
                                      const std::vector<std::vector<double>>& bank,
                                      size_t prompt_count);

// quote/2 (docs/formats.md): prices for the bank with what is known of their error for the model.
struct Quote {
  Solution solution;
  Estimate estimate;
  std::vector<std::vector<PricedPoint>> menus;  // [n]
};
Result<Quote> make_quote(const Study& study, const Game& game);
// Errors: minor_units', with the group's name.
[[nodiscard]] Result<Json> quote_json(const Study& study, const BankGame& bank_game,
                                      const Quote& quote);

}  // namespace candor
