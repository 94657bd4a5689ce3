#include "data/wiki_text.h"

#include <array>
#include <utility>

#include "base/text.h"

namespace cria {
namespace {

// What Python's \s and str.strip() take for space.
bool is_python_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
         c == 0x205f || c == 0x3000;
}

std::string_view strip(std::string_view text) {
  size_t begin = 0;
  for (size_t pos = 0; pos < text.size(); begin = pos)
    if (!is_python_space(next_code_point(text, pos))) break;
  text.remove_prefix(begin);
  while (!text.empty()) {
    size_t last = text.size() - 1;
    while (last > 0 && (static_cast<unsigned char>(text[last]) & 0xc0) == 0x80) --last;
    size_t pos = last;
    if (!is_python_space(next_code_point(text, pos))) break;
    text = text.substr(0, last);
  }
  return text;
}

// Replaces from left to right without looking at what was put in.
void replace_all(std::string& text, std::string_view from, std::string_view to) {
  size_t at = text.find(from);
  if (at == std::string::npos) return;
  std::string out;
  out.reserve(text.size());
  size_t done = 0;
  for (; at != std::string::npos; at = text.find(from, done)) {
    out.append(text, done, at - done);
    out += to;
    done = at + from.size();
  }
  out.append(text, done);
  text = std::move(out);
}

// Drops space behind every `open` and before the first `close` after it. Pairs do not nest.
void strip_inside(std::string& text, char open, char close) {
  std::string out;
  out.reserve(text.size());
  size_t done = 0;
  while (true) {
    const size_t begin = text.find(open, done);
    if (begin == std::string::npos) break;
    const size_t end = text.find(close, begin + 1);
    if (end == std::string::npos) break;
    out.append(text, done, begin + 1 - done);
    out += strip(std::string_view(text).substr(begin + 1, end - begin - 1));
    out += close;
    done = end + 1;
  }
  out.append(text, done);
  text = std::move(out);
}

void replace_digit_slip(std::string& text) {
  constexpr std::string_view kBefore = "/' ";
  for (size_t at = text.find(kBefore); at != std::string::npos;) {
    const size_t digit = at + kBefore.size();
    const bool hit = digit + 1 < text.size() && text[digit] >= '0' && text[digit] <= '9' &&
                     text[digit + 1] == '/';
    constexpr std::string_view kAfter = "/'[0-9]/";
    if (hit) text.replace(at, digit + 2 - at, kAfter);
    at = text.find(kBefore, hit ? at + kAfter.size() : at + 1);
  }
}

using Step = std::pair<std::string_view, std::string_view>;
constexpr std::array<Step, 9> kJoin = {{{" @-@ ", "-"},
                                        {" @,@ ", ","},
                                        {" @.@ ", "."},
                                        {" : ", ": "},
                                        {" ; ", "; "},
                                        {" . ", ". "},
                                        {" ! ", "! "},
                                        {" ? ", "? "},
                                        {" , ", ", "}}};
constexpr std::array<std::pair<char, char>, 5> kPairs = {
    {{'(', ')'}, {'[', ']'}, {'{', '}'}, {'"', '"'}, {'\'', '\''}}};
constexpr std::array<Step, 8> kLast = {{{"= = = =", "===="},
                                        {"= = =", "==="},
                                        {"= =", "=="},
                                        {" \xc2\xb0 ", "\xc2\xb0"},
                                        {" \n", "\n"},
                                        {"\n ", "\n"},
                                        {" N ", " 1 "},
                                        {" 's", "'s"}}};

}  // namespace

std::string clean_wiki_text(std::string_view text, bool exact_bugs) {
  std::string out(text);
  replace_all(out, "\r\n", "\n");
  replace_all(out, "\r", "\n");
  replace_all(out, "s '", "s'");
  if (exact_bugs) replace_digit_slip(out);
  for (const auto& [from, to] : kJoin) replace_all(out, from, to);
  for (const auto& [open, close] : kPairs) strip_inside(out, open, close);
  for (const auto& [from, to] : kLast) replace_all(out, from, to);
  return out;
}

std::vector<std::string_view> wiki_paragraphs(std::string_view text) {
  std::vector<std::string_view> out;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = text.find("\n\n", begin);
    if (end == std::string_view::npos) end = text.size();
    const std::string_view paragraph = text.substr(begin, end - begin);
    if (!paragraph.empty() && !strip(paragraph).starts_with('=')) out.push_back(paragraph);
    begin = end + 2;
  }
  return out;
}

}  // namespace cria
