#include "base/cpu.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

namespace candor {
namespace {

TEST(InstructionSets, HaveNamesInOrder) {
  InstructionSet before = InstructionSet::kGeneric;
  for (const std::string_view name : kInstructionSetNames) {
    const Result<InstructionSet> set = instruction_set_of(name);
    ASSERT_TRUE(set.ok());
    EXPECT_EQ(name_of(*set), name);
    EXPECT_LE(before, *set);
    before = *set;
  }
  EXPECT_EQ(before, InstructionSet::kAmxBf16);
  const Result<InstructionSet> unknown = instruction_set_of("avx10");
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.error().message,
            "found \"avx10\"; allowed instruction sets are generic, avx2, avx512, avx512_bf16, "
            "amx_bf16");
}

// What the system lists of the processor, another way to ask it.
bool listed(const std::string& flag) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("flags")) continue;
    return (line + " ").find(" " + flag + " ") != std::string::npos;
  }
  return false;
}

TEST(InstructionSets, AreThoseOfTheProcessor) {
  if (!std::ifstream("/proc/cpuinfo")) GTEST_SKIP() << "/proc/cpuinfo is missing";
  const InstructionSet best = best_instruction_set();
  EXPECT_EQ(best >= InstructionSet::kAvx2, listed("avx2") && listed("fma"));
  EXPECT_EQ(best >= InstructionSet::kAvx512,
            listed("avx512f") && listed("avx512bw") && listed("avx512vl") && listed("avx512dq"));
  EXPECT_EQ(best >= InstructionSet::kAvx512Bf16, listed("avx512_bf16"));
  EXPECT_EQ(best >= InstructionSet::kAmxBf16, listed("amx_tile") && listed("amx_bf16"));
}

TEST(InstructionSets, ALowerOneCanBeChosenAndAHigherOneNot) {
  EXPECT_EQ(instruction_set(), best_instruction_set());
  ASSERT_TRUE(use_instruction_set(InstructionSet::kGeneric).ok());
  EXPECT_EQ(instruction_set(), InstructionSet::kGeneric);
  ASSERT_TRUE(use_instruction_set(best_instruction_set()).ok());
  EXPECT_EQ(instruction_set(), best_instruction_set());
  if (best_instruction_set() == InstructionSet::kAmxBf16) return;
  const Status higher = use_instruction_set(InstructionSet::kAmxBf16);
  ASSERT_FALSE(higher.ok());
  EXPECT_EQ(higher.error().code, ErrorCode::kResource);
  EXPECT_NE(higher.error().message.find("amx_bf16"), std::string::npos);
  EXPECT_EQ(instruction_set(), best_instruction_set());
}

}  // namespace
}  // namespace candor
