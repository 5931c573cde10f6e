#pragma once

#include <string>

#include "core/audit.h"
#include "core/lab.h"
#include "core/table_audit.h"

namespace candor {

// The pages that `candor lab`, `audit` and `noise` write with --report: one self-contained HTML
// file each, drawn with the report module.
[[nodiscard]] std::string lab_page(const Game& game, const Laboratory& lab);

}  // namespace candor
