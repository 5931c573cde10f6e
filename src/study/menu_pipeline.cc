#include "study/menu_pipeline.h"

#include <algorithm>
#include <set>

#include "base/file.h"
#include "base/strings.h"
#include "formats/npy.h"
#include "formats/records.h"
#include "receipt/canonical_json.h"
#include "study/menu_stages.h"
#include "study/source.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

Status named(const Status& status, const std::string& group) {
  if (status.ok()) return status;
  return Error{status.error().code, str_cat("group ", quote(group), ": ", status.error().message)};
}

// What a training run wrote about itself.
Result<Json> read_run_metrics(const fs::path& folder) {
  Json out = {{"steps", Json::array()}, {"summary", nullptr}, {"warnings", Json::array()}};
  if (fs::exists(folder / "metrics.jsonl")) {
    CANDOR_TRY(const std::vector<Json> lines, read_jsonl(folder / "metrics.jsonl"));
    for (const Json& line : lines) out["steps"].push_back(line);
  }
  for (const char* key : {"summary", "warnings"}) {
    const fs::path file = folder / str_cat(key, ".json");
    if (!fs::exists(file)) continue;
    CANDOR_TRY(out[key], read_json_file(file.string()));
  }
  return out;
}

class MenuRunner {
 public:
  MenuRunner(const MenuPipeline& pipeline, const Store& store, const StageSink& sink)
      : pipeline_(pipeline), stages_(store, sink), study_(pipeline.study()) {}

  Result<MenuRun> run() {
    CANDOR_RETURN_IF_ERROR(make_initial_model());
    CANDOR_RETURN_IF_ERROR(sample_reference());
    CANDOR_RETURN_IF_ERROR(train_rewards());
    CANDOR_RETURN_IF_ERROR(fit_normalizers());
    CANDOR_TRY(std::vector<AdapterArtifact> adapters, train_experts(pipeline_.runs, ""));
    CANDOR_TRY(out_.bank, make_bank(std::move(adapters), ""));
    stages_.begin_misreports();
    for (const MisreportChoice& lie : study_.menu->misreports) {
      CANDOR_TRY(MenuBank bank, run_misreport(lie));
      out_.misreports.push_back(std::move(bank));
    }
    out_.stages = stages_.list();
    out_.stages_digest = stages_.digest();
    return std::move(out_);
  }

 private:
  Result<fs::path> get(const Stage& stage) { return stages_.get(stage); }

  Status make_initial_model() {
    model_ = pipeline_.base.model_input();
    if (study_.menu->sft.has_value()) {
      CANDOR_TRY(const fs::path folder, get(sft_stage(pipeline_)));
      model_.path = folder / "model";
      CANDOR_TRY(model_.digest, digest_of_source(model_.path));
      CANDOR_TRY(out_.sft_metrics, read_run_metrics(folder));
    }
    out_.model_digest = model_.digest;
    return {};
  }

  // Sealed before any group's reward is looked at: the rules, and the bank that normalises.
  Status sample_reference() {
    CANDOR_TRY(reference_, get(reference_bank_stage(pipeline_, model_)));
    CANDOR_TRY(out_.reference_metrics, read_json_file((reference_ / "metrics.json").string()));
    CANDOR_TRY(reference_digest_, digest_of_file((reference_ / "bank.jsonl").string()));
    out_.seal = pipeline_.base.seal("", reference_digest_);
    out_.seal.erase("bank");  // it depends on the menu: menu_seal
    out_.seal.erase("digest");
    out_.seal["model"] = model_.digest;
    out_.seal["sizes_settled"] = size_vectors(study_);
    out_.seal["menu"] = digest_of(to_line(study_.resolved["menu"]));
    if (study_.menu->experts.has_value()) {
      out_.seal["experts"] = digest_of(to_line(study_.resolved["experts"]));
      out_.seal["train_prompts"] = pipeline_.train_prompts_digest;
    }
    CANDOR_TRY(const std::string text, canonical_json(out_.seal));
    out_.seal["digest"] = digest_of(text);
    return {};
  }

  Result<fs::path> train_reward(const RewardSource& reward, const RewardFiles& files,
                                const std::string& name, std::vector<Json>& metrics) {
    metrics.emplace_back();
    if (!reward.trained()) return fs::path();
    CANDOR_TRY(const fs::path folder, get(reward_training_stage(reward, files, name, study_.seed,
                                                                pipeline_.base.machine)));
    CANDOR_TRY(metrics.back(), read_json_file((folder / "metrics.json").string()));
    return folder;
  }

  Status train_rewards() {
    for (size_t i = 0; i < study_.groups.size(); ++i) {
      const StudyGroup& group = study_.groups[i];
      CANDOR_TRY(const fs::path folder, train_reward(group.reward, pipeline_.base.groups[i],
                                                     group.name, out_.reward_metrics));
      CANDOR_TRY(RewardSpec spec, reward_spec(group.reward, pipeline_.base.groups[i], folder));
      rewards_.push_back({std::move(spec), {}});
      judges_.emplace_back();
      if (!group.judge.has_value()) {
        out_.judge_metrics.emplace_back();
        continue;
      }
      CANDOR_TRY(const fs::path judge, train_reward(*group.judge, *pipeline_.judges[i],
                                                    "judge of " + group.name, out_.judge_metrics));
      CANDOR_TRY(judges_.back().reward, reward_spec(*group.judge, *pipeline_.judges[i], judge));
    }
    return {};
  }

  Status fit_normalizers() {
    const ScoredBank bank =
        pipeline_.base.scored_bank(reference_, reference_digest_, " on the reference bank");
    for (size_t i = 0; i < study_.groups.size(); ++i) {
      const std::string& name = study_.groups[i].name;
      CANDOR_TRY(std::vector<double> scores, scores_of(rewards_[i].reward, name, bank));
      CANDOR_TRY(const Normalizer normalizer, Normalizer::fit(study_.normalization, name, scores));
      rewards_[i].normalizer = normalizer;
      out_.normalizers.push_back(normalizer);
      out_.reference_scores.push_back(std::move(scores));
      judged_.push_back(false);
      if (!study_.groups[i].judge.has_value() || !study_.menu->experts.has_value()) continue;
      CANDOR_TRY(const std::vector<double> judged,
                 scores_of(judges_[i].reward, "judge of " + name, bank));
      // A judge that says the same of every reply cannot watch training; the report still shows it.
      const Result<Normalizer> scale = Normalizer::fit("min_max", name, judged);
      if (!scale.ok()) continue;
      judges_[i].normalizer = *scale;
      judged_[i] = true;
    }
    return {};
  }

  Result<std::vector<double>> scores_of(const RewardSpec& reward, const std::string& name,
                                        const ScoredBank& bank) {
    CANDOR_TRY(const fs::path folder, get(score_stage(reward, name, bank, pipeline_.base.machine)));
    CANDOR_TRY(const NpyFile npy, NpyFile::open(folder / "scores.npy"));
    return npy.doubles();
  }

  // Experts in group order, given or trained, then the other runs in theirs. `suffix` ends the
  // labels of runs under a misreport, whose curves nobody keeps.
  Result<std::vector<AdapterArtifact>> train_experts(const std::vector<ExpertRun>& runs,
                                                     const std::string& suffix) {
    std::vector<AdapterArtifact> out(study_.groups.size());
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = {.name = "expert-" + study_.groups[i].name,
                .path = pipeline_.given_adapters[i],
                .digest = pipeline_.given_digests[i],
                .artifact = {}};
    }
    for (const ExpertRun& run : runs) {
      const bool watched = run.role == ExpertRun::Role::kExpert && judged_[run.group];
      Stage stage =
          expert_stage(pipeline_, model_, run, rewards_, watched ? &judges_[run.group] : nullptr);
      stage.label += suffix;
      CANDOR_TRY(const fs::path folder, get(stage));
      AdapterArtifact made{
          .name = run.name, .path = folder / "adapter", .digest = {}, .artifact = folder};
      CANDOR_TRY(made.digest, digest_of_source(made.path));
      if (suffix.empty()) {
        CANDOR_TRY(Json metrics, read_run_metrics(folder));
        out_.run_metrics.push_back(std::move(metrics));
      }
      if (run.role == ExpertRun::Role::kExpert) {
        out[run.group] = std::move(made);
      } else {
        out.push_back(std::move(made));
      }
    }
    return out;
  }

  // Candidates of the grids, then one for each further run whose model is not there yet.
  void add_run_candidates(MenuBank& bank) const {
    const size_t groups = study_.groups.size();
    size_t adapter = groups;
    for (const ExpertRun& run : pipeline_.runs) {
      const bool expert = run.role == ExpertRun::Role::kExpert;
      const size_t own = expert ? run.group : adapter++;
      size_t same = own;  // without another group, the run of a pair is the other's expert
      for (size_t a = 0; a < own; ++a) {
        if (bank.adapters[a].digest == bank.adapters[own].digest) {
          same = a;
          break;
        }
      }
      if (same < groups) {
        bank.run_candidates.push_back((study_.menu->menu.initial ? 1 : 0) + same);
        continue;
      }
      const auto found = std::ranges::find_if(bank.candidates, [&](const MenuCandidate& one) {
        return one.kind == MenuCandidate::Kind::kAdapter && one.adapter == same;
      });
      bank.run_candidates.push_back(static_cast<size_t>(found - bank.candidates.begin()));
      if (found != bank.candidates.end()) continue;
      bank.candidates.push_back({.name = run.name,
                                 .kind = MenuCandidate::Kind::kAdapter,
                                 .weights = {},
                                 .adapter = own,
                                 .on_menu = run.role == ExpertRun::Role::kTrained});
    }
  }

  // What is fixed before any reply of the menu is scored (DESIGN 6).
  Result<Json> seal_menu(const MenuBank& bank) const {
    Json candidates = Json::array();
    for (const MenuCandidate& candidate : bank.candidates) candidates.push_back(candidate.name);
    Json adapters = Json::array();
    for (const AdapterArtifact& adapter : bank.adapters) {
      adapters.push_back({{"name", adapter.name}, {"digest", adapter.digest}});
    }
    Json seal = {{"candor", "menu-seal/1"},
                 {"rules", out_.seal["digest"]},
                 {"bank", bank.digest},
                 {"candidates", std::move(candidates)},
                 {"adapters", std::move(adapters)},
                 {"menu_depends_on_reports", pipeline_.depends_on_reports()}};
    CANDOR_TRY(const std::string text, canonical_json(seal));
    seal["digest"] = digest_of(text);
    return seal;
  }

  Result<MenuBank> make_bank(std::vector<AdapterArtifact> adapters, const std::string& suffix) {
    MenuBank bank;
    bank.adapters = std::move(adapters);
    bank.candidates = pipeline_.candidates;
    add_run_candidates(bank);
    CANDOR_TRY(const fs::path tests, get(menu_check_stage(pipeline_, model_, bank, suffix)));
    CANDOR_TRY(const Json checks, read_json_file((tests / "checks.json").string()));
    for (Json check : checks["checks"]) {
      check["name"] = check["name"].get<std::string>() + suffix;
      out_.self_tests.push_back(std::move(check));
    }
    CANDOR_TRY(const fs::path folder, get(menu_bank_stage(pipeline_, model_, bank, suffix)));
    const fs::path file = folder / "bank.jsonl";
    CANDOR_TRY(bank.digest, digest_of_file(file.string()));
    CANDOR_TRY(bank.replies, read_jsonl(file));
    CANDOR_TRY(bank.metrics, read_json_file((folder / "metrics.json").string()));
    CANDOR_RETURN_IF_ERROR(check_bank(bank, file));
    if (suffix.empty()) {
      CANDOR_TRY(out_.menu_seal, seal_menu(bank));
    }
    CANDOR_TRY(const fs::path divergences,
               get(divergence_stage(pipeline_, model_, bank, file, suffix)));
    CANDOR_TRY(const NpyFile npy, NpyFile::open(divergences / "divergence.npy"));
    CANDOR_TRY(bank.divergences, npy.doubles());
    CANDOR_RETURN_IF_ERROR(check_length(bank, bank.divergences.size(), "divergences"));
    CANDOR_RETURN_IF_ERROR(score_bank(bank, folder, suffix));
    return bank;
  }

  Status score_bank(MenuBank& bank, const fs::path& folder, const std::string& suffix) {
    const ScoredBank scored =
        pipeline_.base.scored_bank(folder, bank.digest, " on the menu bank" + suffix);
    for (size_t i = 0; i < study_.groups.size(); ++i) {
      const std::string& name = study_.groups[i].name;
      CANDOR_TRY(std::vector<double> scores, scores_of(rewards_[i].reward, name, scored));
      CANDOR_RETURN_IF_ERROR(check_length(bank, scores.size(), "scores of " + name));
      bank.scores.push_back(std::move(scores));
      bank.judge_scores.emplace_back();
      if (!study_.groups[i].judge.has_value() || !suffix.empty()) continue;
      CANDOR_TRY(bank.judge_scores.back(),
                 scores_of(judges_[i].reward, "judge of " + name, scored));
      CANDOR_RETURN_IF_ERROR(
          check_length(bank, bank.judge_scores.back().size(), "the judge of " + name));
    }
    return {};
  }

  [[nodiscard]] static Status check_length(const MenuBank& bank, size_t found,
                                           const std::string& what) {
    if (found == bank.replies.size()) return {};
    return invalid_argument(
        str_cat(what, ": found ", found, " values for ", bank.replies.size(), " replies"));
  }

  // The order that everything after relies on.
  [[nodiscard]] Status check_bank(const MenuBank& bank, const fs::path& file) const {
    const size_t prompts = pipeline_.base.prompts.size();
    const auto samples = static_cast<size_t>(study_.bank.samples);
    if (bank.replies.size() != bank.candidates.size() * prompts * samples) {
      return invalid_argument(str_cat(file.string(), ": holds ", bank.replies.size(),
                                      " replies; expected ", bank.candidates.size(),
                                      " candidates x ", prompts, " prompts x ", samples));
    }
    for (size_t r = 0; r < bank.replies.size(); ++r) {
      const std::string& name = bank.candidates[r / (prompts * samples)].name;
      JsonReader line(bank.replies[r], str_cat(file.string(), ":", r + 1));
      const bool fits = line.text("candidate") == name &&
                        line.integer("prompt_index", 0, INT64_MAX) ==
                            static_cast<int64_t>(r / samples % prompts) &&
                        line.integer("sample", 0, INT64_MAX) == static_cast<int64_t>(r % samples);
      CANDOR_RETURN_IF_ERROR(line.status());
      if (!fits) {
        return line.error_at("candidate",
                             str_cat("the reply is out of order; expected candidate ", quote(name),
                                     ", prompt ", r / samples % prompts, ", sample ", r % samples));
      }
    }
    return {};
  }

  Result<MenuBank> run_misreport(const MisreportChoice& lie) {
    std::vector<ExpertRun> runs = expert_runs(study_, reports_under(study_, lie));
    const std::string suffix = misreport_suffix(lie);
    // Only what is on the menu matters to a lie; runs off it keep their truthful models.
    for (size_t r = 0; r < runs.size(); ++r) {
      const bool on_menu =
          runs[r].role == ExpertRun::Role::kExpert || runs[r].role == ExpertRun::Role::kTrained;
      if (!on_menu) runs[r] = pipeline_.runs[r];
    }
    CANDOR_TRY(std::vector<AdapterArtifact> adapters, train_experts(runs, suffix));
    return make_bank(std::move(adapters), suffix);
  }

  const MenuPipeline& pipeline_;
  RunStages stages_;
  const Study& study_;
  StageInput model_;
  fs::path reference_;
  std::string reference_digest_;
  std::vector<ScaledReward> rewards_, judges_;  // [n]
  std::vector<bool> judged_;                    // [n], the judge can watch training
  MenuRun out_;
};

}  // namespace

TrainingReports reports_under(const Study& study, const MisreportChoice& lie) {
  const auto group = std::ranges::find(study.groups, lie.group, &StudyGroup::name);
  return {.group = static_cast<size_t>(group - study.groups.begin()),
          .size_inflation = lie.size_inflation.value_or(1),
          .preference_mix = lie.preference_mix.value_or(1)};
}

std::string misreport_suffix(const MisreportChoice& lie) {
  return str_cat(" under ", lie.group, "'s ",
                 lie.size_inflation.has_value() ? "size x " : "preference mix ",
                 format_short(lie.size_inflation.value_or(lie.preference_mix.value_or(1)), 4));
}

PlanRequest target_request(const Study& study) {
  size_t candidates = menu_candidates(study).size();
  for (const ExpertRun& run : expert_runs(study)) {
    candidates += run.role == ExpertRun::Role::kTrained ? 1 : 0;
  }
  return {.epsilon = study.target_epsilon,
          .confidence = study.confidence,
          .groups = study.groups.size(),
          .candidates = candidates};
}

Result<MenuPipeline> MenuPipeline::plan(const Study& study, const Machine& machine) {
  MenuPipeline out;
  CANDOR_TRY(out.base, Pipeline::plan(study, machine));
  const MenuSettings& menu = *study.menu;
  if (study.target_epsilon > 0) {
    CANDOR_TRY(const SampleSize target, forecast_own_bound(target_request(study)));
    out.base.limit_prompts(target.prompts);
  }
  if (menu.sft.has_value()) {
    CANDOR_RETURN_IF_ERROR(find_source(menu.sft->data, study.folder, out.sft_path, out.sft_digest));
  }
  if (menu.experts.has_value()) {
    CANDOR_RETURN_IF_ERROR(find_source(menu.experts->train_prompts, study.folder,
                                       out.train_prompts_path, out.train_prompts_digest));
    CANDOR_TRY(const std::vector<Json> prompts, read_jsonl(out.train_prompts_path));
    CANDOR_RETURN_IF_ERROR(check_prompts(prompts, out.train_prompts_path));
    std::set<std::string> trained;
    for (const Json& prompt : prompts) trained.insert(prompt_identity(prompt));
    out.trained_on =
        static_cast<size_t>(std::ranges::count_if(out.base.prompts, [&](const Json& prompt) {
          return trained.contains(prompt_identity(prompt));
        }));
  }
  for (const StudyGroup& group : study.groups) {
    fs::path& adapter = out.given_adapters.emplace_back();
    std::string& digest = out.given_digests.emplace_back();
    CANDOR_RETURN_IF_ERROR(
        named(find_source(group.adapter, study.folder, adapter, digest), group.name));
    std::optional<RewardFiles>& judge = out.judges.emplace_back();
    if (!group.judge.has_value()) continue;
    Result<RewardFiles> files = find_reward_files(*group.judge, study.folder);
    if (!files.ok()) return named(files.error(), group.name).error();
    judge = std::move(*files);
  }
  out.runs = expert_runs(study);
  out.candidates = menu_candidates(study);
  return out;
}

std::vector<size_t> MenuPipeline::makers_of_adapter(size_t adapter) const {
  const std::vector<StudyGroup>& groups = study().groups;
  std::vector<size_t> out;
  if (adapter < groups.size()) {
    const StudyGroup& own = groups[adapter];
    if (own.adapter.empty()) return {adapter};
    for (size_t i = 0; i < groups.size(); ++i) {
      if (groups[i].name == own.adapter_made_by) out.push_back(i);
    }
    return out;
  }
  // The runs that are no experts have the adapters behind the groups', in their order.
  size_t place = groups.size();
  for (const ExpertRun& run : runs) {
    if (run.role == ExpertRun::Role::kExpert || place++ != adapter) continue;
    for (size_t i = 0; i < run.weights.size(); ++i) {
      if (run.weights[i] != 0) out.push_back(i);
    }
  }
  return out;
}

std::vector<size_t> MenuPipeline::makers_of(const MenuCandidate& candidate) const {
  if (candidate.kind == MenuCandidate::Kind::kInitial) return {};
  if (candidate.kind == MenuCandidate::Kind::kAdapter) return makers_of_adapter(candidate.adapter);
  std::set<size_t> out;
  for (size_t i = 0; i < candidate.weights.size(); ++i) {
    if (candidate.weights[i] == 0) continue;
    for (const size_t maker : makers_of_adapter(i)) out.insert(maker);
  }
  return {out.begin(), out.end()};
}

bool MenuPipeline::depends_on_reports() const {
  if (!runs.empty()) return true;
  for (size_t i = 0; i < study().groups.size(); ++i) {
    if (!makers_of_adapter(i).empty()) return true;
  }
  return false;
}

std::vector<std::string> MenuPipeline::warnings() const {
  std::vector<std::string> out = base.warnings();
  if (trained_on > 0) {
    out.push_back(str_cat("Of the ", base.prompts.size(), " prompts that price, ", trained_on,
                          trained_on == 1 ? " is" : " are",
                          " among the training prompts: experts look better there than on "
                          "prompts they have not seen."));
  }
  return out;
}

Json MenuPipeline::sources() const {
  Json out = base.sources();
  const auto add = [&](const std::string& name, const std::string& source,
                       const std::string& digest) {
    if (!digest.empty()) out[name] = {{"source", source}, {"digest", digest}};
  };
  const MenuSettings& menu = *study().menu;
  if (menu.sft.has_value()) add("sft data", menu.sft->data, sft_digest);
  if (menu.experts.has_value()) {
    add("training prompts", menu.experts->train_prompts, train_prompts_digest);
  }
  for (size_t i = 0; i < study().groups.size(); ++i) {
    const StudyGroup& group = study().groups[i];
    add(str_cat("group ", group.name, ": expert"), group.adapter, given_digests[i]);
    if (!judges[i].has_value()) continue;
    add_sources(*group.judge, *judges[i], str_cat("judge of ", group.name), out);
  }
  return out;
}

Result<MenuRun> run_menu_pipeline(const MenuPipeline& pipeline, const Store& store,
                                  const StageSink& sink) {
  return MenuRunner(pipeline, store, sink).run();
}

}  // namespace candor
