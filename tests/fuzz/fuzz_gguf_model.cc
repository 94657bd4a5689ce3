// What a GGUF says about a model and its vocabulary, whatever its metadata are.
#include <cstdint>
#include <span>

#include "base/error.h"
#include "checkpoint/gguf_config.h"
#include "formats/gguf.h"
#include "tokenizer/vocabulary_files.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const cria::GgufReader reader(std::as_bytes(std::span(data, size)), "fuzz.gguf");
    try {
      const cria::LlamaConfig config = cria::config_from_gguf(reader);
      (void)cria::gguf_config_metadata(config, cria::DType::f32, "fuzz");
      (void)cria::gguf_rope_divisors(config);
    } catch (const cria::Error&) {
    }
    const cria::Tokenizer tokenizer(cria::read_gguf_vocabulary(reader));
    (void)tokenizer.encode("Hello, <|x|> world!\n\n  12", {.allow_special = true});
  } catch (const cria::Error&) {
  }
  return 0;
}
