#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "apps/commands.h"
#include "base/strings.h"
#include "study/worker_process.h"

namespace candor {

std::filesystem::path worker_program() {
  std::error_code code;
  return std::filesystem::read_symlink("/proc/self/exe", code).parent_path() / "candor-worker";
}

int forward_to_worker(int argc, char** argv) {
  const std::string worker = worker_program().string();
  std::vector<char*> arguments(argv, argv + argc);
  std::string name = worker;
  arguments[0] = name.data();
  arguments.push_back(nullptr);
  set_worker_environment();
  ::execv(worker.c_str(), arguments.data());
  std::fprintf(stderr,
               "candor: %s could not be started: %s (it is built where LibTorch is: make build)\n",
               worker.c_str(), std::strerror(errno));
  return exit_code(ErrorCode::kResource);
}

}  // namespace candor
