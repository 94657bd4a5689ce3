// Any text as the name of a tensor in every dialect; a name we know leads back to itself.
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "checkpoint/names.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using cria::Dialect;
  const std::string_view name(reinterpret_cast<const char*>(data), size);
  (void)cria::hf_order(name);
  for (const Dialect dialect :
       {Dialect::hugging_face, Dialect::mindformers, Dialect::meta, Dialect::gguf}) {
    const auto ours = cria::from_dialect(dialect, name);
    if (!ours) continue;
    (void)cria::is_rotated(*ours);
    cria::check(cria::from_dialect(dialect, cria::to_dialect(dialect, *ours)) == ours,
                "a name leads back to itself");
  }
  return 0;
}
