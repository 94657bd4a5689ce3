// Any bytes as the sums beside a file.
#include "base/side_manifest.h"
#include "own_sum.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return cria::fuzz_text_with_sum(data, size, cria::parse_side_manifest, cria::side_manifest_text);
}
