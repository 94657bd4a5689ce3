// Any bytes are JSON or a FormatError. What is accepted, another parser reads as the same value.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/error.h"
#include "base/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  cria::Json value;
  try {
    value = cria::parse_json(text, "fuzz", "fuzz.json");
  } catch (const cria::FormatError&) {
    return 0;
  }
  cria::check(cria::Json::parse(text) == value, "both parsers read the same");
  cria::check(cria::parse_json(value.dump(), "fuzz", "again.json") == value,
              "written and read is the same");
  return 0;
}
