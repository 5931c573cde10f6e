#include "report/line_plot.h"

#include <gtest/gtest.h>

namespace candor {
namespace {

TEST(LinePlot, DrawsEverySeriesAndEscapes) {
  LinePlot plot;
  plot.title = "a < b & c";
  plot.mark_x = 1.0;
  plot.mark_label = "truth";
  plot.series = {{"one", "#111111", false, {0, 1, 2}, {0, 1, 4}},
                 {"two", "#222222", true, {0, 2}, {3, 3}}};
  const std::string svg = render_svg(plot);
  EXPECT_NE(svg.find("a &lt; b &amp; c"), std::string::npos);
  EXPECT_EQ(svg.find("a < b"), std::string::npos);
  EXPECT_NE(svg.find("stroke-dasharray=\"5 4\""), std::string::npos);
  EXPECT_NE(svg.find("truth"), std::string::npos);
  size_t curves = 0;
  for (size_t at = 0; (at = svg.find("<polyline", at)) != std::string::npos; ++at) ++curves;
  EXPECT_EQ(curves, 2U);
  // The first point sits at the left edge of the frame, the last at the right.
  EXPECT_NE(svg.find("points=\"54.00,"), std::string::npos);
  EXPECT_NE(svg.find(" 408.00,"), std::string::npos);
}

TEST(LinePlot, FlatAndEmptyData) {
  LinePlot plot;
  plot.title = "t";
  EXPECT_NE(render_svg(plot).find("</svg>"), std::string::npos);
  plot.series = {{"flat", "#111111", false, {1}, {5}}};
  EXPECT_EQ(render_svg(plot).find("nan"), std::string::npos);
}

TEST(Ticks, AreRoundAndInside) {
  EXPECT_EQ(ticks(0, 1, 5), (std::vector<double>{0, 0.2, 0.4, 0.6000000000000001, 0.8, 1}));
  for (const double tick : ticks(-0.37, 12.9, 6)) {
    EXPECT_GE(tick, -0.37);
    EXPECT_LE(tick, 12.9);
  }
  EXPECT_LE(ticks(3, 3.0001, 6).size(), 7U);
}

}  // namespace
}  // namespace candor
