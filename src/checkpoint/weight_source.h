// Weights of a Llama, whatever they lie in: a Hugging Face folder (plain or of compressed-tensors), a safetensors, .bin or .pth file, a Meta folder, a MindSpore
// .ckpt, a GGUF. Seen from here they all have Hugging Face's names, shapes and row order, and are read row by row.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/names.h"
#include "checkpoint/strategy.h"
#include "formats/compressed_config.h"
#include "formats/tensor_file.h"
#include "model/config.h"

namespace cria {

struct ModelPart;
class PackedWeights;
class ParamArena;
class ThreadPool;

/// Opened and validated; contents are read on demand, at most one tensor in memory beyond the mapped input.
class WeightSource {
 public:
  /// `path` is any of the above (a folder: of safetensors, .bin or .ckpt files, Meta's, or `rank_0` of the recipe).
  /// `config` is used where the source carries none (config.json, params.json, GGUF metadata). Throws FormatError, IoError,
  /// UsageError (nothing known at that path), MismatchError.
  static WeightSource open(const std::string& path,
                           const std::optional<LlamaConfig>& config = std::nullopt);
  /// The .ckpt slices of several ranks, `folder/rank_N/*.ckpt`, that `strategy` describes (checkpoint/sliced_ckpt.h).
  static WeightSource open_slices(const std::string& folder, Strategy strategy,
                                  const std::optional<LlamaConfig>& config = std::nullopt);
  ~WeightSource();
  WeightSource(WeightSource&&) noexcept;
  WeightSource& operator=(WeightSource&&) noexcept;

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] Dialect dialect() const { return dialect_; }
  /// The config of the source, else the one given to open(). Throws UsageError when there is neither.
  [[nodiscard]] const LlamaConfig& config() const;
  [[nodiscard]] bool has_config() const { return config_.has_value(); }
  /// True when the config came with the weights.
  [[nodiscard]] bool config_is_own() const { return config_is_own_; }
  /// The GGUF file or the folder that may hold a tokenizer; empty for others.
  [[nodiscard]] const std::string& tokenizer_path() const { return tokenizer_path_; }

  /// Weights in Hugging Face's order with its names and shapes; dtype is the stored one.
  [[nodiscard]] const std::vector<TensorInfo>& tensors() const { return tensors_; }
  [[nodiscard]] std::optional<size_t> find(std::string_view hf_name) const;
  /// Names in the file that are no weights (optimizer state, scalars), as they stand there.
  [[nodiscard]] const std::vector<std::string>& others() const { return others_; }
  /// The dtype of the largest tensor: what the model "is stored in".
  [[nodiscard]] DType main_dtype() const;

  /// Rows [begin, begin + count) of tensor `index`, converted to `dtype` (f32, f16, bf16 or f64; or the stored plain type,
  /// then the bytes pass through untouched). A 1-D tensor is one row. out.size() is exactly those bytes.
  void read_rows(size_t index, int64_t begin, int64_t count, DType dtype,
                 std::span<std::byte> out) const;
  /// The same rows of `cols` columns from `col` on. Other columns are not read where tensors lie whole and the box begins and ends
  /// with a block.
  void read_box(size_t index, int64_t begin, int64_t count, int64_t col, int64_t cols, DType dtype,
                std::span<std::byte> out) const;

 private:
  struct Piece {
    std::shared_ptr<const TensorReader> file;
    size_t index;
  };
  struct Place {
    std::vector<Piece> pieces;  // shards of one tensor, joined along `dim`
    int dim = 0;
    int64_t pair_head_dim =
        0;  // not 0: rows stand in pair order and are turned round while reading
  };
  WeightSource() = default;
  void add_file(const std::shared_ptr<const TensorReader>& file);
  void open_folder(const std::string& folder);
  void read_config(const std::string& file);
  void open_gguf(const std::string& file);
  void open_meta(const std::string& folder);
  void finish(const std::optional<LlamaConfig>& config);
  /// Columns of a piece's rows: `count` of its `all`.
  struct Columns {
    int64_t all, first, count;
  };
  static void read_piece_rows(const Place& place, const Piece& piece, int64_t begin, int64_t count,
                              const Columns& columns, DType stored, DType dtype, std::byte* out,
                              int64_t out_stride);

  std::string path_, tokenizer_path_;
  std::vector<CompressedGroup> compressed_;  // what config.json says of matrices of int4 and int8
  Dialect dialect_ = Dialect::hugging_face;
  std::optional<LlamaConfig> config_;
  bool config_is_own_ = false;
  std::vector<std::shared_ptr<const TensorReader>> files_;
  std::vector<TensorInfo> tensors_;
  std::vector<Place> places_;
  std::vector<std::string> others_;
};

/// Fills every parameter, converted to the arena's dtype. Names and shapes must match the table exactly; missing or superfluous
/// names are listed (the first five). A tied model's lm_head may be there if it equals the embedding.
void load_parameters(const WeightSource& source, ParamArena& weights, ThreadPool& pool);

/// The types of a part's packed weights in the table's order. Without `matrices` those that are stored where they can be packed, else bf16;
/// with blocks those that `cria quantize` would write (checkpoint/block_types.h).
std::vector<DType> packed_types(const WeightSource& source, const LlamaConfig& config,
                                const ModelPart& part, std::optional<DType> matrices,
                                DType norms = DType::f32);
/// Fills packed weights; what is stored in another type is rounded. Checks names and shapes likewise.
void load_parameters(const WeightSource& source, PackedWeights& weights, ThreadPool& pool);

/// Whether a model without a config is tied: no lm_head, or the same bytes as the embedding.
bool looks_tied(const WeightSource& source);

}  // namespace cria
