// Sums of the layers' gradients over data-parallel ranks, while the backward goes on.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "comm/groups.h"
#include "model/stage.h"
#include "train/optimizer.h"

namespace cria {

/// The matrices of a layer are summed as soon as its backward of the last micro batch is through. Where gradients are cut
/// (OptimizerShard::zero 2 and 3), they are summed after every micro batch, and only a rank's rows are kept: then the whole
/// gradients of two layers exist at a time. Norms, tables and the head are left to combine_gradients.
///
/// Sums follow the order of the ranks. At most two layers' are under way, so memory is bounded.
class GradientSums : public LayerGradients {
 public:
  /// `buckets`: a sum begins when all layers of a bucket are through (0: after each layer). `grads` is of
  /// state.shard.of_gradients(). All outlive the object.
  GradientSums(const TrainState& state, ParamArena& grads, int64_t buckets, Groups& groups,
               const ops::Exec& exec);

  /// Before a step of so many micro batches.
  void start(int64_t micros);
  Place place(int64_t layer) override;
  void complete(int64_t layer) override;
  /// After the last backward: waits for what is under way.
  void finish();

  /// For each parameter: whether it is summed here.
  [[nodiscard]] const std::vector<bool>& summed() const { return summed_; }
  /// Buffers of whole gradients; what arrives from others comes to as much again.
  [[nodiscard]] size_t size_bytes() const;

 private:
  struct Sum {
    int64_t number;  // of the layer's sums
    std::optional<Comm::UnderWay> reduce, gather;
    View whole;  // gathered after the sum, by `gathers`; empty where rows are all a rank needs
    Comm* gathers;
  };
  void sum_resident(int64_t layer);
  void sum_cut(int64_t layer, bool first, bool last);
  void begin(View partial, View rows, View whole, Comm& gathers, bool onto);
  /// Sums `partial`, of which `mine` is for: those that have copies of these rows share the work, and at the end all get all.
  void begin_cut(View partial, View mine, bool last, bool onto);
  void reduced(Sum& sum);
  void poll();
  void wait_until_under_way(int64_t layers);
  [[nodiscard]] bool bucket_complete(int64_t layer) const;

  const TrainState& state_;
  ParamArena& grads_;
  Groups& groups_;
  const ops::Exec& exec_;
  int64_t layers_per_bucket_;
  int64_t micros_ = 0;
  std::vector<int64_t> done_;     // micro batches, of each layer of the model
  std::vector<int64_t> waiting_;  // layers of a bucket that is not complete
  std::vector<bool> summed_;
  std::deque<Sum> sums_;
  int64_t started_ = 0;              // layers' sums
  std::vector<ParamArena> buffers_;  // two where gradients are cut
};

}  // namespace cria
