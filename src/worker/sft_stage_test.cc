// The stage `sft` as the runner calls it, a process of its own, on a tiny model.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <string>

#include "base/cpu.h"
#include "base/file.h"
#include "base/json.h"
#include "formats/records.h"
#include "worker/test_request.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = fs::path(CANDOR_SOURCE_DIR) / "tests" / "golden";

class SftStageTest : public testing::Test {
 protected:
  SftStageTest() {
    std::string pattern = (fs::temp_directory_path() / "candor-sft-stage-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~SftStageTest() override { fs::remove_all(folder_); }

  static Json spec(bool lora) {
    Json out = {{"model_digest", "sha256:0"},
                {"data_digest", "sha256:1"},
                {"seed", 5},
                {"dtype", "f32"},
                {"threads", 1},
                {"instruction_set", name_of(instruction_set())},
                {"settings",
                 {{"learning_rate", 3e-3},
                  {"per_device_train_batch_size", 2},
                  {"max_steps", 6},
                  {"max_length", 64},
                  {"logging_steps", 1},
                  {"save_steps", 2}}}};
    if (lora) out["lora"] = {{"r", 4}, {"lora_alpha", 8.0}, {"lora_dropout", 0.1}};
    return out;
  }

  // Runs the stage with that environment; the exit status as std::system says it.
  [[nodiscard]] int run(const std::string& name, const Json& spec, bool work,
                        const std::string& environment = "") const {
    const fs::path output = folder_ / name;
    fs::remove_all(output);  // as the runner does: a stage begins with an empty folder
    fs::create_directories(output);
    Json request = test_request(
        "sft", spec,
        {{"model", kGolden / "tiny_llama"}, {"data", kGolden / "training_records.jsonl"}}, output);
    if (work) {
      fs::create_directories(folder_ / (name + ".work"));
      request["checkpoints"] = (folder_ / (name + ".work")).string();
    }
    std::ofstream(folder_ / (name + ".json")) << request.dump();
    const std::string command = environment + " '" + CANDOR_WORKER_PROGRAM + "' stage '" +
                                (folder_ / (name + ".json")).string() + "' > '" +
                                (folder_ / "log").string() + "' 2>&1";
    return std::system(("exec /bin/sh -c \"" + command + "\"").c_str());
  }

  [[nodiscard]] std::string log() const { return *read_file(folder_ / "log"); }

  // All files of an output, by name.
  [[nodiscard]] Json files(const std::string& name) const {
    Json out = Json::object();
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / name)) {
      if (!entry.is_regular_file()) continue;
      out[entry.path().lexically_relative(folder_ / name).generic_string()] =
          std::hash<std::string>()(*read_file(entry.path()));
    }
    return out;
  }

  fs::path folder_;
};

TEST_F(SftStageTest, WritesItsArtifact) {
  ASSERT_EQ(run("lora", spec(true), false), 0) << log();
  const Json lora = files("lora");
  for (const char* name : {"adapter/adapter_config.json", "adapter/adapter_model.safetensors",
                           "metrics.jsonl", "summary.json"}) {
    EXPECT_TRUE(lora.contains(name)) << name;
  }
  EXPECT_EQ(lora.size(), 4U) << lora;
  EXPECT_EQ(read_jsonl(folder_ / "lora" / "metrics.jsonl")->size(), 6U);
  const Json summary = *read_json_file((folder_ / "lora" / "summary.json").string());
  EXPECT_EQ(summary["candor"], "sft-summary/1");
  EXPECT_EQ(summary["steps"], 6);
  EXPECT_EQ(summary["examples"], 44);
  Json full = spec(false);
  full["model_dtype"] = "bf16";
  ASSERT_EQ(run("full", full, false), 0) << log();
  const Json model = files("full");
  EXPECT_TRUE(model.contains("model/model.safetensors") && model.contains("model/tokenizer.json"));
  const Json config = *read_json_file((folder_ / "full" / "model" / "config.json").string());
  EXPECT_EQ(config["torch_dtype"], "bfloat16");
}

// With a folder for them checkpoints are kept there: killed anywhere, the stage goes on from them
// and its artifact has the bytes of a stage that had none.
TEST_F(SftStageTest, KilledItGoesOnFromItsCheckpoints) {
  for (const bool lora : {true, false}) {
    ASSERT_EQ(run("whole", spec(lora), false), 0) << log();
    const fs::path checkpoint = folder_ / "cut.work" / "checkpoint.safetensors";
    for (const char* at :
         {"sft.after_step:3", "sft.before_checkpoint:2", "safetensors.before_rename:1",
          "sft.after_checkpoint:1", "commit.before_rename:1"}) {
      EXPECT_NE(run("cut", spec(lora), true, std::string("CANDOR_CRASH_AT=") + at), 0) << at;
    }
    ASSERT_TRUE(fs::exists(checkpoint));
    // Nothing is trained again: what is left of 6 steps after the last checkpoint.
    ASSERT_EQ(
        run("cut", spec(lora), true, "CANDOR_CRASH_LOG='" + (folder_ / "points").string() + "'"), 0)
        << log();
    const std::string points = *read_file(folder_ / "points");
    EXPECT_EQ(points.find("sft.after_step"), std::string::npos) << points;
    EXPECT_EQ(files("cut"), files("whole"));
    // Another run's checkpoint is refused, not trained over.
    Json other = spec(lora);
    other["settings"]["learning_rate"] = 1e-4;
    EXPECT_NE(run("cut", other, true), 0);
    EXPECT_NE(log().find("settings.sft.learning_rate is 0.003 there and 0.0001 here"),
              std::string::npos)
        << log();
    fs::remove_all(folder_ / "cut.work");
    fs::remove(folder_ / "points");
  }
}

// A key names an instruction set: LibTorch's libraries keep to it, and twice it gives the same
// bytes.
TEST_F(SftStageTest, KeepsToItsInstructionSet) {
  struct Says {
    std::string onednn;  // empty: nothing, it has no bf16 products there
    std::string aten;
  };
  const std::map<InstructionSet, Says> kLibrariesSay = {
      {InstructionSet::kGeneric, {"", "DEFAULT"}},
      {InstructionSet::kAvx2, {"", "AVX2"}},
      {InstructionSet::kAvx512,
       {"isa:Intel AVX-512 with AVX512BW, AVX512VL, and AVX512DQ", "AVX512"}},
      {InstructionSet::kAvx512Bf16, {"with Intel DL Boost and bfloat16 support", "AVX512"}},
      {InstructionSet::kAmxBf16, {"Intel AMX with bfloat16", "AVX512"}}};
  for (const auto& [set, says] : kLibrariesSay) {
    if (set > best_instruction_set()) continue;
    Json forced = spec(true);
    forced["instruction_set"] = name_of(set);
    forced["dtype"] = "bf16";
    // What the environment says of it does not matter.
    ASSERT_EQ(run("once", forced, false, "ONEDNN_VERBOSE=1 ONEDNN_MAX_CPU_ISA=AVX"), 0) << log();
    EXPECT_EQ(log().find("isa:") != std::string::npos, !says.onednn.empty()) << name_of(set);
    EXPECT_NE(log().find(says.onednn), std::string::npos) << name_of(set) << log().substr(0, 900);
    ASSERT_EQ(run("twice", forced, false, "ATEN_CPU_CAPABILITY=default"), 0) << log();
    EXPECT_EQ(files("once"), files("twice")) << name_of(set);
    const std::string about = std::string("'") + CANDOR_WORKER_PROGRAM +
                              "' about --instruction-set " + name_of(set) + " > '" +
                              (folder_ / "log").string() + "'";
    ASSERT_EQ(std::system(about.c_str()), 0);
    const Json answer = parse_json(log(), "about").value();
    EXPECT_EQ(answer["aten"], says.aten);
    EXPECT_EQ(answer["instruction_set"], name_of(set));
  }
  if (best_instruction_set() < InstructionSet::kAmxBf16) {
    Json higher = spec(true);
    higher["instruction_set"] = "amx_bf16";
    EXPECT_EQ(WEXITSTATUS(run("higher", higher, false)), 4);
    EXPECT_NE(log().find("this machine's processor has none higher than"), std::string::npos);
  }
  for (const char* key : {"cpu_vendor", "torch"}) {
    Json other = spec(true);
    other[key] = "another";
    EXPECT_EQ(WEXITSTATUS(run("other", other, false)), 4);
    EXPECT_NE(log().find(std::string("the stage is of another machine: ") + key),
              std::string::npos);
  }
}

// The worker hashes what it reads.
TEST_F(SftStageTest, RefusesInputsThatHoldSomethingElse) {
  const fs::path file = folder_ / "asked.json";
  ASSERT_EQ(run("asked", spec(true), false), 0);
  Json request = read_json_file(file.string()).value();
  request["inputs"]["data"]["digest"] = "sha256:00";
  fs::remove_all(folder_ / "asked");
  fs::create_directories(folder_ / "asked");
  std::ofstream(file) << request.dump();
  const std::string command = std::string("'") + CANDOR_WORKER_PROGRAM + "' stage '" +
                              file.string() + "' > '" + (folder_ / "log").string() + "' 2>&1";
  EXPECT_EQ(WEXITSTATUS(std::system(command.c_str())), 3);
  EXPECT_NE(log().find("training_records.jsonl: has changed since the run was planned (sha256:00 "
                       "then"),
            std::string::npos)
      << log();
  EXPECT_TRUE(files("asked").empty());
}

TEST_F(SftStageTest, BadSpecsAreNamed) {
  const auto expect = [&](const Json& bad, const std::string& part) {
    EXPECT_NE(run("bad", bad, false), 0);
    EXPECT_NE(log().find(part), std::string::npos) << log();
    EXPECT_TRUE(files("bad").empty()) << files("bad");
  };
  Json bad = spec(true);
  bad["settings"]["learning_rat"] = 1;
  expect(bad, "learning_rat");
  bad = spec(true);
  bad["settings"]["max_length"] = 1;
  expect(bad, "max_length");
  bad = spec(true);
  bad["settings"]["warmup_ratio"] = 2.0;
  expect(bad, "warmup_ratio: found 2");
  bad = spec(true);
  bad["lora"]["r"] = 0;
  expect(bad, "r");
  bad = spec(true);
  bad["lora"]["target_modules"] = {"q_prj"};
  expect(bad, "did you mean");
  bad = spec(true);
  bad["dtype"] = "f16";
  expect(bad, "dtype");
  bad = spec(true);
  bad["instruction_set"] = "none";
  expect(bad, "allowed instruction sets are");
}

}  // namespace
}  // namespace candor
