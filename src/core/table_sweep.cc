#include "core/table_sweep.h"

#include <cmath>
#include <optional>

#include "base/strings.h"

namespace candor {

namespace {

// What a candidate's reported total is at parameter t, times a positive constant: slope t + start.
struct Line {
  Int128 slope = 0;
  Int128 start = 0;
};

// numerator / denominator, denominator > 0.
struct Fraction {
  Int128 numerator = 0;
  Int128 denominator = 1;

  [[nodiscard]] double value() const {
    return static_cast<double>(static_cast<long double>(numerator) /
                               static_cast<long double>(denominator));
  }
};

// a < b for fractions >= 0. Products would not fit 128 bits: compare whole parts, then the
// reciprocals of what is left (Euclid's algorithm).
bool less(Fraction a, Fraction b) {
  while (true) {
    const Int128 whole_a = a.numerator / a.denominator;
    const Int128 whole_b = b.numerator / b.denominator;
    if (whole_a != whole_b) return whole_a < whole_b;
    const Int128 rest_a = a.numerator % a.denominator;
    const Int128 rest_b = b.numerator % b.denominator;
    if (rest_a == 0 || rest_b == 0) return rest_a == 0 && rest_b != 0;
    const Fraction flipped_a{b.denominator, rest_b};
    b = {a.denominator, rest_a};
    a = flipped_a;
  }
}

// Follows the upper envelope from 0 to the right. `own` [K] orders the reported row of the group
// among candidates with one line.
class Envelope {
 public:
  Envelope(const Table& table, size_t group, std::vector<Line> lines, std::vector<Int128> own)
      : table_(table), group_(group), lines_(std::move(lines)), own_(std::move(own)) {}

  [[nodiscard]] std::vector<TableSweepPiece> pieces(double largest) const {
    size_t winner = 0;
    for (size_t k = 1; k < lines_.size(); ++k) {
      const bool above = lines_[k].start != lines_[winner].start
                             ? lines_[k].start > lines_[winner].start
                             : steeper_or_first(k, winner);
      if (above) winner = k;
    }
    std::vector<TableSweepPiece> out;
    double begin = 0;
    while (true) {
      std::optional<size_t> next;
      Fraction where;
      for (size_t k = 0; k < lines_.size(); ++k) {
        if (lines_[k].slope <= lines_[winner].slope) continue;
        const Fraction crossing{lines_[winner].start - lines_[k].start,
                                lines_[k].slope - lines_[winner].slope};
        const bool tied = next.has_value() && !less(where, crossing) && !less(crossing, where);
        if (!next.has_value() || less(crossing, where) || (tied && steeper_or_first(k, *next))) {
          next = k;
          where = crossing;
        }
      }
      if (!next.has_value() || where.value() >= largest) {
        out.push_back({begin, largest, winner});
        return out;
      }
      out.push_back({begin, where.value(), winner});
      begin = where.value();
      winner = *next;
    }
  }

 private:
  // Which of two lines that meet is on top to the right: the steeper one; of two that coincide the
  // one that the tie order prefers.
  [[nodiscard]] bool steeper_or_first(size_t a, size_t b) const {
    if (lines_[a].slope != lines_[b].slope) return lines_[a].slope > lines_[b].slope;
    if (lines_[a].start != lines_[b].start) return lines_[a].start > lines_[b].start;
    for (size_t i = 0; i < table_.groups.size(); ++i) {
      const std::vector<int64_t>& row = table_.groups[i].valuations;
      const Int128 value_a = i == group_ ? own_[a] : Int128{row[a]};
      const Int128 value_b = i == group_ ? own_[b] : Int128{row[b]};
      if (value_a != value_b) return value_a > value_b;
    }
    return a < b;
  }

  const Table& table_;
  size_t group_;
  std::vector<Line> lines_;
  std::vector<Int128> own_;
};

Status check_largest(double largest) {
  if (std::isfinite(largest) && largest > 0) return {};
  return invalid_argument(
      str_cat("largest parameter: found ", largest, "; expected a finite number above 0"));
}

Status check(const Table& table, size_t group, double largest) {
  CANDOR_RETURN_IF_ERROR(check_table(table));
  if (group >= table.groups.size()) {
    return invalid_argument(
        str_cat("group: found ", group, "; the table has ", table.groups.size(), " groups"));
  }
  return check_largest(largest);
}

}  // namespace

Result<std::vector<TableSweepPiece>> size_inflation_pieces(const Table& table, size_t group,
                                                           double largest) {
  CANDOR_RETURN_IF_ERROR(check(table, group, largest));
  const Table::Group& own = table.groups[group];
  const std::vector<Int128> others = welfare_without(table, group);
  std::vector<Line> lines;
  std::vector<Int128> row;
  for (size_t k = 0; k < others.size(); ++k) {
    lines.push_back({Int128{own.group_size} * own.valuations[k], others[k]});
    row.push_back(own.valuations[k]);
  }
  return Envelope(table, group, std::move(lines), std::move(row)).pieces(largest);
}

Result<std::vector<TableSweepPiece>> preference_mix_pieces(const Table& table, size_t group,
                                                           double largest) {
  CANDOR_RETURN_IF_ERROR(check(table, group, largest));
  if (table.groups.size() < 2) {
    return invalid_argument(str_cat("group ", quote(table.groups[group].name),
                                    ": is alone; a preference mix needs other groups"));
  }
  const Table::Group& own = table.groups[group];
  const std::vector<Int128> others = welfare_without(table, group);
  Int128 agents = 0;  // of the other groups: everything below is multiplied by it
  for (const Table::Group& other : table.groups) agents += other.group_size;
  agents -= own.group_size;
  std::vector<Line> lines;
  std::vector<Int128> shared;
  for (size_t k = 0; k < others.size(); ++k) {
    // sum over the others of w_j V_j[k]: the mean row times `agents`
    const Int128 mean = others[k] + table.candidates[k].divergence;
    const Int128 distance = agents * own.valuations[k] - mean;
    Int128 scaled = 0;
    Line line;
    if (__builtin_mul_overflow(agents, others[k], &scaled) ||
        __builtin_mul_overflow(Int128{own.group_size}, distance, &line.slope) ||
        __builtin_add_overflow(Int128{own.group_size} * mean, scaled, &line.start)) {
      return invalid_argument("sizes: too many agents for an exact sweep in 128 bits");
    }
    lines.push_back(line);
    // Where lines coincide so do the slopes, and the reported values differ by the means alone.
    shared.push_back(mean);
  }
  return Envelope(table, group, std::move(lines), std::move(shared)).pieces(largest);
}

Result<std::vector<TableSweepPiece>> divergence_scale_pieces(const Table& table, double largest) {
  CANDOR_RETURN_IF_ERROR(check_table(table));
  CANDOR_RETURN_IF_ERROR(check_largest(largest));
  std::vector<Line> lines(table.candidates.size());
  for (size_t k = 0; k < lines.size(); ++k) {
    lines[k].slope = -Int128{table.candidates[k].divergence};
    for (const Table::Group& group : table.groups) {
      lines[k].start += Int128{group.group_size} * group.valuations[k];
    }
  }
  const size_t nobody = table.groups.size();  // every row is the true one
  return Envelope(table, nobody, std::move(lines), {}).pieces(largest);
}

}  // namespace candor
