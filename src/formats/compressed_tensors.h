// Matrices as Hugging Face's compressed-tensors stores them: whole numbers and their scales in tensors of their own. Seen from
// here a matrix is one tensor of int4_* or int8_*, whose blocks are put together while they are read. docs/formats/compressed_tensors.md.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "formats/compressed_config.h"
#include "formats/safetensors.h"
#include "formats/tensor_file.h"

namespace cria {

/// `files` with each X.weight_packed, .weight_scale and .weight_shape (or X.weight of I8 and X.weight_scale) as one X.weight of
/// the largest group that divides the file's: 128, 64 or 32; all else as it is. Scales are bf16, f16 or f32 and come as f32.
/// Throws FormatError where parts are missing, their types and shapes do not fit together or no group of `config` is like them;
/// and while reading where a scale is not finite.
std::shared_ptr<const TensorReader> open_compressed(std::shared_ptr<const TensorReader> files,
                                                    std::vector<CompressedGroup> config);

/// How a tensor is stored: what open_compressed() puts together, or the tensor itself.
std::vector<TensorInfo> stored_parts(const TensorInfo& tensor);

/// A safetensors file with the parts of each tensor of int4_* or int8_*, packed; tensors come as whole blocks whose scales are
/// numbers that a bf16 holds, as quantise() makes them. Otherwise as make_safetensors_writer().
std::unique_ptr<TensorWriter> make_compressed_writer(const std::string& path,
                                                     const std::vector<TensorInfo>& infos,
                                                     const SafetensorsMetadata& metadata = {});

}  // namespace cria
