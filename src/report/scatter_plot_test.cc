#include "report/scatter_plot.h"

#include <gtest/gtest.h>

#include <array>
#include <regex>
#include <string>
#include <vector>

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

// Three points in one place and one at the right edge: no label stands on another or outside.
TEST(ScatterPlot, LabelsKeepApart) {
  ScatterPlot plot;
  ScatterSeries series{"s", "#123456", {}};
  const auto add = [&](double x, double y, const std::string& label) {
    series.points.push_back(
        {.x = x, .x_low = x, .x_high = x, .y = y, .y_low = y, .y_high = y, .label = label});
  };
  for (const char* label : {"first one", "second one", "third one"}) add(1, 1, label);
  add(0, 0, "corner");
  add(2, 2, "a long label at the edge");
  plot.series = {series};
  const std::string svg = render_svg(plot);
  std::vector<std::array<double, 4>> boxes;
  const std::regex label(
      "<text x=\"([0-9.]+)\" y=\"([0-9.]+)\" text-anchor=\"(start|end)\"[^>]*"
      "paint-order[^>]*>([^<]+)</text>");
  for (std::sregex_iterator at(svg.begin(), svg.end(), label), end; at != end; ++at) {
    const double width = 5 * static_cast<double>((*at)[4].length());
    const double x = std::stod((*at)[1]) - ((*at)[3] == "end" ? width : 0);
    const double y = std::stod((*at)[2]);
    boxes.push_back({x, x + width, y - 9, y});
  }
  ASSERT_EQ(boxes.size(), 5U);
  for (size_t i = 0; i < boxes.size(); ++i) {
    EXPECT_GE(boxes[i][0], 0);
    EXPECT_LE(boxes[i][1], plot.width_px);
    for (size_t j = 0; j < i; ++j) {
      EXPECT_FALSE(boxes[i][0] < boxes[j][1] && boxes[j][0] < boxes[i][1] &&
                   boxes[i][2] < boxes[j][3] && boxes[j][2] < boxes[i][3])
          << i << " on " << j;
    }
  }
}

TEST(ScatterPlot, FrontHoldsWhatNothingBeats) {
  const std::vector<std::pair<double, double>> front =
      pareto_front({{0, 1}, {1, 0}, {0.5, 0.5}, {0.4, 0.4}, {1, -1}, {0.5, 0.5}});
  const std::vector<std::pair<double, double>> expected = {{0, 1}, {0.5, 0.5}, {1, 0}};
  EXPECT_EQ(front, expected);
}

}  // namespace
}  // namespace candor
