#include "report/scatter_plot.h"

#include <gtest/gtest.h>

namespace candor {
namespace {

TEST(ScatterPlot, DrawsPointsBarsAndLabels) {
  ScatterPlot plot;
  plot.title = "a < b";
  plot.series = {
      {"soups",
       "#123456",
       {{.x = 1, .x_low = 0.5, .x_high = 2, .y = 3, .y_low = 3, .y_high = 3, .label = "soup & co"},
        {.x = 2, .x_low = 2, .x_high = 2, .y = 1, .y_low = 0, .y_high = 1, .label = ""}}}};
  plot.front = {{1, 3}, {2, 1}};
  const std::string svg = render_svg(plot);
  EXPECT_NE(svg.find("a &lt; b"), std::string::npos);
  EXPECT_NE(svg.find("soup &amp; co"), std::string::npos);
  EXPECT_NE(svg.find("<polyline"), std::string::npos);
  size_t circles = 0;
  for (size_t at = svg.find("<circle"); at != std::string::npos; at = svg.find("<circle", at + 1)) {
    ++circles;
  }
  EXPECT_EQ(circles, 3U);  // two points, one in the legend
  EXPECT_EQ(render_svg(plot), svg);
  EXPECT_NE(render_svg(ScatterPlot{}).find("</svg>"), std::string::npos);
}

TEST(ScatterPlot, FrontHoldsWhatNothingBeats) {
  const std::vector<std::pair<double, double>> front =
      pareto_front({{0, 1}, {1, 0}, {0.5, 0.5}, {0.4, 0.4}, {1, -1}, {0.5, 0.5}});
  const std::vector<std::pair<double, double>> expected = {{0, 1}, {0.5, 0.5}, {1, 0}};
  EXPECT_EQ(front, expected);
}

}  // namespace
}  // namespace candor
