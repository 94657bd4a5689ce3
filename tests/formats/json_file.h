// JSON of fixtures; apart from files.h, as it takes long to compile.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "formats/files.h"

namespace cria::test {

/// JSON as Python writes it: NaN and the infinities become null.
inline nlohmann::json load_json(const std::string& path) {
  std::string text = slurp(path);
  for (const std::string word : {" -Infinity", " Infinity", " NaN"}) {
    for (size_t at = 0; (at = text.find(word, at)) != std::string::npos;)
      text.replace(at, word.size(), " null");
  }
  return nlohmann::json::parse(text);
}

}  // namespace cria::test
