// Plain text in wikitext's style: cleaned and cut into paragraphs as the recipe does.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cria {

/// The recipe's cleaning of a whole file, step by step in its order: wikitext's ` @-@ ` and spaced
/// punctuation are joined, space just inside brackets and quotes is dropped, runs of `= =` closed.
/// Pairs of quotes are found over the whole text, so cleaning part by part would differ. Line ends
/// CRLF and CR become LF first, as Python's text files do. Linear time. `text` must be valid UTF-8,
/// as below.
/// `exact_bugs` also makes the recipe's one replacement that is a slip: `/' 5/` becomes `/'[0-9]/`.
/// `piece_size` is how much of it is looked at together; the result does not depend on it.
std::string clean_wiki_text(std::string_view text, bool exact_bugs, size_t piece_size = 64 << 10);

/// The same a piece after the other, in constant memory but for runs of space inside brackets. A
/// pair is one only if it is closed in the end, so the text is gone through twice; it must outlive
/// this object.
class WikiCleaner {
 public:
  WikiCleaner(std::string_view text, bool exact_bugs, size_t piece_size = 64 << 10);
  ~WikiCleaner();
  WikiCleaner(const WikiCleaner&) = delete;
  WikiCleaner& operator=(const WikiCleaner&) = delete;
  /// Appends the next piece of cleaned text, perhaps of no bytes; false at the end.
  bool next(std::string& out);
  /// Bytes of the text taken.
  [[nodiscard]] uint64_t position() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Pieces between blank lines, without empty ones and headings (those that begin with `=`). Views
/// into `text`.
std::vector<std::string_view> wiki_paragraphs(std::string_view text);

/// The paragraphs of text that is cleaned on the way, holding one at a time.
class WikiParagraphs {
 public:
  WikiParagraphs(std::string_view text, bool exact_bugs, size_t piece_size = 64 << 10)
      : cleaner_(text, exact_bugs, piece_size) {}
  /// False after the last one.
  bool next(std::string& paragraph);
  [[nodiscard]] uint64_t position() const { return cleaner_.position(); }

 private:
  WikiCleaner cleaner_;
  std::string text_;  // cleaned, from begin_ on not yet given
  size_t begin_ = 0;
};

}  // namespace cria
