#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/number.h"

namespace candor {

// Every flag that takes a number is made here: the value goes through parse_number or parse_whole,
// and the help says what is allowed. A refusal is a usage error (exit 2) that names flag, value and
// range.

struct NumberFlag {
  std::string name;  // "--tolerance", "--kl-coefficient,--beta"
  std::string help = {};
  NumberRange range = {};
};
CLI::Option* add_number(CLI::App& app, const NumberFlag& flag, std::function<void(double)> set);
CLI::Option* add_number(CLI::App& app, const NumberFlag& flag, double& target);
CLI::Option* add_number(CLI::App& app, const NumberFlag& flag, std::optional<double>& target);

struct WholeFlag {
  std::string name;
  std::string help = {};
  int64_t low = 0;
  int64_t high = std::numeric_limits<int64_t>::max();
};
CLI::Option* add_whole(CLI::App& app, const WholeFlag& flag, std::function<void(int64_t)> set);
// REQUIRES: Int holds the range.
template <typename Int>
CLI::Option* add_whole(CLI::App& app, const WholeFlag& flag, Int& target) {
  return add_whole(app, flag, [&target](int64_t value) { target = static_cast<Int>(value); });
}

}  // namespace candor
