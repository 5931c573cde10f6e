// candor: solving, settling, auditing, studies. No LibTorch: language-model work is
// candor-worker's.
#include <string_view>

#include "apps/command.h"
#include "apps/commands.h"
#include "apps/lm_list.h"

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "lm") return candor::forward_to_worker(argc, argv);
  CLI::App app("Candor: truthful fine-tuning of one language model for several paying groups.",
               "candor");
  app.set_version_flag("--version", CANDOR_VERSION);
  app.require_subcommand(1);
  candor::CommonOptions options;
  candor::add_solve_command(app, options);
  candor::add_merge_command(app, options);
  candor::add_settle_command(app, options);
  candor::add_audit_command(app, options);
  candor::add_lab_command(app, options);
  candor::add_noise_command(app, options);
  candor::add_catalog_command(app, options);
  candor::add_study_commands(app, options);
  app.add_subcommand("lm", candor::lm_summary());
  return candor::run_program(app, argc, argv);
}
