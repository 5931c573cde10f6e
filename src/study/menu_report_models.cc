// The report's sections about models: what was asked for, trained, sampled.

#include <algorithm>
#include <cmath>
#include <set>

#include "base/strings.h"
#include "report/line_plot.h"
#include "report/scatter_plot.h"
#include "study/menu_report.h"

namespace candor::menu_report {

namespace {

namespace fs = std::filesystem;

std::string reward_text(const Json& reward) {
  const std::string kind = reward["kind"];
  if (kind == "brevity") {
    return str_cat("brevity: 1 / (1 + words / ", shown(reward["scale_words"]), ")");
  }
  if (kind == "lexicon") return "a lexicon's mean valence of the words";
  const bool good = reward.value("positive_is_good", true);
  std::string from = kind;
  if (reward.contains("data")) {
    from = str_cat("reward model trained on ",
                   fs::path(reward["data"].get<std::string>()).filename().string());
  }
  return str_cat(from, good ? "" : " (1 - probability)");
}

void add_quality_row(const RunFiles& run, const std::string& who, const Json& reward,
                     const std::string& stage, std::vector<std::vector<std::string>>& rows) {
  std::vector<std::string>& row = rows.emplace_back();
  row = {who, reward_text(reward)};
  const auto found = run.metrics.find(stage);
  if (found == run.metrics.end()) {
    row.insert(row.end(), {"-", "-", "-", "-"});
    return;
  }
  const Json held_out = found->second.value("held_out", Json::object());
  const Json length = found->second.value("length_baseline", Json::object());
  const auto get = [](const Json& from, const char* key, int digits) {
    return from.contains(key) ? shown(from[key], digits) : std::string("-");
  };
  row.insert(row.end(), {get(held_out, "accuracy", 3), get(held_out, "auc", 3),
                         get(length, "auc", 3), get(held_out, "calibration_error", 2)});
}

// The series of a run's metrics under the first of `keys` that it logs.
PlotSeries curve_of(const Json& metrics, const std::vector<std::string>& keys,
                    const std::string& name, const std::string& color) {
  PlotSeries out{name, color, false, {}, {}};
  double step = 0;
  for (const Json& line : metrics) {
    step =
        line.contains("step") && line["step"].is_number() ? line["step"].get<double>() : step + 1;
    for (const std::string& key : keys) {
      if (!line.contains(key) || !line[key].is_number()) continue;
      out.x.push_back(step);
      out.y.push_back(line[key].get<double>());
      break;
    }
  }
  return out;
}

Status add_training_plot(const RunFiles& run, const std::string& file, const std::string& title,
                         const std::string& y_label, const std::vector<std::string>& keys,
                         bool with_legend, HtmlPage& page) {
  LinePlot plot;
  plot.title = title;
  plot.x_label = "training step";
  plot.y_label = y_label;
  plot.width_px = 440;
  plot.legend = false;
  size_t color = 0;
  for (const Json& one : run.training["runs"]) {
    const std::string name = one["name"];
    // Experts and trained models; what only prices them would crowd the picture.
    if (name.find("-at-") != std::string::npos || name.find("-without-") != std::string::npos) {
      continue;
    }
    PlotSeries series =
        curve_of(one["metrics"], keys, candidate_text(name), color_of_group(color++));
    if (series.x.size() > 1) plot.series.push_back(std::move(series));
  }
  if (plot.series.empty()) return {};
  std::string legend = "<p>";
  for (const PlotSeries& series : plot.series) {
    legend +=
        str_cat("<span style=\"display:inline-block;width:22px;border-top:3px solid ", series.color,
                ";vertical-align:middle;margin:0 .4em 0 1em\"></span>", escape_html(series.name));
  }
  if (with_legend) page.raw(legend + "</p>");
  return add_plot(run, file, render_svg(plot), page);
}

// Index of the winner's candidate for each vector of sizes, as "wins for 3-7" labels.
std::string wins_of(const RunFiles& run, const std::string& name) {
  std::string out;
  for (const SizesFiles& sizes : run.sizes) {
    const auto winner = sizes.settlement["winner"].get<size_t>();
    if (sizes.table["candidates"][winner]["name"] == name) {
      out += (out.empty() ? "" : ", ") + sizes.name;
    }
  }
  return out;
}

}  // namespace

void add_rewards(const RunFiles& run, HtmlPage& page) {
  page.heading("What the groups asked for, and how good their reward models are");
  std::vector<std::vector<std::string>> rows = {
      {"who", "reward", "accuracy", "AUC", "AUC of length alone", "calibration error"}};
  for (size_t i = 0; i < run.group_count(); ++i) {
    const Json& group = run.study["groups"][i];
    const std::string name = run.group_name(i);
    add_quality_row(run, name, group["reward"], "reward " + name, rows);
    if (group.contains("judge")) {
      add_quality_row(run, "judge of " + name, group["judge"], "judge of " + name, rows);
    }
  }
  page.table(rows);
  page.paragraph(
      "Accuracy and AUC are on held-out texts (0.5 is guessing). A reward model is worth what it "
      "sees beyond the text's length. A judge is an independent measure: it is watched, never "
      "priced. \"-\": nothing was trained.");
  rows = {{"group", "rule", "score mapped to 0", "score mapped to 1", "replies clipped"}};
  for (const Json& rule : run.menu["normalization"]) {
    rows.push_back({rule["group"], rule["rule"], shown(rule["low"]), shown(rule["high"]),
                    str_cat(rule["clipped"].dump(), " of ", rule["replies"].dump())});
  }
  page.subheading("Normalisation to [0, 1], its rule and reference replies sealed first");
  page.table(rows);
}

Status add_experts(const RunFiles& run, HtmlPage& page) {
  page.heading("Training the experts");
  if (run.training["runs"].empty()) {
    page.paragraph(
        "Nothing was trained here: every group brought its expert as an adapter, made before "
        "anybody reported.");
  } else {
    page.paragraph(
        "One model was trained by RLHF for each group on its reward alone; they are what soups "
        "and mixtures are made of. A curve that rises is a model that learns; KL says how far it "
        "moved from the initial model.");
    CANDOR_RETURN_IF_ERROR(add_training_plot(
        run, "training-reward", "reward in training", "mean normalised reward",
        {"objective/scores", "rewards/mean", "reward", "objective/rlhf_reward"}, true, page));
    CANDOR_RETURN_IF_ERROR(add_training_plot(run, "training-kl", "distance from the initial model",
                                             "KL per reply (nats)", {"objective/kl", "kl"}, false,
                                             page));
  }
  std::vector<std::vector<std::string>> rows = {{"model"}};
  for (size_t i = 0; i < run.group_count(); ++i) {
    rows[0].push_back("reward of " + run.group_name(i));
    if (run.study["groups"][i].contains("judge")) rows[0].push_back("its judge");
  }
  for (const Json& candidate : run.menu["candidates"]) {
    const std::string name = candidate["name"];
    const std::string kind = candidate["kind"];
    if (kind != "initial" && !name.starts_with("expert-") && kind != "trained") continue;
    std::vector<std::string>& row = rows.emplace_back();
    row = {candidate_text(name)};
    for (size_t i = 0; i < run.group_count(); ++i) {
      row.push_back(shown(candidate["raw_scores"][i]));
      if (run.study["groups"][i].contains("judge")) row.push_back(shown(candidate["judges"][i]));
    }
  }
  page.subheading("What training did, on the prompts that price (raw scores)");
  page.table(rows);
  page.paragraph(
      "Where a reward rises and its judge falls, the model has learnt to please the reward model "
      "rather than the people behind it.");
  return {};
}

Status add_candidates(const RunFiles& run, HtmlPage& page) {
  page.heading("The menu");
  page.paragraph(
      "Candidates: the initial model, the experts, soups (their weights averaged) and mixtures "
      "(their next-word probabilities combined while decoding). Each point is one model, with its "
      "interval over prompts; the dashed line joins those that no other beats for both groups.");
  static const std::vector<std::pair<std::string, std::string>> kKinds = {
      {"initial", "#555555"}, {"soup", "#2f6fb0"}, {"mixture", "#c0392b"}, {"trained", "#1e8449"}};
  for (size_t i = 0; i + 1 < run.group_count(); ++i) {
    for (size_t j = i + 1; j < run.group_count(); ++j) {
      ScatterPlot plot;
      plot.title = str_cat(run.group_name(i), " against ", run.group_name(j));
      plot.x_label = "mean reward of " + run.group_name(i);
      plot.y_label = "mean reward of " + run.group_name(j);
      std::vector<std::pair<double, double>> points;
      for (const auto& [kind, color] : kKinds) plot.series.push_back({kind, color, {}});
      const Json& names = run.estimates["candidates"];
      for (size_t k = 0; k < names.size(); ++k) {
        const Json& x = run.estimates["valuations"][i][k];
        const Json& y = run.estimates["valuations"][j][k];
        const std::string name = names[k];
        std::string label;
        if (name == "initial" || name.starts_with("expert-")) label = candidate_text(name);
        if (const std::string wins = wins_of(run, name); !wins.empty()) {
          label = str_cat(candidate_text(name), " wins for ", wins);
        }
        const auto bounded = [](const Json& value, const char* key) {
          const double bound = value[key].get<double>();
          const double middle = value["estimate"].get<double>();
          return std::string_view(key) == "low" ? std::min(bound, middle) : std::max(bound, middle);
        };
        ScatterPoint point{.x = x["estimate"],
                           .x_low = bounded(x, "low"),
                           .x_high = bounded(x, "high"),
                           .y = y["estimate"],
                           .y_low = bounded(y, "low"),
                           .y_high = bounded(y, "high"),
                           .label = std::move(label)};
        points.emplace_back(point.x, point.y);
        for (const Json& candidate : run.menu["candidates"]) {
          if (candidate["name"] != name) continue;
          for (ScatterSeries& series : plot.series) {
            if (series.name == candidate["kind"]) series.points.push_back(point);
          }
        }
      }
      plot.front = pareto_front(points);
      std::erase_if(plot.series, [](const ScatterSeries& one) { return one.points.empty(); });
      CANDOR_RETURN_IF_ERROR(
          add_plot(run, str_cat("pareto-", i + 1, "-", j + 1), render_svg(plot), page));
    }
  }
  return {};
}

void add_replies(const RunFiles& run, HtmlPage& page) {
  static constexpr size_t kPromptsShown = 3;
  page.heading("What they answer");
  std::vector<std::string> models;
  for (const Json& candidate : run.menu["candidates"]) {
    const std::string name = candidate["name"];
    if (name == "initial" || name.starts_with("expert-")) models.push_back(name);
  }
  for (const SizesFiles& sizes : run.sizes) {
    const auto winner = sizes.settlement["winner"].get<size_t>();
    const std::string name = sizes.table["candidates"][winner]["name"];
    if (std::ranges::find(models, name) == models.end()) models.push_back(name);
  }
  const size_t prompts = run.prompts.size();
  for (size_t p = 0; p < std::min(kPromptsShown, prompts); ++p) {
    const size_t prompt = p * prompts / std::min(kPromptsShown, prompts);
    const Json& record = run.prompts[prompt];
    const std::string text = record.contains("prompt")
                                 ? record["prompt"].get<std::string>()
                                 : record["messages"].back()["content"].get<std::string>();
    page.subheading(str_cat("\xe2\x80\x9c", shorten(text, 200), "\xe2\x80\x9d"));
    std::vector<std::vector<std::string>> rows = {{"model"}};
    for (size_t i = 0; i < run.group_count(); ++i) rows[0].push_back(run.group_name(i));
    rows[0].emplace_back("first reply");
    for (const std::string& model : models) {
      for (const Json& line : run.bank) {
        if (line["candidate"] != model || line["prompt_index"] != prompt || line["sample"] != 0) {
          continue;
        }
        std::vector<std::string>& row = rows.emplace_back();
        const std::string wins = wins_of(run, model);
        row = {candidate_text(model) + (wins.empty() ? "" : " (chosen for " + wins + ")")};
        for (size_t i = 0; i < run.group_count(); ++i) {
          row.push_back(shown(line["scores"][run.group_name(i)], 2));
        }
        row.push_back(shorten(line["text"].get<std::string>(), 260));
      }
    }
    page.table(rows);
  }
  page.paragraph("Every model draws with the same random numbers; figures are raw rewards.");
}

}  // namespace candor::menu_report
