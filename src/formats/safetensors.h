// safetensors: a JSON header with names, types, shapes and byte ranges, then the bytes.
// docs/formats/safetensors.md draws them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "formats/tensor_file.h"

namespace cria {

/// The header's `__metadata__`: text to text.
using SafetensorsMetadata = std::map<std::string, std::string>;

/// What the header says, checked whole: ranges tile the data area without hole, overlap or tail.
struct SafetensorsLayout {
  std::vector<TensorInfo> tensors;  // in the order of their bytes
  std::vector<uint64_t> offsets;    // of each tensor, from the start of the file
  SafetensorsMetadata metadata;
};
/// Parses a whole file's bytes (the contents are not looked at). Throws FormatError.
SafetensorsLayout parse_safetensors(std::span<const std::byte> file, const std::string& path);

/// A TensorReader that also gives the metadata.
class SafetensorsReader : public TensorReader {
 public:
  [[nodiscard]] virtual const SafetensorsMetadata& metadata() const = 0;
};

/// One file, mapped; mapped() gives every tensor without a copy.
std::unique_ptr<SafetensorsReader> open_safetensors(const std::string& path);
/// A set of shards by its `*.safetensors.index.json`: every name of its weight_map is in the named
/// shard (a plain file name in the same folder) and in no other, and the shards hold no further
/// names. Tensors come shard by shard in order of the shards' names; metadata is the index's own,
/// with values that are not text in JSON form.
std::unique_ptr<SafetensorsReader> open_safetensors_index(const std::string& path);

/// Tensors are written in the order given (transformers and others read any order). Header keys
/// come in that order, `__metadata__` first, padded with blanks to a multiple of 8. All infos are
/// checked before the file is created. Throws UsageError for block types and bad names.
std::unique_ptr<TensorWriter> make_safetensors_writer(const std::string& path,
                                                      std::vector<TensorInfo> infos,
                                                      const SafetensorsMetadata& metadata = {});

/// Parses an index's text: (tensor name, shard name) in the order of the file.
struct SafetensorsIndex {
  std::vector<std::pair<std::string, std::string>> weight_map;
  SafetensorsMetadata metadata;
};
SafetensorsIndex parse_safetensors_index(std::string_view text, const std::string& path);
/// The JSON text of an index, as transformers writes it.
std::string safetensors_index_json(const SafetensorsIndex& index, uint64_t total_size);

}  // namespace cria
