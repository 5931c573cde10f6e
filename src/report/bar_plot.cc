#include "report/bar_plot.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/strings.h"
#include "report/line_plot.h"
#include "report/svg.h"

namespace candor {

namespace {

constexpr double kLeft = 54;
constexpr double kRight = 12;
constexpr double kTop = 30;
constexpr double kBottom = 58;

struct Scale {
  double low = 0;  // bars grow from 0, which is always inside
  double high = 0;
  double height;

  [[nodiscard]] double py(double value) const {
    return height - kBottom - (value - low) / (high - low) * (height - kTop - kBottom);
  }
};

Scale scale_of(const BarPlot& plot) {
  Scale scale{.height = static_cast<double>(plot.height_px)};
  for (const BarSeries& series : plot.series) {
    CANDOR_CHECK(series.values.size() == plot.categories.size());
    for (const double value : series.values) {
      CANDOR_CHECK(std::isfinite(value));
      scale.low = std::min(scale.low, value);
      scale.high = std::max(scale.high, value);
    }
  }
  if (!(scale.high > scale.low)) scale.high = scale.low + 1;
  const double margin = 0.05 * (scale.high - scale.low);
  if (scale.low < 0) scale.low -= margin;
  scale.high += margin;
  return scale;
}

std::string shorten(const std::string& text, size_t limit) {
  return text.size() <= limit ? text : text.substr(0, limit - 2) + "..";
}

std::string bars(const BarPlot& plot, const Scale& scale) {
  const double width = plot.width_px - kLeft - kRight;
  const double slot = width / static_cast<double>(std::max<size_t>(1, plot.categories.size()));
  const double bar = 0.8 * slot / static_cast<double>(std::max<size_t>(1, plot.series.size()));
  std::string out;
  for (size_t c = 0; c < plot.categories.size(); ++c) {
    const double begin = kLeft + slot * (static_cast<double>(c) + 0.1);
    for (size_t s = 0; s < plot.series.size(); ++s) {
      const double value = plot.series[s].values[c];
      const double top = scale.py(std::max(0.0, value));
      const double bottom = scale.py(std::min(0.0, value));
      out += svg::rectangle(begin + bar * static_cast<double>(s), top, 0.92 * bar, bottom - top,
                            plot.series[s].color);
    }
    const auto letters = static_cast<size_t>(std::max(3.0, slot / 6.2));
    out += svg::text_at(begin + 0.4 * slot, plot.height_px - kBottom + 17, "middle",
                        shorten(plot.categories[c], letters));
  }
  return out;
}

}  // namespace

std::string render_svg(const BarPlot& plot) {
  const Scale scale = scale_of(plot);
  std::string out = svg::open(plot.width_px, plot.height_px, plot.title);
  for (const double value : ticks(scale.low, scale.high, 6)) {
    out += svg::line(kLeft, scale.py(value), plot.width_px - kRight, scale.py(value),
                     "stroke=\"#e3e6ea\"");
    out += svg::text_at(kLeft - 6, scale.py(value) + 4, "end", format_short(value, 4));
  }
  out += bars(plot, scale);
  out += svg::line(kLeft, scale.py(0), plot.width_px - kRight, scale.py(0), "stroke=\"#555\"");
  const double middle = (plot.height_px - kBottom + kTop) / 2;
  out += svg::text_at(13, middle, "middle", plot.y_label,
                      str_cat(" transform=\"rotate(-90 13 ", svg::coordinate(middle), ")\""));
  out += svg::text_at(kLeft, 17, "start", plot.title, " font-weight=\"600\" font-size=\"13\"");
  double x = kLeft;
  const double y = plot.height_px - 8;
  for (const BarSeries& series : plot.series) {
    out += svg::rectangle(x, y - 9, 11, 10, series.color);
    out += svg::text_at(x + 15, y, "start", series.name);
    x += 28 + 6.1 * static_cast<double>(series.name.size());
  }
  return out + "</svg>";
}

}  // namespace candor
