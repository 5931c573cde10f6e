#include <cstdio>
#include <filesystem>
#include <memory>

#include "apps/lm_commands.h"
#include "apps/lm_shared.h"
#include "base/strings.h"
#include "formats/lora_adapter.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

CommandResult run_soup(const LmOptions& own, const std::string& folder,
                       const CommonOptions& options) {
  CANDOR_TRY(const std::vector<AdapterChoice> choices, parse_adapters(own.adapters));
  CANDOR_TRY(const fs::path output, new_folder(folder));
  std::vector<WeightedAdapter> parts;
  for (const AdapterChoice& choice : choices) {
    CANDOR_TRY(LoraAdapter adapter, load_lora_adapter(choice.folder));
    parts.push_back({std::move(adapter), choice.weight});
  }
  CANDOR_TRY(const LoraAdapter soup, soup_of(parts));
  CANDOR_RETURN_IF_ERROR(write_folder(
      output, [&](const fs::path& partial) { return write_lora_adapter(soup, partial); }));
  if (options.json()) {
    const Json written = {
        {"output", output.string()}, {"rank", soup.rank}, {"modules", soup.modules.size()}};
    std::printf("%s\n", to_line(written).c_str());
  } else {
    print_line(str_cat("a soup of ", parts.size(), " adapters, rank ", soup.rank, ", ",
                       soup.modules.size(), " weights: ", printable(output.string())));
  }
  return 0;
}

}  // namespace

void add_soup_command(CLI::App& lm, CommonOptions& options) {
  auto own = std::make_shared<LmOptions>();
  auto output = std::make_shared<std::string>();
  CLI::App* command = add_command(
      lm,
      {"soup", "Writes a rewarded soup of LoRA adapters as one adapter (a PEFT folder), exactly",
       "candor lm soup --adapter harmless=0.3 --adapter humor=0.7 --output soup-0.3"},
      options, [own, output, &options] {
        return guarded("lm soup", [&] { return run_soup(*own, *output, options); });
      });
  add_adapter_option(command, *own);
  command->get_option("--adapter")->required();
  command->add_option("--output", *output, "A new folder")->required();
}

}  // namespace candor
