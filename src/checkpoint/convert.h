// Writing weights for others, streaming: a Hugging Face folder, a PyTorch file, a MindSpore .ckpt, a GGUF.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>

#include "checkpoint/block_types.h"
#include "checkpoint/weight_source.h"
#include "formats/gguf.h"

namespace cria {

enum class WeightFormat { hugging_face, torch, mindspore, gguf };

/// What rounding did to numbers x that became y.
struct RoundingError {
  double squared_differences = 0, squares = 0;  // sums of (x - y)^2 and of x^2
  /// Root mean square error beside root mean square; 0 when all is 0.
  [[nodiscard]] double relative() const;
  RoundingError& operator+=(const RoundingError& other);
};

/// Matrices as blocks of few bits: GGUF's in a GGUF; groups of int4 or int8 in a Hugging Face folder, which becomes one of
/// compressed-tensors with embedding and head in plain floats.
struct ConvertToBlocks {
  BlockTypes types;
  int threads = 0;  // that make blocks; 0: one per core
  /// Asked before each tensor that becomes blocks, by its Hugging Face name: its blocks in the order of Hugging Face's rows, valid
  /// until the next question; nothing, and it is rounded plainly (formats/quantise.h). May be empty.
  std::function<std::optional<std::span<const std::byte>>(const std::string& name)> chosen;
  /// Called after each tensor that became blocks.
  std::function<void(const std::string& name, const RoundingError& error)> measured;
};

struct ConvertOptions {
  WeightFormat format = WeightFormat::hugging_face;
  /// A file; for hugging_face a folder, which is made.
  std::string output;
  /// f32, f16 or bf16; nothing: as stored, where GGUF's blocks become bf16.
  std::optional<DType> dtype;
  /// hugging_face: shards of at most this many bytes.
  int64_t max_shard_bytes = int64_t{5} << 30;
  /// gguf, hugging_face: these types instead of dtype. In a folder norms stay as stored, and all matrices of layers are of the
  /// one type of groups: UsageError where it does not divide their rows.
  std::optional<ConvertToBlocks> blocks;
  /// gguf: the tokenizer's keys, made by the caller (without them the file says that it has no vocabulary); and a name for the model.
  GgufMetadata tokenizer_metadata;
  std::string name = "cria";
  /// mindspore: tied models get a copy of the embedding as lm_head.weight.
  bool copy_tied_head = true;
  /// Called after each tensor: its name in the target's dialect, its shape, how many of how many.
  std::function<void(const std::string& name, const std::vector<int64_t>& shape, size_t done,
                     size_t total)>
      progress;
};

/// Rows of a tensor, wherever they come from: a file, or a trained model in memory.
struct WeightRows {
  std::vector<TensorInfo> tensors;  // HF names, shapes and order; dtype: as stored
  /// Called from several threads at once where blocks are made.
  std::function<void(size_t index, int64_t begin, int64_t count, DType dtype,
                     std::span<std::byte> out)>
      read;
};
WeightRows rows_of(const WeightSource& source);
WeightRows rows_of(const class ParamArena& weights);

/// Random weights of a shape, made row by row as they are written: the same numbers as
/// init_parameters, for any number of threads (0: one per core).
WeightRows random_rows(const LlamaConfig& config, DType dtype, uint64_t seed, int threads = 0);

/// Writes by the protocol of AtomicFile: nothing appears before all is there. Beside each file with
/// tensors comes `<file>.sum.json`. A config is needed for hugging_face and gguf.
/// Throws UsageError, IoError.
void convert_weights(const WeightRows& weights, const std::optional<LlamaConfig>& config,
                     const ConvertOptions& options);

/// The dtype a tensor gets: the wanted one, else as stored, blocks as bf16.
DType target_dtype(DType stored, std::optional<DType> wanted);
/// "fp32", "fp16", "bf16" and MindFormers' "float32", "float16", "bfloat16". Throws UsageError naming the flag.
DType parse_dtype(std::string_view text, std::string_view flag);

}  // namespace cria
