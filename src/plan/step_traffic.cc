#include "plan/step_traffic.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/exact_sum.h"
#include "comm/operation_cost.h"

namespace cria {
namespace {

/// Adds up the operations of a step in the order in which the code makes them.
class Step {
 public:
  Step(const TrainingRun& run, const RankShare& share)
      : run_(run),
        share_(share),
        tp_(share.grid.tp),
        dp_(share.grid.dp),
        tokens_(share.extent.tokens),
        hidden_(run.config.hidden_size),
        stream_bytes_(bytes_of(run.compute, share.extent.rows * hidden_)) {}

  StepTraffic traffic() {
    for (const LayerRun& layers : share_.runs) micro_batch(layers);
    combine_gradients();
    agree();
    gather_weights();
    for (const auto& [group, kept] : kept_) result_.buffer_bytes += kept;
    // At most two layers' gradients are under way.
    int64_t most = 0;
    for (const auto& [layer, bytes] : arriving_) most = std::max(most, bytes);
    result_.buffer_bytes += std::min<int64_t>(2, std::ssize(arriving_)) * most;
    std::erase_if(result_.sent, [](const Traffic& t) { return t.bytes == 0; });
    return std::move(result_);
  }

 private:
  void add(std::string_view group, std::string_view purpose, const OperationCost& cost,
           int64_t times = 1) {
    int64_t& kept = kept_[group];
    kept = std::max(kept, cost.kept);
    const auto known = std::ranges::find_if(
        result_.sent, [&](const Traffic& t) { return t.group == group && t.purpose == purpose; });
    if (known != result_.sent.end()) {
      known->bytes += times * cost.sent;
    } else {
      result_.sent.push_back({group, purpose, times * cost.sent});
    }
  }

  // The residual stream over a tensor-parallel group (model/tensor_parallel.h): its sums, and with sequence parallelism whole().
  void sums_of_stream(int64_t times) {
    const bool scattered = share_.pipeline.sequence_parallel;
    add("tp", "activations",
        scattered ? reduce_scatter_cost(run_.compute, tokens_, hidden_, tp_, share_.grid.tp_index())
                  : all_reduce_cost(run_.compute, tokens_, hidden_, tp_, share_.grid.tp_index()),
        times);
  }
  void whole_streams(int64_t times) {
    if (!share_.pipeline.sequence_parallel) return;
    add("tp", "activations",
        all_gather_cost(run_.compute, tokens_, hidden_, tp_, share_.grid.tp_index()), times);
  }

  /// All micro batches through one run of layers, forward and backward.
  void micro_batch(const LayerRun& layers) {
    const int64_t micros = run_.micro_batches;
    for (int64_t l = layers.first; l < layers.first + layers.count; ++l)
      fetch(l, 2 * micros);  // forward and backward
    if (tp_ > 1) {
      for (int64_t l = layers.first; l < layers.first + layers.count; ++l) {
        // Forward: two products open a block and two close one; backward gathers for both sides of each gradient.
        whole_streams(micros * (2 + 4));
        sums_of_stream(micros * (2 + 2));
        recomputed(share_.recompute.of(l), micros);
      }
      if (layers.embedding) ends_in_tables(micros);
      if (layers.head) head(micros);
    }
    const OperationCost message{.sent = stream_bytes_};
    if (!layers.head) add("pp forward", "activations", message, micros);
    if (!layers.embedding) add("pp backward", "gradients of activations", message, micros);
  }
  /// Recomputing ends before the product that closes the MLP.
  void recomputed(Recompute again, int64_t micros) {
    if (again != Recompute::none) whole_streams(micros);
    if (again != Recompute::full) return;
    whole_streams(micros);
    sums_of_stream(micros);
  }
  void ends_in_tables(int64_t micros) {
    if (share_.part.vocab_split) sums_of_stream(micros);
    whole_streams(micros);  // of the gradient
  }
  void head(int64_t micros) {
    whole_streams(micros);
    sums_of_stream(micros);
    if (!share_.part.vocab_split)  // each rank has made the gradient of some rows
      add("tp", "gradients of the head",
          all_gather_cost(DType::f32, run_.config.vocab_size, hidden_, tp_, share_.grid.tp_index()),
          micros);
    // Of each trained token its largest logit, the sum of exponentials and the target's logit.
    const int64_t trained = run_.trained_tokens > 0 ? run_.trained_tokens : tokens_;
    add("tp", "losses", small_sum_cost(trained * int64_t{sizeof(float) + 2 * sizeof(double)}, tp_),
        micros);
  }

  /// Whole weights of a layer that data-parallel ranks have rows of (model/layer_weights.h).
  void fetch(int64_t layer, int64_t times) {
    for (size_t i = 0; i < share_.weights.size(); ++i) {
      const Param& p = share_.weights[i];
      if (p.layer == layer && p.sharded) gather_rows(share_.held[i], times);
    }
  }
  void gather_rows(const Param& p, int64_t times) {
    add("dp shard", "weights",
        all_gather_cost(run_.storage, p.rows(), p.cols(), share_.grid.shard_size(),
                        share_.grid.shard_index()),
        times);
  }

  /// Layers' matrices, during the backward (train/gradient_sums.h). False where combine_gradients() has to.
  bool summed_in_backward(size_t i) {
    const Param& p = share_.held[i];
    const bool cut = share_.layer_gradients_cut();
    if (dp_ == 1 || p.layer < 0 || p.is_norm()) return false;
    if (cut && !share_.gradients[i].sharded) return false;
    const int rank = share_.grid.dp_block();
    OperationCost sum = started_reduce_scatter_cost(DType::f32, p.rows(), p.cols(), dp_, rank);
    if (!cut && !share_.state[i].sharded) {
      sum = started_reduce_scatter_cost(DType::f32, p.elements(), 1, dp_, rank);
      add("dp gathers", "gradients", all_gather_cost(DType::f32, p.elements(), 1, dp_, rank));
    } else {
      gather_copies("dp copy gathers", share_.state[i]);
    }
    arriving_[p.layer] += sum.kept;
    add("dp sums", "gradients", {.sent = sum.sent}, cut ? run_.micro_batches : 1);
    return true;
  }

  /// Rows that several ranks keep: each has summed some of them.
  void gather_copies(std::string_view group, const Param& mine) {
    add(group, "gradients",
        all_gather_cost(DType::f32, mine.rows(), mine.cols(), share_.grid.copies(),
                        share_.grid.copy_index()));
  }

  void combine_gradients() {
    for (size_t i = 0; i < share_.held.size(); ++i) {
      const Param& p = share_.held[i];
      if (p.is_norm() && share_.pipeline.sequence_parallel)
        add("tp", "gradients of norms",
            all_reduce_cost(DType::f32, p.rows(), p.cols(), tp_, share_.grid.tp_index()));
      if (summed_in_backward(i)) continue;
      sum_over_dp(p, share_.state[i].sharded);
      if (share_.state[i].sharded) gather_copies("dp copies", share_.state[i]);
    }
    const ParamIndex index(run_.config, share_.part);
    const Param* const table = share_.part.embedding ? &share_.held.front() : nullptr;
    const bool apart = run_.micro_batches > 1 || dp_ > 1;
    if (index.shared() && apart) sum_over_dp(*table, false);
    if (!index.tied() || share_.grid.pp == 1) return;
    // The two ends of the pipeline exchange their parts of a tied table's gradient.
    const int64_t bytes = bytes_of(DType::f32, share_.local.vocab_size * hidden_);
    for (const bool end : {share_.grid.first_stage(), share_.grid.last_stage()})
      if (end) add("pp", "tied table", {.sent = bytes, .kept = bytes});
  }
  void sum_over_dp(const Param& p, bool sharded) {
    const int rank = share_.grid.dp_block();
    add("dp", "gradients",
        sharded ? reduce_scatter_cost(DType::f32, p.rows(), p.cols(), dp_, rank)
                : all_reduce_cost(DType::f32, p.rows(), p.cols(), dp_, rank));
  }

  /// Counts of tokens; loss, norm and signals.
  void agree() {
    add("dp", "counts", small_sum_cost((run_.micro_batches + 2) * int64_t{sizeof(int64_t)}, dp_));
    ExactSum sum;
    const auto numbers = 2 + 2 * std::ssize(sum.limbs());
    add("world", "loss and norm",
        small_sum_cost(numbers * int64_t{sizeof(int64_t)}, share_.grid.size()));
  }

  void gather_weights() {
    for (size_t i = 0; i < share_.held.size(); ++i)
      if (share_.state[i].sharded && !share_.weights[i].sharded) gather_rows(share_.held[i], 1);
  }

  const TrainingRun& run_;
  const RankShare& share_;
  const int tp_, dp_;
  const int64_t tokens_, hidden_, stream_bytes_;
  std::map<std::string_view, int64_t> kept_;
  std::map<int, int64_t> arriving_;  // by layer
  StepTraffic result_;
};

}  // namespace

int64_t StepTraffic::total() const {
  return std::accumulate(sent.begin(), sent.end(), int64_t{0},
                         [](int64_t sum, const Traffic& t) { return sum + t.bytes; });
}

int64_t StepTraffic::of(std::string_view group) const {
  int64_t bytes = 0;
  for (const Traffic& t : sent) bytes += t.group == group ? t.bytes : 0;
  return bytes;
}

StepTraffic step_traffic(const TrainingRun& run, const RankShare& share) {
  return Step(run, share).traffic();
}

}  // namespace cria
