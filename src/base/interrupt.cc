#include "base/interrupt.h"

#include <unistd.h>

#include <csignal>

namespace candor {

namespace {

volatile std::sig_atomic_t interrupt_count = 0;

void on_interrupt(int /*signal*/) {
  interrupt_count = interrupt_count + 1;
  if (interrupt_count > 1) _exit(exit_code(ErrorCode::kInterrupted));
}

}  // namespace

void install_interrupt_handler() {
  std::signal(SIGINT, on_interrupt);
  std::signal(SIGTERM, on_interrupt);
}

void request_interrupt() { interrupt_count = 1; }
void clear_interrupt() { interrupt_count = 0; }

bool interrupted() { return interrupt_count > 0; }

Status check_interrupted() {
  if (!interrupted()) return {};
  return Error{ErrorCode::kInterrupted, "interrupted"};
}

}  // namespace candor
