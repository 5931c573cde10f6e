#include <variant>

#include "common.h"
#include "core/audit.h"
#include "core/table.h"
#include "core/table_audit.h"
#include "core/table_sweep.h"

namespace candor::python {

namespace {

// Python's integers have no bounds; a table's have.
using Group = std::tuple<std::string, int64_t, std::vector<py::int_>>;
using Candidate = std::pair<std::string, py::int_>;

int64_t units(const py::int_& value, const std::string& what) {
  int overflow = 0;
  const int64_t out = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
  if (overflow == 0) return out;
  throw CandorError(what + ": found " + py::str(value).cast<std::string>() +
                    ", which is beyond 64 bits");
}

Table new_table(const std::vector<Candidate>& candidates, const std::vector<Group>& groups,
                bool menu_depends_on_reports, int64_t max_size) {
  Table table;
  for (const auto& [name, divergence] : candidates) {
    table.candidates.push_back({name, units(divergence, "candidate " + name)});
  }
  for (const auto& [name, size, valuations] : groups) {
    Table::Group& group = table.groups.emplace_back();
    group.name = name;
    group.group_size = size;
    for (const py::int_& value : valuations) {
      group.valuations.push_back(units(value, "group " + name));
    }
  }
  table.menu_depends_on_reports = menu_depends_on_reports;
  table.max_size = max_size;
  check(check_table(table));
  return table;
}

py::list as_integers(const std::vector<Int128>& values) {
  py::list out;
  for (const Int128 value : values) out.append(to_python(value));
  return out;
}

// The getter of an amount.
template <typename Owner>
auto amount(Int128 Owner::*member) {
  return [member](const Owner& owner) { return to_python(owner.*member); };
}

void bind_results(py::module_& module) {
  py::class_<Settlement::Group>(module, "SettlementGroup")
      .def_readonly("name", &Settlement::Group::name)
      .def_readonly("size", &Settlement::Group::group_size)
      .def_property_readonly("valuation", amount(&Settlement::Group::valuation))
      .def_property_readonly("payment", amount(&Settlement::Group::payment))
      .def_property_readonly("utility", amount(&Settlement::Group::utility))
      .def_property_readonly("prices",
                             [](const Settlement::Group& g) { return as_integers(g.prices); });
  py::class_<Settlement>(module, "Settlement")
      .def_readonly("winner", &Settlement::winner)
      .def_property_readonly("welfare", amount(&Settlement::welfare))
      .def_readonly("groups", &Settlement::groups);
  py::class_<TableGroupAudit>(module, "TableGroupAudit")
      .def_readonly("name", &TableGroupAudit::name)
      .def_property_readonly("utility_truth", amount(&TableGroupAudit::utility_truth))
      .def_property_readonly("deviation_gain", amount(&TableGroupAudit::deviation_gain))
      .def_readonly("best_size", &TableGroupAudit::best_size)
      .def_readonly("best_valuations", &TableGroupAudit::best_valuations)
      .def_readonly("best_candidate", &TableGroupAudit::best_candidate)
      .def_readonly("bound", &TableGroupAudit::bound);
  py::class_<TableAudit>(module, "TableAudit")
      .def_readonly("profitable", &TableAudit::profitable)
      .def_readonly("groups", &TableAudit::groups);
  py::class_<TableSweepPiece>(module, "TableSweepPiece")
      .def_readonly("begin", &TableSweepPiece::begin)
      .def_readonly("end", &TableSweepPiece::end)
      .def_readonly("winner", &TableSweepPiece::winner);
}

}  // namespace

void bind_table(py::module_& module) {
  module.attr("UNIT") = to_python(kFixedPointOne);
  py::class_<Table>(module, "Table",
                    "A valuation table: candidates (name, divergence) and groups (name, size, "
                    "valuations), amounts as integers in units of 2^-32 (candor.UNIT).")
      .def(py::init(&new_table), py::arg("candidates"), py::arg("groups"),
           py::arg("menu_depends_on_reports") = false, py::arg("max_size") = Table().max_size);
  bind_results(module);
  module.def(
      "settle", [](const Table& table) { return run_long([&] { return settle(table); }); },
      py::arg("table"),
      "Winner argmax_k sum_i w_i V[i][k] - D[k], payments max_k B_i(k) - B_i(winner), in "
      "integers.");
  module.def(
      "audit_table",
      [](const Table& table, const std::string& payments) {
        const PaymentRule rule = unwrap(parse_payment_rule(payments));
        return run_long([&] { return unwrap(audit_table(table, rule)); });
      },
      py::arg("table"), py::arg("payments") = "affine",
      "Can a group gain by any row and size? Exact on tables (MATH 4).");
  module.def(
      "size_inflation_pieces",
      [](const Table& table, size_t group, double largest) {
        return unwrap(size_inflation_pieces(table, group, largest));
      },
      py::arg("table"), py::arg("group"), py::arg("largest"),
      "Which candidate wins for every factor of the group's size: exact breakpoints.");
  module.def(
      "preference_mix_pieces",
      [](const Table& table, size_t group, double largest) {
        return unwrap(preference_mix_pieces(table, group, largest));
      },
      py::arg("table"), py::arg("group"), py::arg("largest"),
      "The same for reports b V_i + (1 - b) V_{-i}.");
}

}  // namespace candor::python
