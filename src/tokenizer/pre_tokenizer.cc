#include "tokenizer/pre_tokenizer.h"

#include <algorithm>

#include "base/text.h"
#include "tokenizer/unicode.h"

namespace cria {

const std::string_view kLlama3Pattern =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

namespace {

// A character of the text: its class and where it ends. At the text's end `stop` == `pos` and the
// class is one that no caller asks for by mistake: `end` is set.
struct Char {
  CharClass kind = CharClass::other;
  size_t stop = 0;
  bool end = false;

  [[nodiscard]] bool is(CharClass k) const { return kind == k && !end; }
};

Char char_at(std::string_view text, size_t pos) {
  if (pos >= text.size()) return {CharClass::other, pos, true};
  const auto byte = static_cast<unsigned char>(text[pos]);
  if (byte < 0x80) return {class_of(byte), pos + 1, false};
  const char32_t c = next_code_point(text, pos);
  return {class_of(c), pos, false};
}

bool is_newline(char c) { return c == '\n' || c == '\r'; }

size_t skip_class(std::string_view text, size_t pos, CharClass kind) {
  for (Char c = char_at(text, pos); c.is(kind); c = char_at(text, pos)) pos = c.stop;
  return pos;
}

// The length of 's 't 're 've 'm 'll 'd at `pos`, which holds the apostrophe; 0 when it is none of
// them. Folding case, the long s (U+017F) counts as an s too: it is the only such letter here.
size_t contraction(std::string_view text, size_t pos, bool fold_case) {
  const auto letter = [&](size_t i) -> char {
    if (pos + i >= text.size()) return '\0';
    const char c = text[pos + i];
    return fold_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  const char a = letter(1);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
  const char b = letter(2);
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 3;
  if (fold_case && a == '\xc5' && b == '\xbf') return 3;
  return 0;
}

// A run of white space from `pos`: where it ends, where its last character begins, and where its
// last line break ends (0 when it has none).
struct SpaceRun {
  size_t end, last, newline_end;
};

SpaceRun space_run(std::string_view text, size_t pos) {
  SpaceRun run{pos, pos, 0};
  for (Char c = char_at(text, pos); c.is(CharClass::space); c = char_at(text, run.end)) {
    if (is_newline(text[run.end])) run.newline_end = c.stop;
    run.last = run.end;
    run.end = c.stop;
  }
  return run;
}

// \s+(?!\S)|\s+: the whole run at the end of the text; else all but its last character, which then
// goes with the next word; else the one character there is.
size_t spaces_end(const SpaceRun& run, size_t pos, size_t text_end) {
  if (run.end == text_end || run.last == pos) return run.end;
  return run.last;
}

size_t llama3_piece_end(std::string_view text, size_t pos) {
  const Char first = char_at(text, pos);
  if (first.kind == CharClass::letter) return skip_class(text, first.stop, CharClass::letter);
  if (first.kind == CharClass::number) {
    const Char second = char_at(text, first.stop);
    if (!second.is(CharClass::number)) return first.stop;
    const Char third = char_at(text, second.stop);
    return third.is(CharClass::number) ? third.stop : second.stop;
  }
  if (text[pos] == '\'') {
    if (const size_t length = contraction(text, pos, true)) return pos + length;
  }
  const Char next = char_at(text, first.stop);
  if (next.is(CharClass::letter) && !is_newline(text[pos]))
    return skip_class(text, next.stop, CharClass::letter);
  if (first.kind == CharClass::other || (text[pos] == ' ' && next.is(CharClass::other))) {
    size_t end = skip_class(text, first.stop, CharClass::other);
    while (end < text.size() && is_newline(text[end])) ++end;
    return end;
  }
  const SpaceRun run = space_run(text, pos);
  return run.newline_end > 0 ? run.newline_end : spaces_end(run, pos, text.size());
}

// With `split_digits` every number is a piece alone, and what lies between two of them is cut as if
// it were a text of its own: a run of white space before a number stays whole.
size_t gpt2_piece_end(std::string_view text, size_t pos, bool split_digits) {
  const Char first = char_at(text, pos);
  if (split_digits && first.kind == CharClass::number) return first.stop;
  if (first.kind != CharClass::space) {
    if (text[pos] == '\'') {
      if (const size_t length = contraction(text, pos, false)) return pos + length;
    }
    return skip_class(text, first.stop, first.kind);
  }
  const Char next = char_at(text, first.stop);
  const bool joins = !next.end && next.kind != CharClass::space &&
                     !(split_digits && next.kind == CharClass::number);
  if (text[pos] == ' ' && joins) return skip_class(text, next.stop, next.kind);
  const SpaceRun run = space_run(text, pos);
  if (split_digits && char_at(text, run.end).is(CharClass::number)) return run.end;
  return spaces_end(run, pos, text.size());
}

}  // namespace

size_t piece_end(PreTokenizer kind, std::string_view text, size_t pos) {
  switch (kind) {
    case PreTokenizer::llama3:
      return llama3_piece_end(text, pos);
    case PreTokenizer::smollm:
      return gpt2_piece_end(text, pos, true);
    case PreTokenizer::gpt2:
      return gpt2_piece_end(text, pos, false);
  }
  return text.size();
}

}  // namespace cria
