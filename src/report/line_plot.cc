#include "report/line_plot.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/strings.h"
#include "report/svg.h"

namespace candor {

namespace {

using svg::coordinate;
using svg::line;
using svg::text_at;

constexpr double kLeft = 54;
constexpr double kRight = 12;
constexpr double kTop = 30;
constexpr double kBottom = 58;

struct Range {
  double low = 0;
  double high = 1;
};

Range range_of(const LinePlot& plot, bool horizontal) {
  Range range{HUGE_VAL, -HUGE_VAL};
  for (const PlotSeries& series : plot.series) {
    for (const double value : horizontal ? series.x : series.y) {
      CANDOR_CHECK(std::isfinite(value));
      range.low = std::min(range.low, value);
      range.high = std::max(range.high, value);
    }
  }
  if (!(range.high >= range.low)) return {};
  const double span = range.high - range.low;
  const double margin = span > 0 ? 0.05 * span : std::max(0.5, 0.05 * std::abs(range.high));
  if (!horizontal) return {range.low - margin, range.high + margin};
  return span > 0 ? range : Range{range.low - margin, range.high + margin};
}

// Maps data to pixels.
struct Frame {
  Range x, y;
  double width, height;
  [[nodiscard]] double px(double value) const {
    return kLeft + (value - x.low) / (x.high - x.low) * (width - kLeft - kRight);
  }
  [[nodiscard]] double py(double value) const {
    return height - kBottom - (value - y.low) / (y.high - y.low) * (height - kTop - kBottom);
  }
};

std::string axes(const LinePlot& plot, const Frame& frame) {
  const std::string grid = "stroke=\"#e3e6ea\"";
  std::string out;
  for (const double value : ticks(frame.y.low, frame.y.high, 6)) {
    out += line(kLeft, frame.py(value), frame.width - kRight, frame.py(value), grid);
    out += text_at(kLeft - 6, frame.py(value) + 4, "end", format_short(value, 4));
  }
  for (const double value : ticks(frame.x.low, frame.x.high, 7)) {
    out += line(frame.px(value), frame.height - kBottom, frame.px(value),
                frame.height - kBottom + 4, "stroke=\"#555\"");
    out += text_at(frame.px(value), frame.height - kBottom + 17, "middle", format_short(value, 4));
  }
  out += line(kLeft, frame.height - kBottom, frame.width - kRight, frame.height - kBottom,
              "stroke=\"#555\"");
  out += text_at((kLeft + frame.width - kRight) / 2, frame.height - kBottom + 33, "middle",
                 plot.x_label);
  const std::string turn = str_cat(" transform=\"rotate(-90 13 ",
                                   coordinate((frame.height - kBottom + kTop) / 2), ")\"");
  out += text_at(13, (frame.height - kBottom + kTop) / 2, "middle", plot.y_label, turn);
  out += text_at(kLeft, 17, "start", plot.title, " font-weight=\"600\" font-size=\"13\"");
  return out;
}

std::string curve(const PlotSeries& series, const Frame& frame) {
  CANDOR_CHECK(series.x.size() == series.y.size());
  std::string points;
  for (size_t i = 0; i < series.x.size(); ++i) {
    points += str_cat(i == 0 ? "" : " ", coordinate(frame.px(series.x[i])), ",",
                      coordinate(frame.py(series.y[i])));
  }
  return str_cat("<polyline fill=\"none\" stroke=\"", series.color, "\" stroke-width=\"2\"",
                 series.dashed ? " stroke-dasharray=\"5 4\"" : "", " points=\"", points, "\"/>");
}

std::string legend(const LinePlot& plot, const Frame& frame) {
  std::string out;
  double x = kLeft;
  const double y = frame.height - 8;
  for (const PlotSeries& series : plot.series) {
    out += line(x, y - 4, x + 18, y - 4,
                str_cat("stroke=\"", series.color, "\" stroke-width=\"2\"",
                        series.dashed ? " stroke-dasharray=\"5 4\"" : ""));
    out += text_at(x + 22, y, "start", series.name);
    x += 34 + 6.1 * static_cast<double>(series.name.size());
  }
  return out;
}

}  // namespace

std::vector<double> ticks(double low, double high, int most) {
  std::vector<double> places;
  if (!(high > low)) return {low};
  double step = std::pow(10.0, std::floor(std::log10((high - low) / most)));
  for (const double factor : {1.0, 2.0, 5.0, 10.0}) {
    if ((high - low) / (step * factor) <= most) {
      step *= factor;
      break;
    }
  }
  for (double k = std::ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; ++k)
    places.push_back(k * step + 0.0);
  return places;
}

std::string render_svg(const LinePlot& plot) {
  const Frame frame{range_of(plot, true), range_of(plot, false), static_cast<double>(plot.width_px),
                    static_cast<double>(plot.height_px)};
  std::string out = svg::open(plot.width_px, plot.height_px, plot.title);
  out += axes(plot, frame);
  if (plot.mark_x.has_value() && *plot.mark_x >= frame.x.low && *plot.mark_x <= frame.x.high) {
    out += line(frame.px(*plot.mark_x), kTop, frame.px(*plot.mark_x), frame.height - kBottom,
                "stroke=\"#888\" stroke-dasharray=\"2 3\"");
    out +=
        text_at(frame.px(*plot.mark_x) + 4, kTop - 1, "start", plot.mark_label, " fill=\"#666\"");
  }
  for (const PlotSeries& series : plot.series) out += curve(series, frame);
  return out + (plot.legend ? legend(plot, frame) : "") + "</svg>";
}

}  // namespace candor
