#include "apps/field_options.h"

#include "base/strings.h"

namespace candor {

void add_switch(CLI::App& app, const std::string& names, const std::string& help,
                const std::function<void(bool)>& set) {
  CLI::Option* first = nullptr;
  for (const std::string& name : split(names, ',')) {
    const bool on = !name.starts_with('!');
    CLI::Option* option = app.add_flag_callback(
        on ? name : name.substr(1), [set, on] { set(on); },
        on ? help : str_cat("The opposite of ", split(names, ',')[0]));
    option->disable_flag_override();
    if (first == nullptr) {
      first = option;
    } else {
      option->excludes(first);
    }
  }
}

}  // namespace candor
