#pragma once

#include <optional>
#include <string>
#include <vector>

namespace candor {

struct PlotSeries {
  std::string name;
  std::string color;  // "#rrggbb"
  bool dashed = false;
  std::vector<double> x;
  std::vector<double> y;
};

struct LinePlot {
  std::string title;
  std::string x_label;
  std::string y_label;
  std::vector<PlotSeries> series;
  std::optional<double> mark_x;  // a vertical line ...
  std::string mark_label;        // ... and what it says
  bool legend = true;            // false: the page explains the colours once for many plots
  int width_px = 420;
  int height_px = 280;
};

// One self-contained SVG element. REQUIRES: finite points, x and y of a series equally long.
[[nodiscard]] std::string render_svg(const LinePlot& plot);

// Round tick places inside [low, high], at most `most`.
[[nodiscard]] std::vector<double> ticks(double low, double high, int most);

// Text made safe inside HTML and SVG.
[[nodiscard]] std::string escape_html(const std::string& text);

}  // namespace candor
