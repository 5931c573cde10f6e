#include "study/game_file.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "core/solution.h"
#include "formats/npy.h"
#include "formats/safetensors.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

class GameFileTest : public testing::Test {
 protected:
  GameFileTest() {
    std::string pattern = (fs::temp_directory_path() / "candor-game-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~GameFileTest() override { fs::remove_all(folder_); }

  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }
  [[nodiscard]] Result<Game> load(const std::string& text) const {
    write("game.json", text);
    return load_game((folder_ / "game.json").string());
  }
  [[nodiscard]] Result<std::optional<MappedGame>> map_game_of(const std::string& text) const {
    write("game.json", text);
    return map_game((folder_ / "game.json").string(), 1);
  }
  fs::path folder_;
};

// The parts of a good game, one of which a test replaces.
struct Parts {
  std::string head = R"("candor":"game/1","normalization":"max")";
  std::string divergence = R"("divergence":{"name":"kl","lambda":1})";
  std::string initial = R"("initial":[1,1,2])";
  std::string groups =
      R"("groups":[{"name":"a","size":3,"reward":[0,1,2]},{"name":"b","size":1,"reward":[1,0,1]}])";
  std::string more = {};

  [[nodiscard]] std::string text() const {
    return "{" + head + "," + divergence + "," + initial + "," + groups + more + "}";
  }
};

TEST_F(GameFileTest, ReadsAndNormalises) {
  const Result<Game> game = load(Parts{}.text());
  ASSERT_TRUE(game.ok()) << game.error().message;
  EXPECT_EQ(game->initial, (std::vector<double>{.25, .25, .5}));
  EXPECT_EQ(game->groups[0].reward, (std::vector<double>{0, .5, 1}));
  EXPECT_EQ(game->groups[0].group_size, 3);
  EXPECT_EQ(game->block_begin, (std::vector<size_t>{0, 3}));
}

// Raw scores may be negative; what is written reads back the same.
TEST_F(GameFileTest, ReadsAndNormalisesMinMax) {
  const Result<Game> game =
      load(Parts{.head = R"("candor":"game/1","normalization":"min_max")",
                 .groups = R"("groups":[{"name":"a","size":3,"reward":[-4,0,4]}])"}
               .text());
  ASSERT_TRUE(game.ok()) << game.error().message;
  EXPECT_EQ(game->normalization, Normalization::kMinMax);
  EXPECT_EQ(game->groups[0].reward, (std::vector<double>{0, .5, 1}));
  const std::string written = to_text(game_json(*game));
  EXPECT_EQ(to_text(game_json(*load(written))), written);
}

TEST_F(GameFileTest, BlocksAndCandidates) {
  const Result<Game> game = load(
      Parts{.more = R"(,"blocks":[1,2],"candidates":[[1,1,1],[1,0,4]],"max_size":3.0)"}.text());
  ASSERT_TRUE(game.ok()) << game.error().message;
  EXPECT_EQ(game->block_begin, (std::vector<size_t>{0, 1, 3}));
  EXPECT_EQ(game->initial[0], 1) << "sum 1 in each block";
  EXPECT_EQ(game->candidates[1], (std::vector<double>{1, 0, 1}));
  EXPECT_EQ(game->max_size, 3);
}

// One game in three forms: inline, .npy and .safetensors.
TEST_F(GameFileTest, ArraysFromFiles) {
  write("initial.npy", npy_bytes(std::vector<double>{1, 1, 2}));
  write("rewards.safetensors", safetensors_bytes({{"a", {0, 1, 2}}, {"b", {1, 0, 1}}}));
  const Result<Game> inline_game = load(Parts{}.text());
  const Result<Game> game = load(Parts{
      .initial = R"("initial":{"file":"initial.npy"})",
      .groups =
          R"("groups":[{"name":"a","size":3,"reward":{"file":"rewards.safetensors","tensor":"a"}},
             {"name":"b","size":1,"reward":{"file":"rewards.safetensors","tensor":"b","row":0}}])"}
                                     .text());
  ASSERT_TRUE(game.ok()) << game.error().message;
  EXPECT_EQ(to_text(game_json(*game)), to_text(game_json(*inline_game)));
}

TEST_F(GameFileTest, WrittenGamesReadBackTheSame) {
  const Result<Game> game = load(Parts{.divergence = R"("divergence":{"name":"chi2","lambda":0.1})",
                                       .more = R"(,"blocks":[1,2],"candidates":[[1,1,1],[1,0,4]])"}
                                     .text());
  const std::string written = to_text(game_json(*game));
  const Result<Game> again = load(written);
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(to_text(game_json(*again)), written);
  EXPECT_EQ(again->divergence.kind, DivergenceKind::kChi2);
}

// What is wrong and a part of what must be said; every message also names the file.
TEST_F(GameFileTest, RefusesWithTheReason) {
  write("nan.npy", npy_bytes(std::vector<double>{1, NAN, 0}));
  write("short.npy", npy_bytes(std::vector<double>{1, 0}));
  const auto group = [](const std::string& fields) {
    return Parts{.groups = R"("groups":[{)" + fields + "}]"}.text();
  };
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{", "game.json:1"},
      {"[]", "object"},
      {Parts{.head = R"("candor":"game/2","normalization":"max")"}.text(), "$.candor"},
      {Parts{.head = R"("candor":"game/1","normalization":"maxx")"}.text(), "did you mean \"max\""},
      {Parts{.head = R"("candor":"game/1","normalization":"minmax")"}.text(),
       "did you mean \"min_max\""},
      {Parts{.head = R"("candor":"game/1","normalization":"min_max")",
             .groups = R"("groups":[{"name":"flat","size":1,"reward":[2,2,2]}])"}
           .text(),
       "$.groups[0].reward: group \"flat\" has the reward 2 on every outcome"},
      {Parts{.head = R"("candor":"game/1")"}.text(), "normalization"},
      {Parts{.more = R"(,"block":[3])"}.text(), "did you mean \"blocks\""},
      {Parts{.more = R"(,"initial":[1,1,1])"}.text(), "initial"},
      {Parts{.divergence = R"("divergence":{"name":"kl"})"}.text(), "lambda"},
      {Parts{.divergence = R"("divergence":{"name":"kl","lambda":0})"}.text(), "above 0"},
      {Parts{.divergence = R"("divergence":{"name":"kl","lambda":-1})"}.text(), "found -1"},
      {Parts{.divergence = R"("divergence":{"name":"kll","lambda":1})"}.text(), "\"kl\""},
      {Parts{.divergence = R"("divergence":{"name":"tv","lambda":1,"alpha":2})"}.text(),
       "belongs to the divergence \"alpha\" alone"},
      {Parts{.divergence = R"("divergence":{"name":"alpha","lambda":1})"}.text(), "alpha"},
      {Parts{.divergence = R"("divergence":{"name":"alpha","alpha":1,"lambda":1})"}.text(),
       "kl (1)"},
      {Parts{.initial = R"("initial":[1,0,2])"}.text(), "initial[1]: found 0"},
      {Parts{.initial = R"("initial":[1,-1,2])"}.text(), "initial[1]: found -1"},
      {Parts{.initial = R"("initial":[])"}.text(), "initial"},
      {Parts{.initial = R"("initial":{"file":"absent.npy"})"}.text(), "absent.npy"},
      {Parts{.initial = R"("initial":{"file":"short.npy","row":1})"}.text(), "row 1"},
      {Parts{.initial = R"("initial":{"file":"short.npy","tensor":"t"})"}.text(), "tensor"},
      {Parts{.initial = R"("initial":{"file":"short.txt"})"}.text(), "*.npy or *.safetensors"},
      {group(R"("name":"a","size":0,"reward":[0,1,2])"), "groups[0].size: found 0"},
      {group(R"("name":"a","size":1.5,"reward":[0,1,2])"), "groups[0].size: found 1.5"},
      {group(R"("name":"a","size":"3","reward":[0,1,2])"), "groups[0].size: found \"3\""},
      {group(R"("name":"a","reward":[0,1,2])"), "groups[0].size"},
      {group(R"("name":"a","siez":1,"reward":[0,1,2])"), "size"},
      {group(R"("name":"","size":1,"reward":[0,1,2])"), "groups[0].name"},
      {group(R"("name":"a","size":1,"reward":[0,1])"), "groups[0].reward: has 2 entries"},
      {group(R"("name":"a","size":1,"reward":[0,0,0])"), "zero everywhere"},
      {group(R"("name":"a","size":1,"reward":[0,-1,1])"), "groups[0].reward[1]: found -1"},
      {group(R"("name":"a","size":1,"reward":{"file":"nan.npy"})"),
       "groups[0].reward[1]: found nan"},
      {group(R"("name":"a","size":1,"reward":{"file":"short.npy"})"), "has 2 entries"},
      {group(R"("name":"a","size":1,"reward":[0,1,2]},{"name":"a","size":1,"reward":[0,1,2])"),
       "groups[1].name: found \"a\" a second time"},
      {Parts{.groups = R"("groups":[])"}.text(), "groups"},
      {Parts{.more = R"(,"max_size":2)"}.text(), "groups[0].size: found 3; expected"},
      {Parts{.more = R"(,"blocks":[1,1])"}.text(), "blocks: sum to 2; initial has 3"},
      {Parts{.more = R"(,"blocks":[0,3])"}.text(), "blocks[0]: found 0"},
      {Parts{.more = R"(,"candidates":[])"}.text(), "candidates"},
      {Parts{.more = R"(,"candidates":[[1,1]])"}.text(), "candidates[0]"},
      {Parts{.more = R"(,"candidates":[[0,0,0]])"}.text(), "candidates[0]: sums to 0"},
  };
  for (const auto& [text, expected] : cases) {
    const Result<Game> game = load(text);
    ASSERT_FALSE(game.ok()) << text;
    EXPECT_EQ(game.error().code, ErrorCode::kInvalidArgument) << text;
    EXPECT_NE(game.error().message.find(expected), std::string::npos)
        << "expected \"" << expected << "\" in: " << game.error().message;
    EXPECT_NE(game.error().message.find(folder_.string()), std::string::npos)
        << game.error().message;
  }
}

// A large game in files is solved from the mapping, and agrees with the loaded one.
TEST_F(GameFileTest, MapsLargeGames) {
  std::vector<double> initial;
  std::vector<double> reward;
  for (size_t x = 0; x < kSmallestStreamed + 100; ++x) {
    initial.push_back(1 + static_cast<double>(x % 7));
    reward.push_back(static_cast<double>(x % 13) / 13);
  }
  write("p0.npy", npy_bytes(initial));
  write("r.npy", npy_bytes(reward));
  write("r.safetensors", safetensors_bytes({{"r", reward}}));
  const std::string text =
      R"({"candor":"game/1","divergence":{"name":"kl","lambda":2},)"
      R"("normalization":"max","initial":{"file":"p0.npy"},"groups":[)"
      R"({"name":"a","size":3,"reward":{"file":"r.npy"}},)"
      R"({"name":"b","size":2,"reward":{"file":"r.safetensors","tensor":"r"}}]})";
  const Result<Game> loaded = load(text);
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  const std::string file = (folder_ / "game.json").string();
  const Result<std::optional<MappedGame>> mapped = map_game(file, 2);
  ASSERT_TRUE(mapped.ok()) << mapped.error().message;
  ASSERT_TRUE(mapped->has_value());
  const Solution streamed = solve_stream((*mapped)->game).value();
  const Solution solved = solve(*loaded).value();
  EXPECT_NEAR(streamed.welfare, solved.welfare, 1e-12 * solved.welfare);
  for (size_t i = 0; i < solved.groups.size(); ++i) {
    EXPECT_NEAR(streamed.groups[i].payment, solved.groups[i].payment, 1e-12);
  }
  // Inline arrays, a small game: loaded.
  EXPECT_FALSE(map_game_of(Parts{}.text())->has_value());
  // Bad input: as when it is loaded.
  reward[70'000 % reward.size()] = std::nan("");
  write("r.npy", npy_bytes(reward));
  const auto broken = map_game_of(text);
  ASSERT_FALSE(broken.ok());
  EXPECT_NE(broken.error().message.find("groups[0].reward["), std::string::npos)
      << broken.error().message;
  std::string misspelt = text;
  misspelt.replace(misspelt.find("lambda"), 6, "lamda_");
  EXPECT_FALSE(map_game_of(misspelt).ok());
}

}  // namespace
}  // namespace candor
