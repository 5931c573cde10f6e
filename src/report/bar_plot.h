#pragma once

#include <string>
#include <vector>

namespace candor {

struct BarSeries {
  std::string name;
  std::string color;           // "#rrggbb"
  std::vector<double> values;  // one for each category
};

// Groups of upright bars, one group a category.
struct BarPlot {
  std::string title;
  std::string y_label;
  std::vector<std::string> categories;
  std::vector<BarSeries> series;
  int width_px = 420;
  int height_px = 280;
};

// One self-contained SVG element. REQUIRES: finite values, one for each category.
[[nodiscard]] std::string render_svg(const BarPlot& plot);

}  // namespace candor
