#pragma once

#include "base/json.h"
#include "base/result.h"
#include "study/menu_table.h"
#include "study/study.h"

namespace candor {

// receipt/1 (docs/formats.md): one group's own row, the totals, its price menu, its payment as a
// settled integer and in money. No Merkle proof and no signature yet.
// Errors: minor_units', with the group's name.
Result<Json> receipt_json(const Study& study, const MenuSettlement& settled, size_t group);

}  // namespace candor
