// Shared by the tests of this room: scratch folders, a tiny vocabulary, fixtures.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "tokenizer/load.h"
#include "tokenizer/tokenizer.h"

namespace cria {

/// A new empty folder, removed at the end.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "cria-data-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~ScratchFolder() { std::filesystem::remove_all(path_); }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  [[nodiscard]] std::string operator/(std::string_view name) const {
    return (path_ / name).string();
  }
  std::string write(std::string_view name, std::string_view text) const {
    const std::string path = *this / name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  /// How many files and folders lie in it.
  [[nodiscard]] size_t count() const {
    const std::filesystem::directory_iterator begin(path_);
    return static_cast<size_t>(std::distance(begin, std::filesystem::directory_iterator()));
  }

 private:
  std::filesystem::path path_;
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
