// Blocks of few bits chosen by what a text makes of them, layer by layer: not the weights' error counts but that of what each
// matrix gives on, and every layer is chosen for the input that the rounded layers before it give.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "calibrate/feedback.h"
#include "checkpoint/block_types.h"
#include "checkpoint/weight_source.h"
#include "model/layer_weights.h"
#include "model/rope_cache.h"
#include "model/weight.h"

namespace cria {

class Calibration {
 public:
  /// `ids`: the text's tokens, cut into windows of `window`, each a document of its own; a shorter rest is left out. The source and
  /// the pool outlive the object. Memory: the text's residual stream and one layer in f32, and the squares of its matrices'
  /// inputs. Throws UsageError for a text shorter than a window, or an id outside the vocabulary.
  Calibration(const WeightSource& source, const LlamaConfig& config, const BlockTypes& types,
              std::span<const int32_t> ids, int64_t window, ThreadPool& pool);

  /// Whether a tensor of Hugging Face's name is chosen here: the matrices of layers that become blocks are.
  [[nodiscard]] bool chooses(const std::string& name) const;
  /// Its blocks, row after row. Layers are asked for in their order; the first matrix of a layer takes all the time, and a layer's
  /// blocks are there until the next one's are asked for. Throws Error(numbers) where an input is not finite.
  std::span<const std::byte> blocks(const std::string& name);
  [[nodiscard]] int64_t tokens() const { return stream_.rows(); }

 private:
  struct Matrix {
    std::string name;  // within the layer, "self_attn.q_proj"
    int input = 0;     // which of the layer's inputs it multiplies
    View weights;
    DType type = DType::bf16;
    std::vector<std::byte> blocks;
  };
  /// What the matrices of a layer multiply: the first norm's output, attention's, the second norm's, and gate times up.
  static constexpr int kInputs = 4;

  void load(int64_t layer);
  void read(const std::string& name, View to) const;
  void choose_layer();
  /// The stream through the layer as its weights are now; with `products` these are added up, else the stream is replaced.
  void run(std::array<Tensor, kInputs>* products);
  [[nodiscard]] LayerViews<Weight> views() const;

  const WeightSource& source_;
  LlamaConfig config_;  // of one layer
  BlockTypes types_;
  int64_t window_, layers_, layer_ = -1;
  ops::Exec exec_;
  RopeCache rope_;
  std::vector<int32_t> positions_;
  Tensor stream_;  // [tokens, hidden] f32: what the next layer gets
  Tensor qkv_, o_, gate_up_, down_, norms_;
  std::vector<Matrix> matrices_;
};

}  // namespace cria
