// Memory of training and generation: what a micro batch keeps for backward, and what all micro batches of a rank share. Blocks
// grow to the biggest batch seen and are reused; a smaller batch uses the front of each.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/config.h"
#include "model/decoder_layer.h"
#include "tensor/tensor.h"

namespace cria {

/// Whether layers' activations outlive their forward.
enum class Keep {
  nothing,       // every layer overwrites the one before: no backward
  for_backward,  // what each layer's Recompute leaves
};

/// How much of what a call has: tokens, and rows of the residual stream (fewer with sequence parallelism).
struct Extent {
  int64_t tokens = 0, rows = 0;
};

/// What layers make for backward, in the compute dtype; norms' rstd and lse in f32.
struct KeptBlocks {
  Tensor qkv, attended, middle, gate_up, lse, rstd;
};

/// What nothing outlives a layer's forward or backward in: one for all layers and micro batches of a rank.
class Workspace {
 public:
  /// `config` is the rank's local one. `memory`: where all blocks lie, activations' too; null: the host's.
  Workspace(const LlamaConfig& config, DType compute, Memory* memory = nullptr)
      : config_(config), compute_(compute), memory_(memory) {}
  /// Room for a forward, and for a backward unless keep is nothing, by layers that recompute up to `most`. Contents are lost.
  void prepare(Extent extent, Keep keep, Recompute most);
  [[nodiscard]] LayerWorkspace& layer() { return views_; }
  /// The gradient of the residual stream, [rows, hidden].
  [[nodiscard]] View dx() { return dx_.view().row_range(0, extent_.rows); }
  /// The gradient of the head's input [tokens, hidden], where that is more rows than d_normed's.
  [[nodiscard]] View head_dx() { return head_dx_.view().row_range(0, extent_.tokens); }
  /// Blocks that layers share where they do not keep their own.
  [[nodiscard]] KeptBlocks& shared() { return shared_; }
  [[nodiscard]] const LlamaConfig& config() const { return config_; }
  [[nodiscard]] DType compute() const { return compute_; }
  [[nodiscard]] Memory* memory() const { return memory_; }
  [[nodiscard]] size_t size_bytes() const;
  /// What size_bytes() will be after prepare().
  static int64_t bytes_for(const LlamaConfig& config, DType compute, Extent extent, Keep keep,
                           Recompute most);

 private:
  LlamaConfig config_;
  DType compute_;
  Memory* memory_;
  Extent extent_;
  KeptBlocks shared_;
  Tensor normed_, whole_, hidden_, d_normed_, d_hidden_, d_attended_, d_qkv_, dx_, head_dx_;
  LayerWorkspace views_;
};

/// One micro batch through a run of layers.
class Activations {
 public:
  /// `recompute`: of each layer of the run.
  Activations(Workspace& workspace, std::vector<Recompute> recompute)
      : workspace_(&workspace), recompute_(std::move(recompute)) {}

  /// Room for a batch. Contents are lost. Allocates only when this needs more than any call before.
  void prepare(Extent extent, Keep keep);
  /// The workspace for the rows of the last prepare() once more. Its contents are lost.
  void prepare_workspace();

  // Windows for the rows of the last prepare(); layers counted from the run's first.
  [[nodiscard]] LayerActivations layer(int64_t i);
  [[nodiscard]] View input(int64_t i);
  /// The residual stream after layer i: the next one's input.
  [[nodiscard]] View output(int64_t i) { return input(i + 1); }
  /// Of the final norm, [1, rows].
  [[nodiscard]] View final_rstd() { return {final_rstd_.view().data, DType::f32, 1, extent_.rows}; }
  [[nodiscard]] Extent extent() const { return extent_; }
  [[nodiscard]] Recompute recompute(int64_t layer) const {
    return recompute_[static_cast<size_t>(layer)];
  }
  /// Whether a backward can follow.
  [[nodiscard]] bool kept() const { return keep_ != Keep::nothing; }
  [[nodiscard]] size_t size_bytes() const;
  /// What size_bytes() will be when a backward follows. `recompute`: of each layer.
  static int64_t bytes_for(const LlamaConfig& config, DType compute, Extent extent,
                           std::span<const Recompute> recompute);

 private:
  Workspace* workspace_;
  std::vector<Recompute> recompute_;
  Keep keep_ = Keep::nothing;
  Extent extent_;
  std::vector<Tensor> inputs_;    // one, or one for each layer and the output of the last
  std::vector<KeptBlocks> kept_;  // one for each layer, as far as it keeps them
  Tensor final_rstd_;
};

}  // namespace cria
