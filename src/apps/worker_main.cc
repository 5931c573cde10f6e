// candor-worker: everything that needs LibTorch. `stage` runs one stage of a study; `lm` holds the
// language-model commands that `candor lm` passes on.
#include <string_view>

#include "apps/command.h"
#include "apps/lm_commands.h"
#include "lm/kernel_setup.h"
#include "worker/stage.h"

int main(int argc, char** argv) {
  candor::bound_kernel_caches();
  candor::first_call_vector_functions();
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
  stage->add_option("REQUEST", request, "A stage/1 file")->required();
  CLI::App* lm = app.add_subcommand("lm", "Language-model commands");
  lm->require_subcommand(1);
  candor::add_lm_commands(*lm, options);
  return candor::run_program(app, argc, argv);
}
