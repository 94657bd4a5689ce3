// MindSpore's checkpoint files (.ckpt): a run of protobuf entries, one per parameter or piece of a
// large one. docs/formats/mindspore_ckpt.md draws the bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "formats/tensor_file.h"

namespace cria {

/// A named text beside the parameters, as UTF-8 (the file has UTF-32).
using MindsporeText = std::pair<std::string, std::string>;

/// A stretch of the file that holds part of a tensor.
struct MindsporePiece {
  uint64_t offset = 0, size = 0;
};

/// The whole file's structure, checked.
struct MindsporeLayout {
  std::vector<TensorInfo> tensors;
  /// By tensor, in order: together exactly its bytes.
  std::vector<std::vector<MindsporePiece>> pieces;
  std::vector<MindsporeText> texts;
  bool has_checksum = false;
};
/// Parses a file's bytes; a checksum trailer is verified. Throws FormatError; encrypted files and
/// hash tables have messages of their own.
MindsporeLayout parse_mindspore_ckpt(std::span<const std::byte> file, const std::string& path);

class MindsporeReader : public TensorReader {
 public:
  /// Texts in file order; their names differ from all tensors'.
  [[nodiscard]] virtual const std::vector<MindsporeText>& texts() const = 0;
};
/// Tensors in file order; 0-d ones have shape []. mapped() is empty for tensors of several pieces.
std::unique_ptr<MindsporeReader> open_mindspore_ckpt(const std::string& path);

/// A value that MindSpore saves beside the network (epoch_num, loss_scale): int becomes a 0-d
/// Int64, float a 0-d Float32, bool a 0-d Bool, text a `str`.
struct MindsporeScalar {
  std::string name;
  std::variant<int64_t, float, bool, std::string> value;
};

struct MindsporeWriteOptions {
  /// Appended after the tensors, in this order.
  std::vector<MindsporeScalar> scalars = {};
  /// Appends MindSpore's CRC-32 trailer, which MindSpore 2.0 cannot read.
  bool checksum = false;
  /// Tensors with more bytes are written in pieces of this size; MindSpore's own limit.
  uint64_t piece_bytes = 536870912;
};
/// Tensors in the order given. Throws UsageError for names given twice, block types, and tensors
/// without elements (MindSpore has no form for them).
std::unique_ptr<TensorWriter> make_mindspore_ckpt_writer(const std::string& path,
                                                         std::vector<TensorInfo> infos,
                                                         MindsporeWriteOptions options = {});

/// "Float32", "BFloat16": MindSpore's names of element types. No name for block types.
std::string_view mindspore_type_name(DType dtype);
std::optional<DType> mindspore_type(std::string_view name);

}  // namespace cria
