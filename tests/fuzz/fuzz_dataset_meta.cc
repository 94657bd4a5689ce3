// Any bytes as the description beside a data set; an accepted one is written and read the same.
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "data/dataset_meta.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const cria::DatasetMeta meta =
        cria::parse_dataset_meta({reinterpret_cast<const char*>(data), size}, "fuzz.meta.json");
    cria::DatasetMeta again = cria::parse_dataset_meta(cria::meta_json(meta), "again.meta.json");
    again.cria_version = meta.cria_version;  // always that of the writer
    cria::check(again == meta, "written and read is the same");
  } catch (const cria::FormatError&) {
  }
  return 0;
}
