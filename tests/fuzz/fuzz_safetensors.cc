// Any bytes as a safetensors file, and as an index.
#include "base/error.h"
#include "formats/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  try {
    const auto layout = cria::parse_safetensors(bytes, "fuzz.safetensors");
    // What was accepted must lie inside the file.
    for (size_t i = 0; i < layout.tensors.size(); ++i)
      (void)bytes.subspan(layout.offsets[i], static_cast<size_t>(layout.tensors[i].size_bytes()));
  } catch (const cria::FormatError&) {
  }
  try {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    (void)cria::parse_safetensors_index(text, "fuzz.json");
  } catch (const cria::FormatError&) {
  }
  return 0;
}
