// Any bytes are a GGUF or a FormatError; what is read lies inside the bytes.
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "formats/element_cast.h"
#include "formats/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const cria::GgufReader reader(std::as_bytes(std::span(data, size)), "fuzz.gguf");
    for (const cria::GgufEntry& e : reader.entries()) {
      if (e.is_array && e.type == cria::GgufType::string) (void)reader.strings(e.key);
      if (!e.is_array && e.type == cria::GgufType::string) (void)reader.text(e.key);
      if (!e.is_array && e.type == cria::GgufType::u32) (void)reader.uint(e.key);
    }
    for (size_t i = 0; i < reader.tensors().size(); ++i) {
      const cria::TensorInfo& info = reader.tensors()[i];
      if (!cria::is_real(info.dtype)) continue;
      std::vector<float> values(static_cast<size_t>(info.elements()));
      cria::to_f32(info.dtype, reader.mapped(i), values);
    }
  } catch (const cria::FormatError&) {
  }
  return 0;
}
