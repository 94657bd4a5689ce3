// Any bytes as a strategy file, in both forms.
#include "base/bytes.h"
#include "base/error.h"
#include "formats/strategy_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  try {
    const auto file = cria::parse_strategy(bytes, "fuzz.ckpt");
    // What was accepted must survive being written and read.
    cria::check(cria::parse_strategy(cria::encode_strategy(file), "fuzz.ckpt") == file,
                "written and read is the same");
  } catch (const cria::FormatError&) {
  }
  try {
    const auto file = cria::parse_strategy_json(cria::text_of(bytes), "fuzz.json");
    for (const auto& [name, layout] : file.layouts)
      cria::check(layout.devices() <= cria::kMaxStrategyDevices, "few enough devices");
  } catch (const cria::FormatError&) {
  }
  return 0;
}
