#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/json.h"
#include "base/number.h"
#include "base/result.h"
#include "base/strings.h"

namespace candor {

// The settings of a struct, each written once. A struct lists its members in
//
//   static constexpr auto fields() {
//     return std::tuple(field(&Sampling::temperature, {.name = "temperature", .range = {0, 100}}),
//                       ...);
//   }
//   static_assert(lists_every_member<Sampling>());  // after the struct
//
// and its JSON in both directions, its checks, its flags (apps/field_options.h) and its part in the
// identity of a checkpoint follow. Members are bool, double, int, int64_t, uint64_t (a seed), text,
// a list of texts, an enum whose values are `choices` in their order, or an optional struct of the
// same kind.

// What there is to say of a setting besides its value.
struct Field {
  const char* name = "";       // in files
  NumberRange range = {};      // of numbers
  const char* help = "";       // of the flag
  const char* flag = nullptr;  // where it is not "--" and the name with dashes
  const std::vector<std::string>& (*choices)() = nullptr;
  // Given by the run (--seed, --threads, keys of a stage): no key of the settings' own object.
  bool of_run = false;
};

template <typename Struct, typename Member>
struct FieldOf {
  Member Struct::*member;
  Field about;
};
// Does not compile for a whole number without bounds that a double holds exactly.
template <typename Struct, typename Member>
consteval FieldOf<Struct, Member> field(Member Struct::*member, Field about) {
  constexpr double kExact = 0x1.0p53;
  if (std::is_integral_v<Member> && !std::is_same_v<Member, bool> && !about.of_run &&
      !(about.range.low >= -kExact && about.range.high <= kExact)) {
    throw "a whole number needs its bounds";
  }
  return {member, about};
}

// visit(about, settings.*member) for each field, in the order of fields().
template <typename Struct, typename Visit>
void visit_fields(Struct& settings, const Visit& visit) {
  std::apply([&](const auto&... one) { (visit(one.about, settings.*one.member), ...); },
             std::remove_const_t<Struct>::fields());
}

namespace internal {

template <typename T>
inline constexpr bool kIsOptional = false;
template <typename T>
inline constexpr bool kIsOptional<std::optional<T>> = true;

// Stands for any member in an aggregate's list; an optional takes nullopt.
struct AnyMember {
  template <typename T>
  operator T() const;  // NOLINT: implicit; never defined
};
template <typename T, typename... Members>
consteval size_t member_count() {
  if constexpr (requires { T{std::declval<Members>()..., AnyMember()}; }) {
    return member_count<T, Members..., AnyMember>();
  } else if constexpr (requires { T{std::declval<Members>()..., std::nullopt}; }) {
    return member_count<T, Members..., std::nullopt_t>();
  } else {
    return sizeof...(Members);
  }
}

template <typename T>
size_t place_of(const Field& about, const T& name) {
  const auto& names = about.choices();
  const auto found = std::ranges::find(names, name);
  CANDOR_CHECK(found != names.end());
  return static_cast<size_t>(found - names.begin());
}

}  // namespace internal

// Whether fields() names as many members as the struct has: a new one cannot be forgotten.
template <typename Struct>
consteval bool lists_every_member() {
  return std::tuple_size_v<decltype(Struct::fields())> == internal::member_count<Struct>();
}

template <typename Struct>
Json fields_json(const Struct& settings);

// One value as JSON.
template <typename T>
Json field_json(const Field& about, const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return about.choices().at(static_cast<size_t>(value));
  } else if constexpr (internal::kIsOptional<T>) {
    return value.has_value() ? fields_json(*value) : Json();
  } else {
    return value;
  }
}

// All fields by name: what goes into summaries and identities.
template <typename Struct>
Json fields_json(const Struct& settings) {
  Json out = Json::object();
  visit_fields(settings, [&](const Field& about, const auto& value) {
    out[about.name] = field_json(about, value);
  });
  return out;
}

// Sets every field that the object has; what is absent stays as it is. Errors are the reader's; the
// caller finishes it. Fields that are the run's, and optional structs, are the caller's to read.
template <typename Struct>
void read_fields(JsonReader& in, Struct& settings) {
  visit_fields(settings, [&]<typename T>(const Field& about, T& value) {
    if (about.of_run || !in.has(about.name)) return;
    if constexpr (std::is_enum_v<T>) {
      value = static_cast<T>(internal::place_of(about, in.choice(about.name, about.choices())));
    } else if constexpr (std::is_same_v<T, bool>) {
      value = in.boolean(about.name);
    } else if constexpr (std::is_integral_v<T>) {
      value = static_cast<T>(in.integer(about.name, static_cast<int64_t>(about.range.low),
                                        static_cast<int64_t>(about.range.high)));
    } else if constexpr (std::is_floating_point_v<T>) {
      value = in.number(about.name, about.range);
    } else if constexpr (std::is_same_v<T, std::string>) {
      value =
          about.choices != nullptr ? in.choice(about.name, about.choices()) : in.text(about.name);
    } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
      value = in.texts(about.name);
    }
  });
}

// Errors: kInvalidArgument for the first number out of its range, by name.
template <typename Struct>
Status check_fields(const Struct& settings) {
  Status out;
  visit_fields(settings, [&]<typename T>(const Field& about, const T& value) {
    if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
      if (!out.ok() || about.of_run || about.range.holds(static_cast<double>(value))) return;
      const std::string allowed = std::is_integral_v<T>
                                      ? whole_range_text(static_cast<int64_t>(about.range.low),
                                                         static_cast<int64_t>(about.range.high))
                                      : about.range.text();
      out = invalid_argument(str_cat(about.name, ": found ", value, "; expected ", allowed));
    }
  });
  return out;
}

}  // namespace candor
