// Plain text in wikitext's style: cleaned and cut into paragraphs as the recipe does.
#pragma once

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
std::string clean_wiki_text(std::string_view text, bool exact_bugs);

/// Pieces between blank lines, without empty ones and headings (those that begin with `=`). Views
/// into `text`.
std::vector<std::string_view> wiki_paragraphs(std::string_view text);

}  // namespace cria
