#pragma once

#include <string>

#include "core/audit.h"
#include "core/lab.h"
#include "core/noise.h"
#include "core/table_audit.h"

namespace candor {

// The pages that `candor lab`, `audit` and `noise` write with --report: one self-contained HTML
// file each, drawn with the report module.
[[nodiscard]] std::string lab_page(const Game& game, const Laboratory& lab);
[[nodiscard]] std::string noise_page(const NoiseOptions& options, const NoiseStudy& study);
[[nodiscard]] std::string table_noise_page(const std::vector<TableNoiseGroup>& groups);
[[nodiscard]] std::string audit_page(const Game& game, const Audit& audit,
                                     const std::string& payments);
[[nodiscard]] std::string table_audit_page(const Table& table, const TableAudit& audit,
                                           const std::string& payments);

}  // namespace candor
