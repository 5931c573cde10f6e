#include "study/store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/strings.h"
#include "study/claimed_folder.h"
#include "study/machine.h"
#include "study/run_stages.h"
#include "study/stage_kind.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

// A folder that goes with its test, and a worker of a few lines of shell.
class StoreTest : public testing::Test {
 protected:
  StoreTest() {
    std::string pattern = (fs::temp_directory_path() / "candor-store-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
    fs::create_directory(root_ / "store");
  }
  ~StoreTest() override { fs::remove_all(root_); }

  fs::path worker(const std::string& lines) const {
    fs::path file = root_ / "worker";
    std::ofstream(file) << "#!/bin/sh\n" << lines;
    fs::permissions(file, fs::perms::owner_all);
    return file;
  }
  // Leaves its request in the artifact.
  fs::path copying_worker() const {
    return worker(
        "[ \"$1\" = stage ] || exit 2\n"
        "sleep 0.05\n"
        "cp \"$2\" \"$(dirname \"$2\")/artifact/request.json\"\n"
        "echo '{\"done\":true}'\n");
  }
  [[nodiscard]] Store open(const fs::path& program) const {
    return Store::open(root_ / "store", program).value();
  }
  [[nodiscard]] std::set<std::string> names() const {
    std::set<std::string> out;
    for (const auto& entry : fs::directory_iterator(root_ / "store")) {
      out.insert(entry.path().filename().string());
    }
    return out;
  }

  fs::path root_;
};

Stage score_of(int number) {
  return {.kind = "score",
          .label = str_cat("score ", number),
          .spec = {{"number", number}},
          .inputs = {{"bank", {"bank.jsonl", "sha256:00"}}}};
}

// What a folder is called says whose it is; whether somebody alive has it, its lock.
TEST_F(StoreTest, OpeningRemovesWhatDeadRunsLeftOnly) {
  const fs::path store = root_ / "store";
  fs::path dead;
  {
    const ClaimedFolder left = ClaimedFolder::make(store, ".tmp-bank-").value();
    dead = left.path();
    std::ofstream(dead / "half") << "a file";
  }
  const ClaimedFolder alive = ClaimedFolder::make(store, ".tmp-bank-").value();
  const fs::path elsewhere = store / ".tmp-bank-host-00000000000000000000000000000000-1-00";
  const fs::path earlier = store / ".tmp-menu_bank-2147483646";  // named by an earlier program
  const fs::path artifact = store / "bank-0123";
  const fs::path done = store / ".checkpoints-bank-0123";
  const fs::path needed = store / ".checkpoints-bank-4567";
  for (const fs::path& folder : {elsewhere, earlier, artifact, done, needed}) {
    fs::create_directory(folder);
  }
  (void)open("candor-worker");
  EXPECT_FALSE(fs::exists(dead));
  EXPECT_FALSE(fs::exists(done));
  for (const fs::path& folder : {alive.path(), elsewhere, earlier, artifact, needed}) {
    EXPECT_TRUE(fs::exists(folder)) << folder;
  }
}

// In two containers two runs may both be process 1: here they are threads of one process.
TEST_F(StoreTest, RunsOfOneProcessIdDoNotMix) {
  const fs::path program = copying_worker();
  const auto run = [&](int first) {
    for (int i = 0; i < 6; ++i) {
      const Stage stage = score_of(first + i);
      const auto made = open(program).get(stage, {});
      ASSERT_TRUE(made.ok()) << made.error().message;
      const Json request = read_json_file((made->folder / "request.json").string()).value();
      EXPECT_EQ(request["spec"], stage.spec);
    }
  };
  {
    const std::jthread one([&] { run(0); });
    const std::jthread two([&] { run(3); });  // half of them the same stages
    const std::jthread three([&] { run(6); });
  }
  EXPECT_EQ(names().size(), 12U);  // nothing but artifacts
}

TEST_F(StoreTest, RequestsNameDigestsAndTheStagesVersion) {
  const Artifact made = open(copying_worker()).get(score_of(1), {}).value();
  const Json request = read_json_file((made.folder / "request.json").string()).value();
  EXPECT_EQ(request["inputs"],
            Json::parse(R"({"bank":{"path":"bank.jsonl","digest":"sha256:00"}})"));
  EXPECT_EQ(request["stage_version"], stage_kind("score").version);
  const Json record = read_json_file((made.folder / "stage.json").string()).value();
  EXPECT_EQ(record["files"], made.files);
  EXPECT_TRUE(made.files.contains("request.json"));
}

TEST_F(StoreTest, CheckpointsOutliveAFailureAndBelongToOneRun) {
  const fs::path program =
      worker("grep -o '\"checkpoints\": \"[^\"]*\"' \"$2\" | cut -d'\"' -f4 > \"" +
             (root_ / "where").string() +
             "\"\n"
             "folder=$(cat \"" +
             (root_ / "where").string() +
             "\")\n"
             "[ -e \"$folder/step\" ] && echo '{\"done\":true}' && exit 0\n"
             "touch \"$folder/step\" \"$folder/step.tmp-12\"\n"
             "echo 'candor-worker: stopped' >&2\nexit 4\n");
  const auto where = [&] {
    std::string line;
    std::ifstream file(root_ / "where");
    std::getline(file, line);
    return fs::path(line);
  };
  const Stage stage{.kind = "sft", .label = "sft", .spec = {{"seed", 1}}, .inputs = {}};
  const Store store = open(program);
  EXPECT_EQ(store.get(stage, {}).error().message, "sft: stopped");
  const fs::path shared = where();
  EXPECT_TRUE(fs::exists(shared / "step"));
  {
    // Somebody else is training this stage: a folder of its own, and the other's stays as it is.
    const std::optional<ClaimedFolder> other = ClaimedFolder::claim(shared).value();
    ASSERT_TRUE(other.has_value());
    EXPECT_FALSE(ClaimedFolder::claim(shared).value().has_value());
    EXPECT_FALSE(store.get(stage, {}).ok());
    EXPECT_NE(where(), shared);
    EXPECT_TRUE(fs::exists(shared / "step.tmp-12"));
  }
  ASSERT_TRUE(store.get(stage, {}).ok());
  EXPECT_EQ(where(), shared);
  EXPECT_FALSE(fs::exists(shared));
  EXPECT_EQ(names(), std::set<std::string>{store.path_of(stage).filename().string()});
}

// What of the machine the bytes depend on is in the key.
TEST_F(StoreTest, AnotherMachineIsAnotherKey) {
  const auto key = [](const Machine& machine) {
    Stage stage = score_of(1);
    add_libtorch(machine, stage.spec);
    return stage.key();
  };
  const Machine machine{.threads = 2,
                        .instruction_set = InstructionSet::kAvx512Bf16,
                        .cpu_vendor = "GenuineIntel",
                        .torch = "2.13.0"};
  std::set<std::string> keys = {key(machine)};
  for (const InstructionSet set : {InstructionSet::kGeneric, InstructionSet::kAvx2,
                                   InstructionSet::kAvx512, InstructionSet::kAmxBf16}) {
    Machine other = machine;
    other.instruction_set = set;
    EXPECT_TRUE(keys.insert(key(other)).second);
  }
  Machine other = machine;
  other.threads = 1;
  EXPECT_TRUE(keys.insert(key(other)).second);
  other = machine;
  other.cpu_vendor = "AuthenticAMD";
  EXPECT_TRUE(keys.insert(key(other)).second);
  other = machine;
  other.torch = "2.11.0";
  EXPECT_TRUE(keys.insert(key(other)).second);
}

// A change of bytes raises a stage's version: what an earlier one made is no longer found.
TEST_F(StoreTest, AnEarlierVersionIsAMissWithASentence) {
  const fs::path earlier = root_ / "store" / "score-old";
  fs::create_directory(earlier);
  const auto record = [&](Json fields) {
    fields.update({{"candor", "artifact/1"}, {"kind", "score"}});
    std::ofstream(earlier / "stage.json") << fields.dump();
  };
  std::vector<std::string> heard;
  const auto get = [&](const Stage& stage) {
    heard.clear();
    Store store = open(copying_worker());
    store.report_notices([&](const std::string& notice) { heard.push_back(notice); });
    ASSERT_TRUE(store.get(stage, {}).ok());
  };
  record({{"spec", {{"number", 1}}}});
  get(score_of(1));
  EXPECT_EQ(heard, std::vector<std::string>{
                       "score 1: score-old is of an earlier program; it is made anew"});
  record({{"spec", {{"number", 2}}}, {"stage_version", 0}});
  get(score_of(2));
  EXPECT_EQ(heard, std::vector<std::string>{
                       "score 2: score-old is of version 0 of this stage; it is made anew"});
  get(score_of(2));  // found
  EXPECT_TRUE(heard.empty());
  get(score_of(3));  // nothing like it
  EXPECT_TRUE(heard.empty());
}

// Labels name one stage each, and the digest is over what is settled on.
TEST_F(StoreTest, ARunListsItsStages) {
  const Store store = open(copying_worker());
  const StageSink sink = [](const std::string&, bool) { return ProgressSink(); };
  RunStages stages(store, sink);
  Stage first = score_of(1);
  ASSERT_TRUE(stages.get(first).ok());
  const std::string one = stages.digest();
  first.spec["number"] = 2;
  ASSERT_TRUE(stages.get(first).ok());
  const std::string two = stages.digest();
  EXPECT_NE(one, two);
  stages.begin_misreports();
  ASSERT_TRUE(stages.get(score_of(3)).ok());
  EXPECT_EQ(stages.digest(), two);
  std::vector<std::string> labels;
  for (const Json& entry : stages.list()) labels.push_back(entry["label"]);
  EXPECT_EQ(labels, (std::vector<std::string>{"score 1", "score 1 (2)", "score 3"}));
  EXPECT_TRUE(stages.list()[2]["misreport"]);
  Json other = stages.list();
  other[0]["files"]["request.json"] = "sha256:ff";
  EXPECT_NE(RunStages::digest_of_stages(other), two);
}

// What a worker says of itself is what is kept; the system's count of its memory would begin with
// this process's own, which is larger than a shell's.
TEST(WorkerProcess, TellsWhatItTook) {
  std::string pattern = (fs::temp_directory_path() / "candor-worker-XXXXXX").string();
  const fs::path root = ::mkdtemp(pattern.data());
  const auto worker = [&](const std::string& lines) {
    fs::path file = root / "worker";
    std::ofstream(file) << "#!/bin/sh\n" << lines;
    fs::permissions(file, fs::perms::owner_all);
    return file;
  };
  uint64_t done = 0;
  const ProgressSink progress = [&](uint64_t now, uint64_t, std::string_view) { done = now; };
  const auto usage = run_worker(worker("echo '{\"progress\":\"bank\",\"done\":3,\"total\":4}'\n"
                                       "i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done\n"
                                       "echo '{\"done\":true,\"peak_memory_bytes\":123456}'\n"),
                                root / "request.json", "a stage", progress);
  ASSERT_TRUE(usage.ok()) << usage.error().message;
  EXPECT_EQ(done, 3);
  EXPECT_EQ(usage->peak_memory_bytes, 123456);
  EXPECT_GT(usage->processor_seconds, 0);
  EXPECT_LT(usage->processor_seconds, 60);
  const auto silent = run_worker(worker("exit 0\n"), root / "request.json", "a stage", progress);
  EXPECT_EQ(silent->peak_memory_bytes, 0);
  const auto failed = run_worker(worker("echo 'candor-worker: bad' >&2\nexit 3\n"),
                                 root / "request.json", "a stage", progress);
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().message, "a stage: bad");
  EXPECT_EQ(ask_worker(worker("echo '{\"torch\":\"2.0\"}'\n")).value(),
            Json::parse(R"({"torch":"2.0"})"));
  EXPECT_FALSE(ask_worker(worker("exit 0\n")).ok());
  fs::remove_all(root);
}

}  // namespace
}  // namespace candor
