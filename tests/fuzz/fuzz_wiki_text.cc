// Any UTF-8 as plain text: cleaned in both manners, and paragraphs lie inside it.
#include <cstdint>
#include <string>

#include "base/error.h"
#include "base/text.h"
#include "data/wiki_text.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (cria::find_invalid_utf8(text)) return 0;
  for (const bool exact_bugs : {false, true}) {
    const std::string clean = cria::clean_wiki_text(text, exact_bugs);
    size_t sum = 0;
    for (const std::string_view paragraph : cria::wiki_paragraphs(clean)) {
      cria::check(paragraph.data() >= clean.data() &&
                      paragraph.data() + paragraph.size() <= clean.data() + clean.size(),
                  "a paragraph is part of the text");
      sum += paragraph.size();
    }
    cria::check(sum <= clean.size(), "paragraphs do not overlap");
  }
  return 0;
}
