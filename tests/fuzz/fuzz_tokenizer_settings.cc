// Any bytes as the small files beside tokenizer.json; ids that are taken over lie in the vocabulary.
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "tokenizer/chat.h"
#include "tokenizer/vocabulary_files.h"

namespace {

cria::Vocabulary small_vocabulary() {
  cria::Vocabulary v;
  for (const char* piece : {"a", "b", "<s>", "</s>"}) v.pieces.emplace_back(piece);
  v.special = {false, false, true, true};
  return v;
}

void check_ids(const cria::Vocabulary& v) {
  for (const auto& id : {v.bos, v.eos, v.pad})
    cria::check(!id || static_cast<size_t>(*id) < v.pieces.size(), "ids lie in the vocabulary");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  cria::Vocabulary v = small_vocabulary();
  try {
    cria::parse_tokenizer_config(text, "tokenizer_config.json", v);
  } catch (const cria::FormatError&) {
  }
  check_ids(v);
  v = small_vocabulary();
  try {
    for (const cria::TokenId id : cria::parse_generation_config(text, "generation_config.json", v))
      cria::check(static_cast<size_t>(id) < v.pieces.size(), "ids lie in the vocabulary");
  } catch (const cria::FormatError&) {
  }
  check_ids(v);
  return 0;
}
