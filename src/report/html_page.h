#pragma once

#include <string>
#include <vector>

namespace candor {

// One self-contained HTML page: no script, no font, no address to load anything from.
class HtmlPage {
 public:
  explicit HtmlPage(const std::string& title);

  void heading(const std::string& text);
  void subheading(const std::string& text);
  void paragraph(const std::string& text);  // escaped
  void raw(const std::string& html);        // SVG and the like, as it is
  void note(const std::string& text);       // set apart: a limit or a warning
  void code(const std::string& text);
  // The first row is the header; cells are escaped; numbers are set right.
  void table(const std::vector<std::vector<std::string>>& rows);

  [[nodiscard]] std::string finish() const;

 private:
  std::string body_;
  std::string title_;
};

}  // namespace candor
