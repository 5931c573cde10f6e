// candor-worker: everything that needs LibTorch. `stage` runs one stage of a study; `lm` holds the
// language-model commands that `candor lm` passes on; `about` says what candor asks of it.
#include <cstdio>
#include <string_view>

#include "apps/command.h"
#include "apps/lm_commands.h"
#include "apps/lm_list.h"
#include "base/cpu.h"
#include "lm/kernel_setup.h"
#include "worker/stage.h"

namespace candor {

namespace {

CommandResult run_about() {
  const Json about = {{"torch", torch_version()},
                      {"instruction_set", name_of(instruction_set())},
                      {"aten", aten_capability()}};
  std::printf("%s\n", to_line(about).c_str());
  return 0;
}

// Before every command but `stage`, whose request names its instruction set.
CommandResult set_up(const std::string& instruction_set) {
  if (!instruction_set.empty()) {
    CANDOR_TRY(const InstructionSet set, instruction_set_of(instruction_set));
    CANDOR_RETURN_IF_ERROR(use_instruction_set(set));
  }
  set_up_kernels();
  return 0;
}

}  // namespace

}  // namespace candor

int main(int argc, char** argv) {
  // `candor lm` becomes this program: people should read the name they typed.
  const bool passed_on = argc > 1 && std::string_view(argv[1]) == "lm";
  CLI::App app("Candor's worker: language-model work on LibTorch.",
               passed_on ? "candor" : "candor-worker");
  app.set_version_flag("--version", CANDOR_VERSION);
  app.require_subcommand(1);
  candor::CommonOptions options;
  std::string request;
  CLI::App* stage =
      candor::add_command(app,
                          {"stage", "Runs one stage of a study (candor run calls this)",
                           "candor-worker stage request.json"},
                          options, [&]() -> candor::CommandResult {
                            CANDOR_RETURN_IF_ERROR(candor::run_stage(request));
                            return 0;
                          });
  stage->add_option("REQUEST", request, "A stage/2 file")->required();
  candor::CommonOptions set_up_options;
  std::string instruction_set;
  set_up_options.before_run = [&] { return candor::set_up(instruction_set); };
  CLI::App* about = candor::add_command(
      app, {"about", "What the numbers of stages here depend on, as JSON", "candor-worker about"},
      set_up_options, candor::run_about);
  candor::add_instruction_set_option(*about, instruction_set);
  CLI::App* lm = app.add_subcommand("lm", candor::lm_summary());
  lm->require_subcommand(1);
  candor::add_lm_commands(*lm, set_up_options);
  for (CLI::App* command : lm->get_subcommands({})) {
    candor::add_instruction_set_option(*command, instruction_set);
  }
  return candor::run_program(app, argc, argv);
}
