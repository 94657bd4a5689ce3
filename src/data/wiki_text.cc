#include "data/wiki_text.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace cria {
namespace {

// What Python's \s and str.strip() take for space.
bool is_python_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
         c == 0x205f || c == 0x3000;
}

std::string_view strip_left(std::string_view text) {
  size_t begin = 0;
  for (size_t pos = 0; pos < text.size(); begin = pos)
    if (!is_python_space(next_code_point(text, pos))) break;
  return text.substr(begin);
}

std::string_view strip_right(std::string_view text) {
  while (!text.empty()) {
    size_t last = text.size() - 1;
    while (last > 0 && (static_cast<unsigned char>(text[last]) & 0xc0) == 0x80) --last;
    size_t pos = last;
    if (!is_python_space(next_code_point(text, pos))) break;
    text = text.substr(0, last);
  }
  return text;
}

using Step = std::pair<std::string_view, std::string_view>;
constexpr std::array<Step, 3> kFirst = {{{"\r\n", "\n"}, {"\r", "\n"}, {"s '", "s'"}}};
constexpr char kAnyDigit = '0';  // in what is replaced
constexpr Step kSlip = {"/' 0/", "/'[0-9]/"};
constexpr std::array<Step, 9> kJoin = {{{" @-@ ", "-"},
                                        {" @,@ ", ","},
                                        {" @.@ ", "."},
                                        {" : ", ": "},
                                        {" ; ", "; "},
                                        {" . ", ". "},
                                        {" ! ", "! "},
                                        {" ? ", "? "},
                                        {" , ", ", "}}};
using Pair = std::pair<char, char>;
constexpr std::array<Pair, 5> kPairs = {
    {{'(', ')'}, {'[', ']'}, {'{', '}'}, {'"', '"'}, {'\'', '\''}}};
constexpr std::array<Step, 8> kLast = {{{"= = = =", "===="},
                                        {"= = =", "==="},
                                        {"= =", "=="},
                                        {" \xc2\xb0 ", "\xc2\xb0"},
                                        {" \n", "\n"},
                                        {"\n ", "\n"},
                                        {" N ", " 1 "},
                                        {" 's", "'s"}}};

// Replaces from left to right without looking at what was put in. What may be the begin of a match
// waits for the next piece.
class Replace {
 public:
  explicit Replace(const Step& step)
      : from_(step.first), to_(step.second), plain_(from_.substr(0, from_.find(kAnyDigit))) {}

  void add(std::string_view piece, std::string& out) {
    text_ += piece;
    size_t done = 0;
    for (size_t at = find(0); at != std::string::npos; at = find(done)) {
      out.append(text_, done, at - done);
      out += to_;
      done = at + from_.size();
    }
    size_t end = std::max(done, text_.size() - std::min(text_.size(), from_.size() - 1));
    while (end < text_.size() && !matches(end, text_.size() - end)) ++end;
    out.append(text_, done, end - done);
    text_.erase(0, end);
  }
  void finish(std::string& out) {
    out += text_;
    text_.clear();
  }

 private:
  [[nodiscard]] bool matches(size_t at, size_t length) const {
    for (size_t i = 0; i < length; ++i) {
      const char c = text_[at + i];
      if (from_[i] == kAnyDigit ? c < '0' || c > '9' : c != from_[i]) return false;
    }
    return true;
  }
  [[nodiscard]] size_t find(size_t at) const {
    for (at = text_.find(plain_, at); at != std::string::npos; at = text_.find(plain_, at + 1)) {
      if (at + from_.size() > text_.size()) return std::string::npos;
      if (matches(at, from_.size())) return at;
    }
    return at;
  }

  std::string_view from_, to_, plain_;
  std::string text_;
};

// Drops space behind every `open` and before the first `close` after it. Pairs do not nest. Whether
// there will be a `close` is known from their number in the whole text.
class StripInside {
 public:
  StripInside(const Pair& pair, uint64_t closers)
      : open_(pair.first), close_(pair.second), closers_(closers) {}

  void add(std::string_view piece, std::string& out) {
    while (!piece.empty()) {
      const size_t at = std::min(piece.find(inside_ ? close_ : open_), piece.size());
      if (inside_) {
        add_inside(piece.substr(0, at), out);
      } else {
        pass_closers(piece.substr(0, at));
        out += piece.substr(0, at);
      }
      if (at == piece.size()) return;
      out += piece[at];
      pass_closers(piece.substr(at, 1));
      if (inside_) {
        space_.clear();
        inside_ = false;
      } else {
        inside_ = at_begin_ = closers_ > 0;
      }
      piece.remove_prefix(at + 1);
    }
  }
  void finish(std::string& /*out*/) const { check(!inside_, "an open pair has its close"); }

 private:
  void pass_closers(std::string_view text) {
    closers_ -= static_cast<uint64_t>(std::ranges::count(text, close_));
  }
  void add_inside(std::string_view text, std::string& out) {
    if (at_begin_) text = strip_left(text);
    at_begin_ = at_begin_ && text.empty();
    const std::string_view body = strip_right(text);
    if (!body.empty()) {
      out += space_;
      out += body;
      space_.clear();
    }
    space_ += text.substr(body.size());
  }

  char open_, close_;
  uint64_t closers_;
  bool inside_ = false, at_begin_ = false;
  std::string space_;  // inside a pair, not yet known to stand before its close
};

template <class Stage>
void run(std::vector<Stage>& stages, std::string& text, std::string& other, bool last) {
  for (Stage& stage : stages) {
    other.clear();
    stage.add(text, other);
    if (last) stage.finish(other);
    text.swap(other);
  }
}

void push_all(std::span<const Step> steps, std::vector<Replace>& out) {
  for (const Step& step : steps) out.emplace_back(step);
}

std::vector<Replace> first_stages(bool exact_bugs) {
  std::vector<Replace> stages;
  push_all(kFirst, stages);
  if (exact_bugs) stages.emplace_back(kSlip);
  push_all(kJoin, stages);
  return stages;
}

// A piece of about `size` bytes that ends between characters.
std::string_view piece_at(std::string_view text, uint64_t at, size_t size) {
  size_t end = std::min<uint64_t>(text.size(), at + size);
  while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) ++end;
  return text.substr(at, end - at);
}

bool is_paragraph(std::string_view text) {
  return !text.empty() && !strip_left(text).starts_with('=');
}

}  // namespace

struct WikiCleaner::State {
  std::string_view text;
  size_t piece_size;
  uint64_t position = 0;
  std::vector<Replace> first, last;
  std::vector<StripInside> pairs;
  std::string piece, other;

  State(std::string_view whole, bool exact_bugs, size_t size)
      : text(whole), piece_size(size), first(first_stages(exact_bugs)) {
    push_all(kLast, last);
    const auto closers = count_closers();
    for (size_t i = 0; i < kPairs.size(); ++i) pairs.emplace_back(kPairs[i], closers[i]);
    first = first_stages(exact_bugs);
  }

  // The next piece as the first stages leave it; true with the last one.
  bool take_piece() {
    const std::string_view next = piece_at(text, position, piece_size);
    position += next.size();
    piece.assign(next);
    run(first, piece, other, position == text.size());
    return position == text.size();
  }

  // As they reach the stages of pairs: the steps before put some in, those between none.
  std::array<uint64_t, kPairs.size()> count_closers() {
    std::array<uint64_t, kPairs.size()> counts = {};
    for (bool done = false; !done;) {
      done = take_piece();
      for (size_t i = 0; i < kPairs.size(); ++i)
        counts[i] += static_cast<uint64_t>(std::ranges::count(piece, kPairs[i].second));
    }
    position = 0;
    return counts;
  }
};

WikiCleaner::WikiCleaner(std::string_view text, bool exact_bugs, size_t piece_size)
    : state_(std::make_unique<State>(text, exact_bugs, piece_size)) {}
WikiCleaner::~WikiCleaner() = default;
uint64_t WikiCleaner::position() const { return state_->position; }

bool WikiCleaner::next(std::string& out) {
  State& s = *state_;
  if (s.position == s.text.size()) return false;
  const bool last = s.take_piece();
  run(s.pairs, s.piece, s.other, last);
  run(s.last, s.piece, s.other, last);
  out += s.piece;
  return true;
}

std::string clean_wiki_text(std::string_view text, bool exact_bugs, size_t piece_size) {
  std::string out;
  for (WikiCleaner cleaner(text, exact_bugs, piece_size); cleaner.next(out);) {
  }
  return out;
}

bool WikiParagraphs::next(std::string& paragraph) {
  size_t searched = begin_;
  while (true) {
    const size_t end = text_.find("\n\n", searched);
    if (end != std::string::npos) {
      paragraph.assign(text_, begin_, end - begin_);
      searched = begin_ = end + 2;
      if (is_paragraph(paragraph)) return true;
      continue;
    }
    text_.erase(0, begin_);
    begin_ = 0;
    searched = text_.empty() ? 0 : text_.size() - 1;
    if (cleaner_.next(text_)) continue;
    paragraph.swap(text_);
    text_.clear();
    return is_paragraph(paragraph);
  }
}

std::vector<std::string_view> wiki_paragraphs(std::string_view text) {
  std::vector<std::string_view> out;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = text.find("\n\n", begin);
    if (end == std::string_view::npos) end = text.size();
    const std::string_view paragraph = text.substr(begin, end - begin);
    if (is_paragraph(paragraph)) out.push_back(paragraph);
    begin = end + 2;
  }
  return out;
}

}  // namespace cria
