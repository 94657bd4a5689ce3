// Any bytes are a pickle that we run to its end or a FormatError; windows stay in their storages.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "base/error.h"
#include "formats/pickle.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const cria::Pickle pickle =
        cria::parse_pickle(std::as_bytes(std::span(data, size)), "fuzz.pth", 0);
    for (const cria::PickleTensor& t : pickle.tensors) {
      if (t.storage >= pickle.storages.size() || t.shape.size() != t.strides.size()) std::abort();
    }
  } catch (const cria::FormatError&) {
  }
  return 0;
}
