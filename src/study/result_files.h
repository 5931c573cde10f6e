#pragma once

#include <string>

#include "base/json.h"
#include "base/result.h"
#include "core/attack.h"
#include "core/audit.h"
#include "core/solution.h"
#include "core/table.h"
#include "core/table_audit.h"

namespace candor {

// The result formats of docs/formats.md.

// {"size", "reward"} of a report; a long reward as its length.
[[nodiscard]] Json report_json(const Report& report);

// {"low", "high"}.
[[nodiscard]] Json enclosure_json(const Enclosure& enclosure);

// solution/1. `with_allocation` false writes null there.
[[nodiscard]] Json solution_json(const Solution& solution, bool with_allocation);

// settlement/1; `table_digest` is LoadedTable::digest. Print it with canonical_json.
[[nodiscard]] Json settlement_json(const Table& table, const std::string& table_digest,
                                   const Settlement& settlement, bool with_prices);

// audit/1 of a game (numbers) and of a table (integer strings of 2^-32).
[[nodiscard]] Json audit_json(const Audit& audit);
[[nodiscard]] Json audit_json(const Table& table, const TableAudit& audit);

// The key "attacks" of audit/1: numbers, for tables too.
[[nodiscard]] Json attacks_json(const std::vector<Attack>& attacks);

// "affine", "zero", "pay_report", "prices"
[[nodiscard]] std::string payment_rule_name(PaymentRule rule);

}  // namespace candor
