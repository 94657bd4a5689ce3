#include "generate/memory_nodes.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "base/error.h"
#include "model/packed_weights.h"

namespace cria {
namespace {

ModelPart part_of(const LlamaConfig& config, int shards, int index) {
  ModelPart part = whole_model(config);
  part.tp = shards;
  part.tp_index = index;
  part.vocab_split = shards > 1 && config.vocab_size % shards == 0;
  return part;
}

/// What keeps a model from being divided, or nothing.
std::string not_divided(const LlamaConfig& config, std::span<const DType> packed, int shards) {
  const auto size = [&](const char* name, int64_t value) {
    return value % shards == 0 ? "" : fmt::format("{} = {}", name, value);
  };
  for (const std::string& what : {size("num_attention_heads", config.num_attention_heads),
                                  size("num_key_value_heads", config.num_key_value_heads),
                                  size("intermediate_size", config.intermediate_size)})
    if (!what.empty()) return what;
  if (packed.empty()) return {};
  const ModelPart part = part_of(config, shards, 0);
  return PackedWeights::refused_cut(config, part, packed) ? "a row of weights in whole blocks" : "";
}

/// Of so many threads those of shard `index`: by the CPUs of its node, 1 at least.
int threads_of(const MemoryNodes& nodes, int threads, int shards, int index) {
  std::vector<int64_t> until = {0};
  for (int i = 0; i < shards; ++i)
    until.push_back(until.back() +
                    (nodes.real ? std::ssize(nodes.cpus[static_cast<size_t>(i)]) : 1));
  const auto at = static_cast<size_t>(index);
  const int64_t begin = threads * until[at] / until.back(),
                end = threads * until[at + 1] / until.back();
  return static_cast<int>(std::max<int64_t>(1, end - begin));
}

}  // namespace

ModelPart Shard::part(const LlamaConfig& config) const {
  if (groups == nullptr) return whole_model(config);
  return part_of(config, groups->grid.tp, groups->grid.tp_index());
}

int shards_for(const LlamaConfig& config, std::span<const DType> packed, const MemoryNodes& nodes) {
  const int count = nodes.count();
  if (count == 1) return 1;
  const std::string what = not_divided(config, packed, count);
  if (what.empty()) return count;
  warn(fmt::format("weights: {} does not divide by {} memory nodes, which share one copy", what,
                   count));
  return 1;
}

void run_shards(int shards, const MemoryNodes& nodes, ThreadPool& pool,
                const std::function<void(const Shard&)>& body) {
  if (shards == 1) return body({pool});
  check(shards == nodes.count(), "a shard for each node");
  run_as_threads(shards, [&](Transport& transport) {
    const int rank = transport.rank();
    // The pool's threads are started by this one and may run where it may.
    if (nodes.real) keep_to_cpus(nodes.cpus[static_cast<size_t>(rank)]);
    ThreadPool own(threads_of(nodes, pool.threads(), shards, rank));
    // Who reads the answers may stop for as long as he likes.
    Groups groups(transport, make_grid(1, shards, 1, shards, rank),
                  {.deadline = std::chrono::hours(24 * 365)});
    body({own, &groups});
  });
}

}  // namespace cria
