#include "tokenizer/load.h"

#include "base/error.h"
#include "base/file.h"
#include "formats/gguf.h"
#include "tokenizer/vocabulary_files.h"

namespace cria {
namespace {

std::string file_in_folder(const std::string& folder) {
  for (const char* name : {"tokenizer.json", "tokenizer.model"}) {
    const std::string path = join_path(folder, name);
    if (is_file(path)) return path;
  }
  std::string gguf;
  for (const std::string& name : list_files(folder)) {
    if (!name.ends_with(".gguf")) continue;
    require(gguf.empty(), "load vocabulary: {}: more than one .gguf file; try: name one of them",
            folder);
    gguf = join_path(folder, base_name(name));
  }
  if (gguf.empty())
    throw IoError(describe({.what = "load vocabulary",
                            .path = folder,
                            .reason = "no vocabulary in this folder",
                            .expected = "tokenizer.json, tokenizer.model or a .gguf file"}));
  return gguf;
}

}  // namespace

Vocabulary load_vocabulary(const std::string& path) {
  const std::string file = is_folder(path) ? file_in_folder(path) : path;
  const MappedFile mapped(file);
  const std::string_view text = mapped.text();
  if (text.starts_with("GGUF")) return read_gguf_vocabulary(GgufReader(mapped.bytes(), file));
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos || text[first] != '{') return parse_tiktoken(text, file);
  Vocabulary vocabulary = parse_tokenizer_json(text, file);
  read_tokenizer_settings(parent_folder(file), vocabulary);
  return vocabulary;
}

std::optional<Vocabulary> find_vocabulary(const std::string& path, const std::string& given) {
  if (!given.empty()) return load_vocabulary(given);
  if (path.empty()) return std::nullopt;
  // A GGUF may hold weights alone.
  if (path.ends_with(".gguf") && is_file(path) && !GgufReader::open(path)->has_vocabulary())
    return std::nullopt;
  const bool there = is_file(path) || is_file(join_path(path, "tokenizer.json")) ||
                     is_file(join_path(path, "tokenizer.model"));
  if (!there) return std::nullopt;
  return load_vocabulary(path);
}

}  // namespace cria
