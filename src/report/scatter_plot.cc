#include "report/scatter_plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "base/strings.h"
#include "report/line_plot.h"
#include "report/svg.h"

namespace candor {

namespace {

constexpr double kLeft = 58;
constexpr double kRight = 16;
constexpr double kTop = 30;
constexpr double kBottom = 58;

struct Frame {
  double x_low = HUGE_VAL, x_high = -HUGE_VAL, y_low = HUGE_VAL, y_high = -HUGE_VAL;
  double width = 0, height = 0;

  void include(const ScatterPoint& point) {
    for (const double value :
         {point.x, point.x_low, point.x_high, point.y, point.y_low, point.y_high}) {
      CANDOR_CHECK(std::isfinite(value));
    }
    CANDOR_CHECK(point.x_low <= point.x && point.x <= point.x_high && point.y_low <= point.y &&
                 point.y <= point.y_high);
    x_low = std::min(x_low, point.x_low);
    x_high = std::max(x_high, point.x_high);
    y_low = std::min(y_low, point.y_low);
    y_high = std::max(y_high, point.y_high);
  }
  void widen() {
    const auto stretch = [](double& low, double& high) {
      if (!(high >= low)) low = 0, high = 1;
      const double margin = high > low ? 0.06 * (high - low) : 0.5;
      low -= margin;
      high += margin;
    };
    stretch(x_low, x_high);
    stretch(y_low, y_high);
  }
  [[nodiscard]] double px(double value) const {
    return kLeft + (value - x_low) / (x_high - x_low) * (width - kLeft - kRight);
  }
  [[nodiscard]] double py(double value) const {
    return height - kBottom - (value - y_low) / (y_high - y_low) * (height - kTop - kBottom);
  }
};

std::string axes(const ScatterPlot& plot, const Frame& frame) {
  std::string out;
  const double floor = frame.height - kBottom;
  for (const double value : ticks(frame.y_low, frame.y_high, 6)) {
    out += svg::line(kLeft, frame.py(value), frame.width - kRight, frame.py(value),
                     "stroke=\"#e3e6ea\"");
    out += svg::text_at(kLeft - 6, frame.py(value) + 4, "end", format_short(value, 4));
  }
  for (const double value : ticks(frame.x_low, frame.x_high, 7)) {
    out += svg::line(frame.px(value), kTop, frame.px(value), floor, "stroke=\"#eef0f3\"");
    out += svg::text_at(frame.px(value), floor + 17, "middle", format_short(value, 4));
  }
  out += svg::line(kLeft, floor, frame.width - kRight, floor, "stroke=\"#555\"");
  out += svg::line(kLeft, kTop, kLeft, floor, "stroke=\"#555\"");
  out += svg::text_at((kLeft + frame.width - kRight) / 2, floor + 33, "middle", plot.x_label);
  const double middle = (floor + kTop) / 2;
  out += svg::text_at(13, middle, "middle", plot.y_label,
                      str_cat(" transform=\"rotate(-90 13 ", svg::coordinate(middle), ")\""));
  return out +
         svg::text_at(kLeft, 17, "start", plot.title, " font-weight=\"600\" font-size=\"13\"");
}

std::string point_mark(const ScatterPoint& point, const std::string& color, const Frame& frame) {
  const std::string bar = str_cat("stroke=\"", color, "\" stroke-opacity=\"0.45\"");
  std::string out;
  if (point.x_high > point.x_low) {
    out += svg::line(frame.px(point.x_low), frame.py(point.y), frame.px(point.x_high),
                     frame.py(point.y), bar);
  }
  if (point.y_high > point.y_low) {
    out += svg::line(frame.px(point.x), frame.py(point.y_low), frame.px(point.x),
                     frame.py(point.y_high), bar);
  }
  out += str_cat("<circle cx=\"", svg::coordinate(frame.px(point.x)), "\" cy=\"",
                 svg::coordinate(frame.py(point.y)), "\" r=\"4\" fill=\"", color, "\"/>");
  return out;
}

struct Box {
  double left = 0, top = 0, right = 0, bottom = 0;
  [[nodiscard]] bool meets(const Box& other) const {
    return left < other.right && other.left < right && top < other.bottom && other.top < bottom;
  }
};

// Writes labels beside their points, where they cover no other label and few points.
class Labels {
 public:
  Labels(const ScatterPlot& plot, const Frame& frame) : frame_(frame) {
    for (const ScatterSeries& series : plot.series) {
      for (const ScatterPoint& point : series.points) {
        const double x = frame.px(point.x);
        const double y = frame.py(point.y);
        circles_.push_back({x - 5, y - 5, x + 5, y + 5});
      }
    }
  }

  std::string write(const ScatterPoint& point) {
    // Above and below the point's line, nearest first; the first of equals is taken.
    constexpr std::array<double, 6> kDown = {-6, 14, -20, 28, -34, 42};
    Place best;
    double least = HUGE_VAL;
    for (const double down : kDown) {
      for (const bool left : {false, true}) {
        const Place place = place_of(point, down, left);
        const double cost = cost_of(place.box) + 0.05 * std::abs(down - 4);
        if (cost < least) least = cost, best = place;
      }
    }
    written_.push_back(best.box);
    return svg::text_at(best.x, best.y, best.left ? "end" : "start", point.label,
                        " fill=\"#333\" stroke=\"#fff\" stroke-width=\"2.5\" "
                        "stroke-opacity=\"0.8\" paint-order=\"stroke\"");
  }

 private:
  struct Place {
    double x = 0, y = 0;
    bool left = false;
    Box box;
  };

  [[nodiscard]] Place place_of(const ScatterPoint& point, double down, bool left) const {
    constexpr double kLetter = 5.9;
    const double width = kLetter * static_cast<double>(point.label.size());
    Place out{.x = frame_.px(point.x) + (left ? -8 : 8),
              .y = frame_.py(point.y) + down,
              .left = left,
              .box = {}};
    const double start = left ? out.x - width : out.x;
    out.box = {start, out.y - 10, start + width, out.y + 3};
    return out;
  }

  [[nodiscard]] double cost_of(const Box& box) const {
    const auto met = [&](const std::vector<Box>& others) {
      return static_cast<double>(
          std::ranges::count_if(others, [&](const Box& other) { return box.meets(other); }));
    };
    const bool outside = box.left < kLeft || box.right > frame_.width || box.top < kTop ||
                         box.bottom > frame_.height - kBottom;
    return (outside ? 100 : 0) + 20 * met(written_) + met(circles_);
  }

  const Frame& frame_;
  std::vector<Box> circles_, written_;
};

}  // namespace

std::string render_svg(const ScatterPlot& plot) {
  Frame frame;
  frame.width = plot.width_px;
  frame.height = plot.height_px;
  for (const ScatterSeries& series : plot.series) {
    for (const ScatterPoint& point : series.points) frame.include(point);
  }
  frame.widen();
  std::string out = svg::open(plot.width_px, plot.height_px, plot.title) + axes(plot, frame);
  std::string corners;
  for (const auto& [x, y] : plot.front) {
    corners += str_cat(corners.empty() ? "" : " ", svg::coordinate(frame.px(x)), ",",
                       svg::coordinate(frame.py(y)));
  }
  if (!corners.empty()) {
    out += str_cat("<polyline fill=\"none\" stroke=\"#999\" stroke-dasharray=\"4 4\" points=\"",
                   corners, "\"/>");
  }
  double x = kLeft;
  const double y = plot.height_px - 8;
  Labels labels(plot, frame);
  std::string written;  // over all points
  for (const ScatterSeries& series : plot.series) {
    for (const ScatterPoint& point : series.points) {
      out += point_mark(point, series.color, frame);
      if (!point.label.empty()) written += labels.write(point);
    }
    out += str_cat("<circle cx=\"", svg::coordinate(x + 5), "\" cy=\"", svg::coordinate(y - 4),
                   "\" r=\"4\" fill=\"", series.color, "\"/>");
    out += svg::text_at(x + 14, y, "start", series.name);
    x += 30 + 6.4 * static_cast<double>(series.name.size());
  }
  return out + written + "</svg>";
}

std::vector<std::pair<double, double>> pareto_front(
    const std::vector<std::pair<double, double>>& points) {
  std::vector<std::pair<double, double>> sorted = points;
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second > b.second;
  });
  std::vector<std::pair<double, double>> out;
  for (const auto& point : sorted) {
    if (out.empty() || point.second > out.back().second) out.push_back(point);
  }
  std::reverse(out.begin(), out.end());
  return out;
}

}  // namespace candor
