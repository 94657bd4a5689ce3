// Shared by the tests of this room: scratch folders, a tiny vocabulary, fixtures.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "base/temporary_folder.h"
#include "tokenizer/load.h"
#include "tokenizer/tokenizer.h"

namespace cria {

class ScratchFolder : public TemporaryFolder {
 public:
  std::string write(const std::string& name, std::string_view text) const {
    const std::string path = *this / name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
};

inline std::string bytes_of_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// 256 single bytes, a few merges, and special tokens in the Llama 3 manner: small, and every text
/// can be encoded. bos 270, eos 271, pad 272.
inline Vocabulary tiny_vocabulary() {
  Vocabulary v;
  for (int i = 0; i < 256; ++i) v.pieces.emplace_back(1, static_cast<char>(i));
  for (const char* piece :
       {" a", " t", "he", " the", "in", "er", " w", "ou", "AN", "SS", "SER", "IST", "ASS", ": "})
    v.pieces.emplace_back(piece);
  v.special.resize(v.pieces.size());
  for (const char* piece : {"<|begin_of_text|>", "<|end_of_text|>", "<|pad|>", "<|eot_id|>"}) {
    v.pieces.emplace_back(piece);
    v.special.push_back(true);
  }
  v.rank_is_id = true;
  v.ignore_merges = true;
  v.bos = 270;
  v.eos = 271;
  v.pad = 272;
  return v;
}

inline std::string fixture(std::string_view name) {
  return std::string(CRIA_FIXTURES_DIR) + "/" + std::string(name);
}
#define SKIP_WITHOUT_FIXTURES()                           \
  if (!std::filesystem::exists(fixture("manifest.json"))) \
  GTEST_SKIP() << "no fixtures in " << CRIA_FIXTURES_DIR

}  // namespace cria
