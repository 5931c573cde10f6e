#include "apps/reward_argument.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/cpu.h"
#include "base/number.h"
#include "base/strings.h"
#include "formats/lora_adapter.h"
#include "lm/kernel_setup.h"
#include "study/reward_source.h"
#include "study/reward_stages.h"
#include "study/source.h"
#include "worker/stage.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

constexpr const char* kTurnedHead = "not-head";

// What stands behind the colon, and how it is shown.
struct KindForm {
  const char* kind;
  const char* key;
  const char* what;
};
constexpr KindForm kForms[] = {{"brevity", "scale_words", "WORDS"},
                               {"lexicon", "lexicon", "FILE"},
                               {"linear_ngrams", "model", "FILE#class=CLASS"},
                               {"head", "head", "FOLDER"},
                               {kTurnedHead, "head", "FOLDER"},
                               {"checkpoint", "model", "FOLDER"},
                               {"remote", "url", "URL"},
                               {"labelled", "data", "FILE"},
                               {"preference", "data", "FILE"}};

const KindForm* form_of(const std::string& kind) {
  const auto* found =
      std::ranges::find(kForms, kind, [](const KindForm& form) { return std::string(form.kind); });
  return found == std::end(kForms) ? nullptr : found;
}

// The value of a key as JSON has it: a number, a truth value, else a text.
Json value_of(const std::string& text) {
  if (text == "true" || text == "false") return text == "true";
  const Result<double> number = parse_number(text);
  return number.ok() ? Json(*number) : Json(text);
}

void put(const std::string& key, const std::string& text, Json& object) {
  if (key == "positive_values") {
    object[key] = split(text, '|');
  } else if (key == "class" || key == "version" || key.ends_with("_field")) {
    object[key] = text;  // a text however it looks
  } else {
    object[key] = value_of(text);
  }
}

Result<RewardObject> object_of_text(const std::string& text, const RewardContext& context) {
  const auto refuse = [&] {
    return usage_error(
        str_cat(context.flag, ": found ", quote(text), "; expected ", reward_argument_form()));
  };
  const std::vector<std::string> parts = split(text, '#');
  const size_t colon = parts[0].find(':');
  const KindForm* form = form_of(parts[0].substr(0, colon));
  if (form == nullptr || colon == std::string::npos || colon + 1 == parts[0].size()) {
    return refuse();
  }
  RewardObject out{.name = form->kind,
                   .json = {{"kind", form->kind}},
                   .source = str_cat(context.flag, " ", text),
                   .folder = fs::current_path()};
  if (out.name == kTurnedHead) out.json = {{"kind", "head"}, {"positive_is_good", false}};
  const std::string what = parts[0].substr(colon + 1);
  out.json[form->key] = out.name == "brevity" ? value_of(what) : Json(what);
  for (size_t i = 1; i < parts.size(); ++i) {
    const size_t sign = parts[i].find('=');
    if (sign == std::string::npos || sign == 0) return refuse();
    put(parts[i].substr(0, sign), parts[i].substr(sign + 1), out.json);
  }
  return out;
}

Result<RewardObject> object_of_file(const std::string& name) {
  CANDOR_TRY(Json json, read_json_file(name));
  RewardObject out{.name = {},
                   .json = std::move(json),
                   .source = name,
                   .folder = fs::absolute(name).parent_path(),
                   .in_file = true};
  const bool named =
      out.json.is_object() && out.json.contains("kind") && out.json["kind"].is_string();
  out.name = named ? out.json["kind"].get<std::string>() : "reward";
  return out;
}

// Keys that a study would have to spell and a command knows.
Status fill_in(const RewardContext& context, RewardObject& object) {
  Json& json = object.json;
  if (!json.is_object() || !json.contains("kind")) return {};
  if (json["kind"] == "remote") json.emplace("version", "as it answers");
  const bool head = json["kind"] == "head" && json.contains("head") && json["head"].is_string();
  if (head && !json.contains("encoder")) {
    // A head that was trained together with its encoder has it beside it.
    CANDOR_TRY(const fs::path folder,
               resolve_source(json["head"].get<std::string>(), object.folder));
    const fs::path beside = folder / "encoder";
    json["encoder"] = fs::exists(beside) ? fs::absolute(beside).string() : context.encoder;
  }
  if (json["kind"] == "labelled" || json["kind"] == "preference") {
    json.emplace("encoder", context.encoder);
  }
  if (json["kind"] != "checkpoint" || json.contains("adapter") || !json.contains("model") ||
      !json["model"].is_string()) {
    return {};
  }
  // An adapter stands on the base that is given, or on the one that it names.
  const std::string model = json["model"].get<std::string>();
  CANDOR_TRY(const fs::path folder, resolve_source(model, object.folder));
  if (!fs::exists(folder / "adapter_config.json")) {
    if (context.base.empty()) return {};
    return invalid_argument(
        str_cat(folder.string(), ": is a whole model, no adapter over ", context.base));
  }
  CANDOR_TRY(const std::string named, adapter_base_model(folder));
  const std::string& base = context.base.empty() ? named : context.base;
  const Result<fs::path> found = resolve_source(base, fs::current_path());
  if (base.empty() || !found.ok()) {
    return invalid_argument(str_cat(folder.string(), ": the adapter's base model, ", quote(base),
                                    ", is not there; name it"));
  }
  json["adapter"] = model;
  json["model"] = found->string();
  return {};
}

// The head of a kind that a study would train, as its stage makes it.
Result<fs::path> train_head(const RewardSource& reward, const RewardFiles& files,
                            const RewardContext& context, const ProgressSink& progress) {
  CANDOR_CHECK(!context.trained.empty());
  const Machine machine = {.threads = context.threads,
                           .instruction_set = instruction_set(),
                           .cpu_vendor = cpu_vendor(),
                           .torch = torch_version()};
  const Stage stage = reward_training_stage(reward, files, "", context.seed, machine);
  std::error_code code;
  fs::remove_all(context.trained, code);  // of a run that was stopped: it is made again, the same
  if (!code) fs::create_directories(context.trained, code);
  if (code) return resource_error(str_cat(context.trained.string(), ": ", code.message()));
  StageRequest request{.kind = stage.kind,
                       .source = context.flag,
                       .spec = stage.spec,
                       .paths = {},
                       .output = context.trained,
                       .checkpoints = {}};
  for (const auto& [name, input] : stage.inputs) request.paths[name] = input.path;
  CANDOR_RETURN_IF_ERROR(run_reward_stage(request, progress));
  return context.trained;
}

}  // namespace

std::string reward_argument_form() {
  std::vector<std::string> forms;
  for (const KindForm& form : kForms) forms.push_back(str_cat(form.kind, ":", form.what));
  return str_cat(join(forms, ", "),
                 " (#KEY=VALUE adds a key that the kind has in a study), or FILE.json with such an "
                 "object");
}

bool names_reward_kind(const std::string& text) {
  const size_t colon = text.find(':');
  return colon != std::string::npos && form_of(text.substr(0, colon)) != nullptr;
}

RewardPaths RewardArgument::finder() const {
  return [this](const std::string& file) -> Result<fs::path> {
    const auto found = paths.find(file);
    if (found != paths.end()) return found->second;
    return invalid_argument(str_cat("a reward of kind ", name, " needs a ", file));
  };
}

Result<RewardArgument> reward_argument(const RewardObject& given, const RewardContext& context,
                                       const ProgressSink& progress) {
  RewardObject object = given;
  CANDOR_RETURN_IF_ERROR(fill_in(context, object));
  const Json group = {{"reward", object.json}};
  JsonReader in(group, object.source);
  const RewardSource reward = read_reward_source(in, "reward");
  if (const Status status = in.finish(); !status.ok()) {
    if (object.in_file) return status.error();
    return usage_error(status.error().message);
  }
  CANDOR_TRY(const RewardFiles files, find_reward_files(reward, object.folder));
  fs::path trained;
  if (reward.trained()) {
    CANDOR_TRY(trained, train_head(reward, files, context, progress));
  }
  CANDOR_TRY(RewardSpec spec, reward_spec(reward, files, trained));
  RewardArgument out{.name = object.name, .spec = std::move(spec.spec), .paths = {}};
  for (const auto& [name, input] : spec.inputs) out.paths[name] = input.path;
  return out;
}

Result<RewardArgument> reward_argument(const std::string& text, const RewardContext& context,
                                       const ProgressSink& progress) {
  const bool file = text.ends_with(".json") && !names_reward_kind(text);
  CANDOR_TRY(const RewardObject object,
             file ? object_of_file(text) : object_of_text(text, context));
  return reward_argument(object, context, progress);
}

Result<RewardFunction> load_reward(const RewardArgument& argument, const RewardContext& context) {
  JsonReader in(argument.spec, str_cat(context.flag, " ", argument.name));
  CANDOR_TRY(RewardFunction reward, RewardFunction::load(in, argument.finder(), context.threads));
  CANDOR_RETURN_IF_ERROR(in.finish());
  return reward;
}

}  // namespace candor
