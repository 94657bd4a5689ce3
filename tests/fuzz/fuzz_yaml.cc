// A YAML configuration from memory, parsed and walked beside the table of keys.
#include <string_view>

#include "base/error.h"
#include "recipe/keys.h"
#include "recipe/settings.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto root = cria::recipe::parse_yaml({reinterpret_cast<const char*>(data), size}, "fuzz");
    cria::recipe::check_keys(root, "fuzz");
    cria::recipe::read_settings(root);
  } catch (const cria::Error&) {
  }
  return 0;
}
