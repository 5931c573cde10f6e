#include "report/bar_plot.h"

#include <gtest/gtest.h>

namespace candor {
namespace {

TEST(BarPlot, BarsGrowFromZeroInBothDirections) {
  BarPlot plot;
  plot.title = "a < b";
  plot.categories = {"one", "two"};
  plot.series = {{"gain", "#111111", {1, -1}}, {"bound", "#222222", {2, 0}}};
  const std::string svg = render_svg(plot);
  size_t bars = 0;
  for (size_t at = 0; (at = svg.find("<rect", at)) != std::string::npos; ++at) ++bars;
  EXPECT_EQ(bars, 4U + 2U);  // with the legend
  EXPECT_NE(svg.find("a &lt; b"), std::string::npos);
  EXPECT_EQ(svg.find("height=\"-"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

TEST(BarPlot, NothingToDraw) { EXPECT_NE(render_svg(BarPlot{}).find("</svg>"), std::string::npos); }

}  // namespace
}  // namespace candor
