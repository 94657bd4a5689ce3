// Rows of the golden files: one JSON object a line.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "tokenizer/tokenizer.h"

namespace cria {

inline std::string fixture(const std::string& name) {
  return std::string(CRIA_FIXTURES_DIR) + "/tokenizer/" + name;
}
inline std::string golden(const std::string& name) {
  return std::string(CRIA_SOURCE_DIR) + "/tests/golden/tokenizer/" + name;
}

inline std::vector<Json> rows(const std::string& path) {
  const std::string text = read_text(path);
  std::vector<Json> out;
  for (size_t pos = 0; pos < text.size();) {
    const size_t end = std::min(text.find('\n', pos), text.size());
    if (end > pos) out.push_back(parse_json(text.substr(pos, end - pos), "golden rows", path));
    pos = end + 1;
  }
  EXPECT_FALSE(out.empty()) << path;
  return out;
}

inline std::vector<TokenId> ids_of(const Json& row, const char* key = "ids") {
  return row.at(key).get<std::vector<TokenId>>();
}

}  // namespace cria

#define CRIA_NEED_FIXTURES() \
  if (!cria::is_folder(CRIA_FIXTURES_DIR)) GTEST_SKIP() << "no fixtures in " CRIA_FIXTURES_DIR
