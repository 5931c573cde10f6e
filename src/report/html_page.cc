#include "report/html_page.h"

#include "base/strings.h"
#include "report/line_plot.h"

namespace candor {

namespace {

constexpr const char* kStyle = R"(
body{font:15px/1.5 system-ui,"DejaVu Sans",sans-serif;color:#1c1e21;max-width:940px;
  margin:2em auto;padding:0 1em}
h1{font-size:1.7em;margin:0 0 .3em}
h2{font-size:1.25em;margin:1.9em 0 .4em;border-bottom:1px solid #d6dae0;padding-bottom:.2em}
h3{font-size:1.02em;margin:1.3em 0 .3em}
table{border-collapse:collapse;margin:.6em 0}
td,th{padding:.28em .7em;border-bottom:1px solid #e3e6ea;text-align:left;vertical-align:top}
th{font-weight:600;border-bottom:2px solid #b9c0c9}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.note{background:#fff7e0;border-left:4px solid #e0b23c;padding:.5em .8em;margin:.8em 0}
pre{background:#f3f5f7;padding:.6em .8em;overflow-x:auto}
svg{max-width:100%;height:auto;margin:.2em .4em .2em 0}
)";

bool is_number(const std::string& text) {
  return !text.empty() &&
         text.find_first_not_of("+-0123456789.,e% ()/\xe2\x80\x93") == std::string::npos &&
         text.find_first_of("0123456789") != std::string::npos;
}

}  // namespace

HtmlPage::HtmlPage(const std::string& title) : title_(title) {
  body_ = str_cat("<h1>", escape_html(title), "</h1>\n");
}

void HtmlPage::heading(const std::string& text) {
  body_ += str_cat("<h2>", escape_html(text), "</h2>\n");
}
void HtmlPage::subheading(const std::string& text) {
  body_ += str_cat("<h3>", escape_html(text), "</h3>\n");
}
void HtmlPage::paragraph(const std::string& text) {
  body_ += str_cat("<p>", escape_html(text), "</p>\n");
}
void HtmlPage::raw(const std::string& html) { body_ += html + "\n"; }
void HtmlPage::note(const std::string& text) {
  body_ += str_cat("<p class=\"note\">", escape_html(text), "</p>\n");
}
void HtmlPage::code(const std::string& text) {
  body_ += str_cat("<pre>", escape_html(text), "</pre>\n");
}

void HtmlPage::table(const std::vector<std::vector<std::string>>& rows) {
  body_ += "<table>";
  for (size_t r = 0; r < rows.size(); ++r) {
    body_ += "<tr>";
    for (const std::string& cell : rows[r]) {
      const char* open = r == 0 ? "<th>" : is_number(cell) ? "<td class=\"n\">" : "<td>";
      body_ += str_cat(open, escape_html(cell), r == 0 ? "</th>" : "</td>");
    }
    body_ += "</tr>\n";
  }
  body_ += "</table>\n";
}

std::string HtmlPage::finish() const {
  return str_cat(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\"><title>",
      escape_html(title_), "</title><style>", kStyle, "</style></head><body>\n", body_,
      "</body></html>\n");
}

}  // namespace candor
