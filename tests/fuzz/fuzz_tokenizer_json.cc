// Any bytes are a tokenizer.json or a FormatError; what we write of an accepted one reads back the
// same.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "tokenizer/chat.h"
#include "tokenizer/export.h"
#include "tokenizer/vocabulary_files.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    const cria::Tokenizer tokenizer(cria::parse_tokenizer_json(bytes, "fuzz.json"));
    (void)tokenizer.encode("Hello, <|x|> world!\n\n  12", {.allow_special = true});
    const auto again =
        cria::parse_tokenizer_json(cria::tokenizer_json(tokenizer.vocabulary()), "again.json");
    cria::check(again.fingerprint == tokenizer.fingerprint(), "our file is the same vocabulary");
  } catch (const cria::FormatError&) {
  }
  return 0;
}
