#pragma once

#include <string>

namespace candor::svg {

// The pieces that plots are drawn from. Pixels; y grows downwards.

[[nodiscard]] std::string open(int width_px, int height_px, const std::string& title);
[[nodiscard]] std::string coordinate(double value);
// `extra`: further attributes, with a leading space.
[[nodiscard]] std::string text_at(double x, double y, const std::string& anchor,
                                  const std::string& text, const std::string& extra = "");
[[nodiscard]] std::string line(double x1, double y1, double x2, double y2,
                               const std::string& style);
[[nodiscard]] std::string rectangle(double x, double y, double width, double height,
                                    const std::string& color);

}  // namespace candor::svg
