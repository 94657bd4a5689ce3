// Any bytes as the sums beside a file, and as the body of those whose own sum is right.
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/file_sums.h"
#include "base/side_manifest.h"

namespace {

void parse(std::string_view text) {
  try {
    const cria::SideManifest files = cria::parse_side_manifest(text, "fuzz.sum.json");
    const std::string written = cria::side_manifest_text(files);
    cria::check(cria::side_manifest_text(cria::parse_side_manifest(written, "again")) == written,
                "written and read is the same");
  } catch (const cria::FormatError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  parse(text);
  parse(cria::with_own_sum(text));
  return 0;
}
