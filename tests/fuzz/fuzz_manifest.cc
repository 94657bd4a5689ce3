// Any bytes as the manifest of a training checkpoint, and as the body of one whose sum is right:
// hardly an input would get past the sum.
#include <cstdint>
#include <span>
#include <string>

#include "base/error.h"
#include "base/sha256.h"
#include "checkpoint/manifest.h"

namespace {

void parse(std::string_view text) {
  try {
    const cria::Manifest manifest = cria::parse_manifest(text, "manifest.json");
    const std::string written = cria::manifest_text(manifest);
    cria::check(cria::manifest_text(cria::parse_manifest(written, "again.json")) == written,
                "written and read is the same");
  } catch (const cria::FormatError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  parse(text);
  const std::string sum = cria::sha256_hex(std::as_bytes(std::span(text)));
  parse(fmt::format("{{\"sum\":\"{}\",\"manifest\":{}}}\n", sum, text));
  return 0;
}
