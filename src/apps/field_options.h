#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "apps/number_option.h"
#include "base/fields.h"

namespace candor {

// The flags of a settings struct (base/fields.h). What is given on the command line lands in
// `given` under the field's name, checked against its range, so that the same reader makes settings
// of flags as of a stage's JSON, and a command knows which flags were there.

// "--learning-rate" of learning_rate, unless the field names its flag.
[[nodiscard]] inline std::string flag_of(const Field& about) {
  if (about.flag != nullptr) return about.flag;
  std::string name = about.name;
  std::ranges::replace(name, '_', '-');
  return "--" + name;
}

// The first flag of the field that has this name.
template <typename Struct>
[[nodiscard]] std::string flag_of_field(const std::string& name) {
  std::string out;
  std::apply(
      [&](const auto&... one) { ((name == one.about.name ? out = flag_of(one.about) : out), ...); },
      Struct::fields());
  return split(out, ',')[0];
}

// A switch, perhaps with its opposite ("--packing,!--no-packing"): at most one of them is given,
// and neither takes a value.
void add_switch(CLI::App& app, const std::string& names, const std::string& help,
                const std::function<void(bool)>& set);

namespace internal {

template <typename T>
void add_field_option(CLI::App& app, const Field& about, Json& given) {
  const std::string flag = flag_of(about);
  const std::string name = about.name;
  if constexpr (std::is_same_v<T, bool>) {
    add_switch(app, flag, about.help, [&given, name](bool on) { given[name] = on; });
  } else if constexpr (std::is_integral_v<T>) {
    add_whole(app,
              {flag, about.help, static_cast<int64_t>(about.range.low),
               static_cast<int64_t>(about.range.high)},
              [&given, name](int64_t value) { given[name] = value; });
  } else if constexpr (std::is_floating_point_v<T>) {
    add_number(app, {flag, about.help, about.range},
               [&given, name](double value) { given[name] = value; });
  } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
    app.add_option_function<std::vector<std::string>>(
           flag, [&given, name](const std::vector<std::string>& texts) { given[name] = texts; },
           about.help)
        ->delimiter(',');
  } else {
    CLI::Option* option = app.add_option_function<std::string>(
        flag, [&given, name](const std::string& text) { given[name] = text; }, about.help);
    if (about.choices != nullptr) option->check(CLI::IsMember(about.choices()));
  }
}

template <typename Struct, typename Member>
void add_field_option(CLI::App& app, const FieldOf<Struct, Member>& one, Json& given) {
  if constexpr (!kIsOptional<Member>) {
    if (!one.about.of_run) add_field_option<Member>(app, one.about, given);
  }
}

}  // namespace internal

// All flags of the struct. `given` must outlive the parsing.
template <typename Struct>
void add_field_options(CLI::App& app, Json& given) {
  given = Json::object();
  std::apply([&](const auto&... one) { (internal::add_field_option(app, one, given), ...); },
             Struct::fields());
}

// The settings as the flags change them. Errors: those of the fields' ranges.
template <typename Struct>
Result<Struct> settings_of(const Json& given, Struct settings = {}) {
  JsonReader in(given, "flags");
  read_fields(in, settings);
  CANDOR_RETURN_IF_ERROR(in.finish());
  return settings;
}

}  // namespace candor
