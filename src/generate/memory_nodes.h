// A machine whose memory has several nodes (NUMA) as tensor-parallel ranks of one process: each node's threads multiply with the
// slices that lie in its own memory, and only sums of a few rows cross between nodes.
#pragma once

#include <functional>
#include <span>

#include "base/thread_pool.h"
#include "base/topology.h"
#include "comm/groups.h"
#include "model/model_part.h"
#include "tensor/dtype.h"

namespace cria {

/// What computes on one node.
struct Shard {
  ThreadPool& pool;
  Groups* groups = nullptr;  // for Decoder and GenerateSettings; null: the only one
  /// One of them speaks for all.
  [[nodiscard]] bool speaks() const { return groups == nullptr || groups->grid.rank == 0; }
  /// What it holds of a model: its slices, and its rows of the tables where they divide.
  [[nodiscard]] ModelPart part(const LlamaConfig& config) const;
};

/// How many shards a model is divided into: the nodes, or 1 with a warning that names what does not divide. `packed`: types of the
/// whole model's parameters where matrices are packed, else empty.
int shards_for(const LlamaConfig& config, std::span<const DType> packed, const MemoryNodes& nodes);

/// Calls body on a thread for each shard, which keeps to its node's CPUs (where the nodes are real) and has its share of pool's
/// threads there; what they allocate and touch lies on that node. One shard: on the calling thread, with `pool`. Throws the first
/// exception of any, after all have ended.
void run_shards(int shards, const MemoryNodes& nodes, ThreadPool& pool,
                const std::function<void(const Shard&)>& body);

}  // namespace cria
