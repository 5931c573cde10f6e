#include <algorithm>
#include <cmath>
#include <map>

#include "base/strings.h"
#include "formats/gzip.h"
#include "worker/reward_models.h"

namespace candor {

namespace {

constexpr uint64_t kMaxModelBytes = uint64_t{1} << 28;

struct Term {
  double idf = 0;
  std::vector<double> weights;  // [classes]
};

// linear-ngrams/1: TF-IDF over single words under a multinomial logistic regression.
//
//   x_t = count(t) idf(t), scaled to length 1 (0 where no term occurs)
//   P(class | text) = softmax_class(intercept + sum_t weight_{t, class} x_t)
//
// Words are runs of ASCII letters, digits and _, in lower case; words that are not terms are
// unread.
struct LinearNgrams {
  std::vector<std::string> classes;
  std::vector<double> intercepts;
  std::map<std::string, Term, std::less<>> terms;
};

Result<Term> term_of_json(const Json& row, size_t classes, const std::string& where) {
  const bool shape = row.is_array() && row.size() == classes + 1 &&
                     std::ranges::all_of(row, [](const Json& x) { return x.is_number(); });
  if (!shape) {
    return invalid_argument(str_cat(where, ": found ", row.dump().substr(0, 60),
                                    "; expected the inverse document frequency and a weight for "
                                    "each of ",
                                    classes, " classes"));
  }
  Term term{.idf = row[0].get<double>(), .weights = {}};
  for (size_t k = 0; k < classes; ++k) term.weights.push_back(row[k + 1].get<double>());
  return term;
}

Result<LinearNgrams> read_linear_ngrams(const std::filesystem::path& path) {
  CANDOR_TRY(const std::string bytes, read_record_file(path, kMaxModelBytes));
  const std::string where = path.string();
  CANDOR_TRY(const Json json, parse_json(bytes, where));
  static const std::vector<std::string> kNames = {"linear-ngrams/1"};
  JsonReader in(json, where);
  LinearNgrams model;
  (void)in.choice("candor", kNames);
  model.classes = in.texts("classes");
  model.intercepts = in.numbers("intercepts");
  const Json& terms = in.any("terms");
  CANDOR_RETURN_IF_ERROR(in.finish());
  if (model.classes.size() < 2 || model.intercepts.size() != model.classes.size()) {
    return invalid_argument(str_cat(where, ": found ", model.classes.size(), " classes and ",
                                    model.intercepts.size(),
                                    " intercepts; expected two or more, as many of both"));
  }
  if (!terms.is_object() || terms.empty()) {
    return invalid_argument(str_cat(where, ": $.terms: expected an object of words"));
  }
  for (const auto& item : terms.items()) {
    CANDOR_TRY(Term term, term_of_json(item.value(), model.classes.size(),
                                       str_cat(where, ": $.terms.", item.key())));
    model.terms.emplace(item.key(), std::move(term));
  }
  return model;
}

class LinearNgramsReward final : public RewardModel {
 public:
  LinearNgramsReward(LinearNgrams model, size_t wanted)
      : model_(std::move(model)), wanted_(wanted) {}

  [[nodiscard]] Result<std::vector<double>> score(std::span<const RewardRequest> requests,
                                                  const ProgressSink& /*progress*/) const override {
    std::vector<double> scores;
    scores.reserve(requests.size());
    for (const RewardRequest& request : requests) scores.push_back(score_of(request.completion));
    return scores;
  }

 private:
  [[nodiscard]] std::vector<std::pair<const Term*, double>> scaled_counts(
      std::string_view text) const {
    std::map<std::string, double> counts;  // by word: the sum's order is the text's alone
    std::string word;
    for (size_t i = 0; i <= text.size(); ++i) {
      const char c = i < text.size() ? text[i] : ' ';
      const bool upper = c >= 'A' && c <= 'Z';
      const bool part = upper || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
      if (part) {
        word += static_cast<char>(upper ? c - 'A' + 'a' : c);
      } else if (!word.empty()) {
        ++counts[word];
        word.clear();
      }
    }
    std::vector<std::pair<const Term*, double>> found;
    double square = 0;
    for (const auto& [known, count] : counts) {
      const auto term = model_.terms.find(known);
      if (term == model_.terms.end()) continue;
      found.emplace_back(&term->second, count * term->second.idf);
      square += found.back().second * found.back().second;
    }
    for (auto& [term, value] : found) value /= square > 0 ? std::sqrt(square) : 1;
    return found;
  }

  [[nodiscard]] double score_of(std::string_view text) const {
    std::vector<double> logits = model_.intercepts;
    for (const auto& [term, value] : scaled_counts(text)) {
      for (size_t k = 0; k < logits.size(); ++k) logits[k] += term->weights[k] * value;
    }
    double sum = 0;
    for (const double logit : logits) sum += std::exp(logit - logits[wanted_]);
    return 1 / sum;
  }

  LinearNgrams model_;
  size_t wanted_;
};

}  // namespace

LoadedReward load_linear_ngrams_reward(JsonReader& spec, const RewardPaths& paths) {
  (void)spec.text("digest");
  const std::string wanted = spec.text("class");
  CANDOR_RETURN_IF_ERROR(spec.status());
  CANDOR_TRY(const std::filesystem::path path, paths("model"));
  CANDOR_TRY(LinearNgrams model, read_linear_ngrams(path));
  const auto found = std::ranges::find(model.classes, wanted);
  if (found == model.classes.end()) {
    return invalid_argument(
        str_cat(spec.path(), ".class: found ", quote(wanted), "; the classes of ", path.string(),
                " are ", join(model.classes, ", "), did_you_mean(wanted, model.classes)));
  }
  const auto place = static_cast<size_t>(found - model.classes.begin());
  return {std::make_shared<const LinearNgramsReward>(std::move(model), place)};
}

}  // namespace candor
