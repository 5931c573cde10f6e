#pragma once

#include <string>
#include <vector>

namespace candor {

// A point with its intervals; low = high = the value draws no bar.
struct ScatterPoint {
  double x = 0, x_low = 0, x_high = 0;
  double y = 0, y_low = 0, y_high = 0;
  std::string label;  // written beside the point; empty: none
};

struct ScatterSeries {
  std::string name;
  std::string color;  // "#rrggbb"
  std::vector<ScatterPoint> points;
};

struct ScatterPlot {
  std::string title;
  std::string x_label;
  std::string y_label;
  std::vector<ScatterSeries> series;
  // Corners of a line drawn under the points (a Pareto front), from left to right; may be empty.
  std::vector<std::pair<double, double>> front;
  int width_px = 560;
  int height_px = 420;
};

// One self-contained SVG element. REQUIRES: finite values, low <= value <= high.
[[nodiscard]] std::string render_svg(const ScatterPlot& plot);

// The points that no other point beats in both coordinates (larger is better), by rising x.
[[nodiscard]] std::vector<std::pair<double, double>> pareto_front(
    const std::vector<std::pair<double, double>>& points);

}  // namespace candor
