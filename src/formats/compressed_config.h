// What config.json says of weights that Hugging Face's compressed-tensors stored: "quantization_config".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cria {

/// One of its "config_groups": how some of the matrices are stored.
struct CompressedGroup {
  int64_t num_bits = 4;    // 4 or 8
  int64_t group_size = 0;  // columns that share a scale, a multiple of 32; 0: a whole row
  bool packed =
      true;  // "pack-quantized", several numbers an int32; else "int-quantized", one a byte
};

/// Nothing where config.json has no quantization_config. Throws FormatError for what is not read: other methods, formats, bits or
/// strategies, floats of few bits, offsets (symmetric: false), columns in another order (actorder: group), sparsity, rotations.
/// What is said of activations and the cache is not asked: those are rounded as docs/packed-weights.md says.
std::optional<std::vector<CompressedGroup>> parse_compressed_config(std::string_view config_json,
                                                                    const std::string& path);

/// The same config.json with the quantization_config of weights of which all matrices of layers are packed as `group` says.
std::string with_compressed_config(std::string_view config_json, const CompressedGroup& group);

}  // namespace cria
