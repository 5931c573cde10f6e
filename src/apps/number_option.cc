#include "apps/number_option.h"

#include <utility>

#include "base/strings.h"

namespace candor {

namespace {

std::string described(const std::string& help, const std::string& allowed) {
  return help.empty() ? allowed : str_cat(help, " (", allowed, ")");
}

// The bounds that only keep numbers in a machine say nothing to a reader of the help.
std::string whole_help(const WholeFlag& flag) {
  const bool open = static_cast<double>(flag.high) >= kLargestCount;
  return open ? str_cat("a whole number of at least ", flag.low)
              : whole_range_text(flag.low, flag.high);
}

template <typename Read, typename Set>
CLI::Option* add_checked(CLI::App& app, const std::string& names, const std::string& help,
                         Read read, Set set) {
  const std::string shown = split(names, ',')[0];
  return app
      .add_option_function<std::string>(
          names,
          [shown, read = std::move(read), set = std::move(set)](const std::string& text) {
            const auto value = read(text);
            if (!value.ok()) throw CLI::ValidationError(shown, value.error().message);
            set(*value);
          },
          help)
      ->type_name("NUMBER");
}

}  // namespace

CLI::Option* add_number(CLI::App& app, const NumberFlag& flag, std::function<void(double)> set) {
  return add_checked(
      app, flag.name, described(flag.help, flag.range.text()),
      [range = flag.range](const std::string& text) { return parse_number(text, range); },
      std::move(set));
}

CLI::Option* add_number(CLI::App& app, const NumberFlag& flag, double& target) {
  return add_number(app, flag, [&target](double value) { target = value; });
}

CLI::Option* add_number(CLI::App& app, const NumberFlag& flag, std::optional<double>& target) {
  return add_number(app, flag, [&target](double value) { target = value; });
}

CLI::Option* add_whole(CLI::App& app, const WholeFlag& flag, std::function<void(int64_t)> set) {
  return add_checked(
      app, flag.name, described(flag.help, whole_help(flag)),
      [low = flag.low, high = flag.high](const std::string& text) {
        return parse_whole(text, low, high);
      },
      std::move(set));
}

}  // namespace candor
