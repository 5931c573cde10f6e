#pragma once

#include "base/result.h"

namespace candor {

// After this, the first SIGINT or SIGTERM sets a flag and the second ends the process at once.
void install_interrupt_handler();

// Set and cleared by hand, where somebody else's handler is in charge (Python's).
void request_interrupt();
void clear_interrupt();

[[nodiscard]] bool interrupted();

// kInterrupted once the flag is set; long loops return it.
Status check_interrupted();

}  // namespace candor
