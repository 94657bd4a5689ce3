// Any bytes as the manifest of a training checkpoint.
#include "base/error.h"
#include "checkpoint/manifest.h"
#include "own_sum.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return cria::fuzz_text_with_sum(data, size, cria::parse_manifest, cria::manifest_text);
}
