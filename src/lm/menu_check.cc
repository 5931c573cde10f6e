#include "lm/menu_check.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/check.h"
#include "base/strings.h"
#include "lm/menu_prompt_cache.h"

namespace candor {

namespace {

// Log-probabilities after every prompt position that is looked at, one after the other.
using Distributions = std::vector<std::vector<double>>;

class Prober {
 public:
  Prober(const SlotModel& model, std::span<const MenuPrompt> prompts, int64_t positions)
      : model_(model), prompts_(prompts), positions_(positions) {
    size_t longest = 0;
    for (const MenuPrompt& prompt : prompts) longest = std::max(longest, prompt.ids.size());
    decoder_ = model.open({.slots = 1,
                           .positions = static_cast<int64_t>(longest),
                           .rows = std::max<int64_t>(kMenuPrefillRows, positions)});
  }

  Result<Distributions> distributions(const CandidateModel& candidate) {
    std::vector<std::vector<std::vector<float>>> logits;  // [variant][place][V]
    for (const std::vector<float>& variant : candidate.variants) {
      std::vector<std::vector<float>>& places = logits.emplace_back();
      for (const MenuPrompt& prompt : prompts_) read(prompt.ids, variant, places);
    }
    Distributions out(logits[0].size());
    for (size_t place = 0; place < out.size(); ++place) {
      std::vector<const float*> rows;
      rows.reserve(logits.size());
      for (const auto& variant : logits) rows.push_back(variant[place].data());
      out[place].resize(static_cast<size_t>(model_.vocabulary_size()));
      const Result<bool> mixed = candidate_log_probs(candidate, rows, out[place]);
      if (!mixed.ok()) return mixed.error();
    }
    return out;
  }

 private:
  // Appends the logits of the prompt's last positions.
  void read(const std::vector<int32_t>& ids, const std::vector<float>& variant,
            std::vector<std::vector<float>>& places) {
    decoder_->set_slot_adapters(0, variant);
    const auto length = static_cast<int64_t>(ids.size());
    const int64_t wanted = std::min(positions_, length);
    // The last positions run by themselves, so that their logits are all there.
    for (int64_t begin = 0; begin < length;) {
      const int64_t limit = begin < length - wanted ? length - wanted : length;
      const int64_t end = std::min(limit, begin + std::max(kMenuPrefillRows, wanted));
      std::vector<SlotDecoder::Row> rows;
      for (int64_t t = begin; t < end; ++t) rows.push_back({ids[static_cast<size_t>(t)], 0, t});
      decoder_->forward(rows);
      begin = end;
    }
    for (int64_t i = 0; i < wanted; ++i) {
      std::vector<float>& place = places.emplace_back();
      place.resize(static_cast<size_t>(model_.vocabulary_size()));
      decoder_->logits(i, 1, place.data());
    }
  }

  const SlotModel& model_;
  std::span<const MenuPrompt> prompts_;
  int64_t positions_;
  std::unique_ptr<SlotDecoder> decoder_;
};

// The largest total variation over the places.
double distance(const Distributions& left, const Distributions& right) {
  double largest = 0;
  for (size_t place = 0; place < left.size(); ++place) {
    double sum = 0;
    for (size_t v = 0; v < left[place].size(); ++v) {
      sum += std::abs(std::exp(left[place][v]) - std::exp(right[place][v]));
    }
    largest = std::max(largest, sum / 2);
  }
  return largest;
}

// Which expert an item is by its declaration: weights e_i, or adapter i. Initial: -1.
std::optional<int64_t> endpoint_of(const CandidateSpec& item) {
  if (item.kind == CandidateKind::kInitial) return -1;
  if (item.kind == CandidateKind::kAdapter) return item.adapter;
  std::optional<int64_t> found = -1;
  for (size_t i = 0; i < item.weights.size(); ++i) {
    if (item.weights[i] == 0) continue;
    if (item.weights[i] != 1 || *found >= 0) return std::nullopt;
    found = static_cast<int64_t>(i);
  }
  return found;
}

std::string weights_text(const std::vector<double>& weights) {
  std::string out;
  for (const double weight : weights) out += str_cat(out.empty() ? "" : ",", weight);
  return out;
}

// The endpoints to test that are not on the menu: a soup and one mixture per divergence for every
// expert.
std::vector<CandidateSpec> missing_endpoints(std::span<const CandidateSpec> items,
                                             int64_t experts) {
  std::vector<CandidateSpec> out;
  std::vector<CandidateSpec> families = {{.name = "", .kind = CandidateKind::kSoup}};
  for (const CandidateSpec& item : items) {
    if (item.kind != CandidateKind::kMixture) continue;
    const bool known = std::ranges::any_of(families, [&](const CandidateSpec& family) {
      return family.kind == CandidateKind::kMixture &&
             family.divergence.kind == item.divergence.kind &&
             family.divergence.alpha == item.divergence.alpha;
    });
    if (!known) {
      families.push_back(
          {.name = "", .kind = CandidateKind::kMixture, .divergence = item.divergence});
    }
  }
  for (CandidateSpec family : families) {
    for (int64_t expert = 0; expert < experts; ++expert) {
      family.weights.assign(static_cast<size_t>(experts), 0.0);
      family.weights[static_cast<size_t>(expert)] = 1;
      family.name = family.kind == CandidateKind::kSoup
                        ? str_cat("soup(", weights_text(family.weights), ")")
                        : str_cat(divergence_name(family.divergence.kind), " mixture(",
                                  weights_text(family.weights), ")");
      out.push_back(family);
    }
  }
  return out;
}

// Everything that is compared: the menu's candidates and the endpoints it lacks.
struct Tested {
  CandidateSpec item;
  Distributions distributions;
};

MenuCheck check_of(std::string name, double found, bool endpoint, const MenuCheckOptions& options) {
  MenuCheck check{.name = std::move(name),
                  .distance = found,
                  .limit = endpoint ? options.tolerance : options.least_difference,
                  .endpoint = endpoint};
  check.passed = endpoint ? found <= check.limit : found >= check.limit;  // NaN fails
  return check;
}

std::string model_name(int64_t expert) {
  return expert < 0 ? "the initial model" : str_cat("expert ", expert + 1);
}

}  // namespace

Result<std::vector<MenuCheck>> check_menu(const SlotModel& model, const ExpertSource& experts,
                                          const CheckedMenu& menu,
                                          std::span<const MenuPrompt> prompts,
                                          const MenuCheckOptions& options) {
  CANDOR_CHECK(menu.items.size() == menu.candidates.size() && options.positions > 0);
  if (prompts.empty()) return invalid_argument("the checks of a menu need a prompt");
  for (const MenuPrompt& prompt : prompts) {
    CANDOR_RETURN_IF_ERROR(check_menu_prompt(model, prompt.ids, 0));
  }
  std::vector<Tested> tested;
  Prober prober(model, prompts, options.positions);
  for (size_t k = 0; k < menu.items.size(); ++k) {
    CANDOR_TRY(Distributions found, prober.distributions(menu.candidates[k]));
    tested.push_back({menu.items[k], std::move(found)});
  }
  for (const CandidateSpec& item : missing_endpoints(menu.items, model.adapter_count())) {
    CANDOR_TRY(const CandidateModel candidate, candidate_of(item, model.adapter_count()));
    CANDOR_TRY(Distributions found, prober.distributions(candidate));
    tested.push_back({item, std::move(found)});
  }
  std::vector<MenuCheck> checks;
  const auto compare = [&](int64_t expert, const Distributions& reference) {
    for (const Tested& one : tested) {
      const std::optional<int64_t> endpoint = endpoint_of(one.item);
      const double found = distance(one.distributions, reference);
      if (!endpoint.has_value()) {
        checks.push_back(check_of(str_cat("interior ", one.item.name, " <> ", model_name(expert)),
                                  found, false, options));
      } else if (*endpoint == expert) {
        checks.push_back(check_of(str_cat("endpoint ", one.item.name, " = ", model_name(expert)),
                                  found, true, options));
      }
    }
  };
  CANDOR_TRY(const Distributions initial,
             prober.distributions(initial_candidate("initial", model.adapter_count())));
  compare(-1, initial);
  for (int64_t expert = 0; expert < model.adapter_count(); ++expert) {
    CANDOR_TRY(const std::unique_ptr<SlotModel> merged, experts(expert));
    CANDOR_CHECK(merged->vocabulary_size() == model.vocabulary_size());
    Prober other(*merged, prompts, options.positions);
    CANDOR_TRY(const Distributions reference,
               other.distributions(initial_candidate("expert", merged->adapter_count())));
    compare(expert, reference);
  }
  return checks;
}

std::string failed_checks(std::span<const MenuCheck> checks) {
  std::string out;
  for (const MenuCheck& check : checks) {
    if (check.passed) continue;
    out += str_cat(out.empty() ? "" : "; ", check.name, ": total variation ", check.distance,
                   check.endpoint ? ", at most " : ", at least ", check.limit, " is required");
  }
  return out;
}

}  // namespace candor
