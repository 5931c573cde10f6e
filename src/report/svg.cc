#include "report/svg.h"

#include <cstdio>

#include "base/strings.h"
#include "report/line_plot.h"

namespace candor {

std::string escape_html(const std::string& text) {
  std::string out;
  for (const char c : printable(text, Lines::kKeep)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

namespace svg {

std::string open(int width_px, int height_px, const std::string& title) {
  return str_cat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ", width_px, " ", height_px,
      "\" width=\"", width_px, "\" height=\"", height_px,
      "\" font-family=\"sans-serif\" font-size=\"11\" fill=\"#222\" role=\"img\"><title>",
      escape_html(title), "</title>");
}

std::string coordinate(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.2f", value);
  return buffer;
}

std::string text_at(double x, double y, const std::string& anchor, const std::string& text,
                    const std::string& extra) {
  return str_cat("<text x=\"", coordinate(x), "\" y=\"", coordinate(y), "\" text-anchor=\"", anchor,
                 "\"", extra, ">", escape_html(text), "</text>");
}

std::string line(double x1, double y1, double x2, double y2, const std::string& style) {
  return str_cat("<line x1=\"", coordinate(x1), "\" y1=\"", coordinate(y1), "\" x2=\"",
                 coordinate(x2), "\" y2=\"", coordinate(y2), "\" ", style, "/>");
}

std::string rectangle(double x, double y, double width, double height, const std::string& color) {
  return str_cat("<rect x=\"", coordinate(x), "\" y=\"", coordinate(y), "\" width=\"",
                 coordinate(width), "\" height=\"", coordinate(height), "\" fill=\"", color,
                 "\"/>");
}

}  // namespace svg

}  // namespace candor
