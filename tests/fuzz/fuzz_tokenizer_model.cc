// Any bytes are a tokenizer.model or a FormatError; an accepted one encodes and decodes. Llama 3's
// alphabet is put in front of every other input, or none would get as far as that.
#include <cstdint>
#include <string>

#include "base/error.h"
#include "tokenizer/export.h"
#include "tokenizer/vocabulary_files.h"

namespace {

std::string alphabet() {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (unsigned byte = 0; byte < 256; ++byte) {
    text += digits[byte >> 2];
    text += digits[(byte & 3) << 4];
    text += "== " + std::to_string(byte) + "\n";
  }
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string front = alphabet();
  if (size == 0) return 0;
  std::string bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  if ((data[0] & 1) != 0) bytes.insert(0, front);
  try {
    const cria::Tokenizer tokenizer(cria::parse_tiktoken(bytes, "fuzz.model"));
    const std::string text =
        "Hello, world! 1234 \n\n  aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    cria::check(tokenizer.decode(tokenizer.encode(text)) == text, "text comes back");
    (void)cria::gguf_vocabulary_metadata(tokenizer.vocabulary());
  } catch (const cria::FormatError&) {
  }
  return 0;
}
