// Any bytes as conversations, made into samples by our rules and by the recipe's. A first byte of
// `~` means that the rest is not JSON but the messages themselves, one behind each further `~`.
#include <cstdint>
#include <string>

#include "base/error.h"
#include "base/text.h"
#include "data/sample.h"

namespace {

const cria::Tokenizer& tokenizer() {
  static const cria::Tokenizer made = [] {
    cria::Vocabulary v;
    for (int i = 0; i < 256; ++i) v.pieces.emplace_back(1, static_cast<char>(i));
    for (const char* piece : {" a", "he", " the", "AN", "SS", ": "}) v.pieces.emplace_back(piece);
    v.special.resize(v.pieces.size());
    for (const char* piece : {"<|bos|>", "<|eos|>", "<|pad|>"}) {
      v.pieces.emplace_back(piece);
      v.special.push_back(true);
    }
    v.rank_is_id = true;
    v.ignore_merges = true;
    return cria::Tokenizer(std::move(v));
  }();
  return made;
}

void make_samples(const cria::Conversation& conversation) {
  const cria::SampleMaker maker(tokenizer(),
                                {.bos = 262, .eos = 263, .pad = 264, .record_length = 300});
  cria::Sample ours, recipes;
  const bool kept = maker.make(conversation, ours);
  maker.make_as_recipe(conversation, recipes);
  for (const cria::Sample* s : {&ours, &recipes}) {
    cria::check(s->ids.size() == s->labels.size() && s->ids.size() <= 300, "a sample fits");
    for (size_t i = 0; i < s->ids.size(); ++i)
      cria::check(s->labels[i] == cria::kIgnored || s->labels[i] == s->ids[i], "labels are ids");
  }
  if (maker.surely_same(conversation))
    cria::check(kept && ours.ids == recipes.ids && ours.labels == recipes.labels,
                "samples are the same where that is claimed");
}

cria::Conversation from_messages(std::string_view text) {
  cria::Conversation c;
  while (!text.empty()) {
    const size_t end = std::min(text.find('~'), text.size());
    c.turns.push_back(
        {c.turns.size() % 2 == 0 ? "human" : "gpt", std::string(text.substr(0, end))});
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return c;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (text.starts_with('~')) {
    if (!cria::find_invalid_utf8(text)) make_samples(from_messages(text.substr(1)));
    return 0;
  }
  try {
    cria::JsonRecords records(text, "fuzz.json");
    for (cria::JsonRecord record; records.next(record);)
      make_samples(cria::parse_conversation(records, record));
  } catch (const cria::FormatError&) {
  }
  return 0;
}
