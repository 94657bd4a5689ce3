// One decoder layer: forward on one screen, backward mirrored beneath it. The same body serves training (documents laid end to
// end) and generation (sequences with caches).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/config.h"
#include "model/layer_weights.h"
#include "model/llama.h"
#include "model/tensor_parallel.h"
#include "model/weight.h"
#include "ops/attention.h"
#include "ops/cache_append.h"
#include "ops/exec.h"
#include "ops/linear.h"
#include "ops/rope.h"

namespace cria {

// T tokens, h hidden_size, H query heads, K key/value heads, D head_dim, F intermediate_size; H, K and F are those of this rank.
// R rows of the residual stream: T, or this rank's share of them with sequence parallelism.

/// What the tokens of a call are to each other.
struct Context {
  /// Of each token in its sequence.
  std::span<const int32_t> positions;
  const ops::RopeTable& rope;
  /// Row offsets of the sequences: first 0, last T. Attention stays inside a sequence.
  std::span<const int64_t> sequences;
  /// One for each sequence; or none, and the rows are whole documents.
  std::span<KvCache* const> caches;
  /// A decode step: products stream the weights (ops::linear_decode).
  bool few_rows = false;
  /// The ranks that share the layer.
  TensorParallel tp = {};
};

/// What forward leaves for backward. Norms' outputs and silu(gate) * up are not kept: making them again costs two passes over
/// memory and saves a third of it.
struct LayerActivations {
  View input;        // [R, h] residual stream before the layer
  View input_rstd;   // [1, R] f32
  View qkv;          // [T, (H + 2K) * D], rotated
  View attended;     // [T, H * D]
  View lse;          // [T, H] f32
  View middle;       // [R, h] residual stream between attention and MLP
  View middle_rstd;  // [1, R] f32
  View gate_up;      // [T, 2F]; backward leaves its gradient here
};

/// Memory that layers share, because nothing in it outlives a layer's forward or backward.
struct LayerWorkspace {
  View normed;                                 // [R, h]
  View whole;                                  // [T, h] with sequence parallelism, else empty
  View hidden;                                 // [T, F]
  View d_normed, d_hidden, d_attended, d_qkv;  // shaped like what they are the gradient of
  std::vector<ops::CachedSequence> cached;     // one for each sequence of a call with caches
};

class DecoderLayer {
 public:
  /// Layer `index` of the model, on a rank that has 1 / tp of its heads; the weights' memory outlives the object.
  /// Packed weights are for forward only.
  DecoderLayer(const LlamaConfig& config, LayerViews<Weight> weights, int tp, int64_t index);

  /// output [R, h] = the residual stream after the layer; may be the same memory as a.input, but then backward is lost.
  /// An empty output stops when all activations are made: all that recomputation needs.
  void forward(const Context& context, LayerActivations& a, View output, LayerWorkspace& ws,
               const ops::Exec& exec) const;

  /// gate and up again from a.middle, as forward made them.
  void remake_gate_up(const Context& context, LayerActivations& a, LayerWorkspace& ws,
                      const ops::Exec& exec) const;

  /// dx [R, h] holds the gradient of the output and gets that of the input. Weight gradients are written to `grads` or added
  /// to it, each complete over all tokens. Only for documents.
  void backward(const Context& context, LayerActivations& a, View dx, const LayerViews<View>& grads,
                ops::Into into, LayerWorkspace& ws, const ops::Exec& exec) const;

 private:
  static void project(ConstView x, const Weight& w, View y, const Context& context,
                      const ops::Exec& exec);
  void project_to_stream(ConstView x, const Weight& w, View stream, const Context& context,
                         LayerWorkspace& ws, const ops::Exec& exec) const;
  void attend(const Context& context, LayerActivations& a, LayerWorkspace& ws,
              const ops::Exec& exec) const;

  int64_t index_;
  ops::HeadShape shape_;
  float eps_;
  LayerViews<Weight> w_;
};

}  // namespace cria
