#include "files/run_files.h"

#include <utility>

#include "receipt/canonical_json.h"

namespace candor {

namespace {

std::map<std::string, std::string> read_digests(JsonReader& in, const std::string& key) {
  std::map<std::string, std::string> out;
  JsonReader files = in.object(key);
  if (!in.ok()) return out;
  for (const auto& item : files.json().items()) out[item.key()] = files.text(item.key());
  in.adopt(files.status());
  return out;
}

// Of everything in a document but its own digest.
Result<std::string> digest_of_rest(const JsonReader& in) {
  Json content = in.json();
  content.erase("digest");
  const Result<std::string> text = canonical_json(content);
  if (!text.ok()) return in.error_at("", text.error().message);
  return digest_of(*text);
}

std::vector<StageRecord> read_stages(JsonReader& in) {
  std::vector<StageRecord> out;
  for (JsonReader& stage : in.objects("stages")) {
    StageRecord record{.label = stage.text("label"),
                       .kind = stage.text("kind"),
                       .artifact = stage.text("artifact"),
                       .files = read_digests(stage, "files"),
                       .misreport = stage.boolean_or("misreport", false)};
    in.adopt(stage.finish());
    out.push_back(std::move(record));
  }
  return out;
}

}  // namespace

Result<RunRecord> read_run_record(const std::filesystem::path& file) {
  static const std::vector<std::string> kFormat = {"run/1"};
  RunRecord out;
  CANDOR_TRY(out.json, read_json_file(file.string()));
  JsonReader in(out.json, file.string());
  in.choice("candor", kFormat);
  out.level = in.text_or("level", "sampled");
  out.version = in.text("version");
  out.seal = in.text("seal");
  out.prompts = in.text("prompts");
  const bool menu = out.level == "menu";
  out.initial_model = in.text(menu ? "initial_model" : "model");
  if (menu) out.menu_seal = in.text("menu_seal");
  for (JsonReader& group : in.objects("groups")) (void)group.text("name");
  const bool early = out.version == "0.1.0" && !in.has("digest") && !in.has("files");
  if (in.ok() && !early) {
    out.stages = read_stages(in);
    out.stages_digest = in.text("stages_digest");
    out.files = read_digests(in, "files");
    out.digest = in.text("digest");
  }
  CANDOR_RETURN_IF_ERROR(in.status());
  CANDOR_TRY(out.content_digest, digest_of_rest(in));
  return out;
}

Result<SealRecord> read_seal(const std::filesystem::path& file, const std::string& format) {
  const std::vector<std::string> formats = {format};
  SealRecord out;
  CANDOR_TRY(out.json, read_json_file(file.string()));
  JsonReader in(out.json, file.string());
  in.choice("candor", formats);
  out.digest = in.text("digest");
  CANDOR_RETURN_IF_ERROR(in.status());
  CANDOR_TRY(out.content_digest, digest_of_rest(in));
  return out;
}

}  // namespace candor
