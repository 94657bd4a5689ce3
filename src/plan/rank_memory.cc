#include "plan/rank_memory.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <tuple>

#include "ops/memory.h"
#include "plan/step_traffic.h"

namespace cria {
namespace {

// The program itself, its heap, its threads: measured, docs/planning.md.
constexpr int64_t kProcess = 2 << 20;
constexpr int64_t kMpi = 3 << 20;

int64_t elements_of(const std::vector<Param>& params) {
  return std::accumulate(params.begin(), params.end(), int64_t{0},
                         [](int64_t sum, const Param& p) { return sum + p.elements(); });
}

int64_t master_bytes(const TrainingRun& run, int64_t state) {
  if (!run.master_weights) return 0;
  if (run.storage == DType::bf16) return bytes_of(DType::i16, state);
  return run.storage == DType::f16 ? bytes_of(DType::f32, state) : 0;
}

/// f32; and where parts of them are kept apart: a tied table's two, and one micro batch's of the head before it is added.
int64_t gradient_bytes(const TrainingRun& run, const RankShare& share) {
  const int64_t table = share.local.vocab_size * share.local.hidden_size;
  const bool shared = run.config.tie_word_embeddings && share.part.embedding && share.part.head;
  const bool apart = shared && (run.micro_batches > 1 || run.grid.dp > 1);
  const bool head_apart = share.part.head && run.micro_batches > 1;
  // Where they are cut, the whole ones of two layers.
  const int64_t whole = share.layer_gradients_cut() ? 2 * share.layer_elements() : 0;
  return bytes_of(DType::f32, elements_of(share.gradients) + whole + (apart ? table : 0) +
                                  (head_apart ? table : 0));
}

/// The most micro batches that are between their forward and their backward, for each run of layers.
std::vector<int64_t> most_under_way(const TrainingRun& run, const RankShare& share) {
  std::vector<int64_t> now(share.runs.size()), most(share.runs.size());
  for (const PipelineStep& step : schedule_interleaved(
           share.grid.pp, share.grid.stage(), static_cast<int>(now.size()), run.micro_batches)) {
    const auto chunk = static_cast<size_t>(step.chunk);
    now[chunk] += step.backward ? -1 : 1;
    most[chunk] = std::max(most[chunk], now[chunk]);
  }
  return most;
}

int64_t activation_bytes(const TrainingRun& run, const RankShare& share) {
  const std::vector<int64_t> slots = most_under_way(run, share);
  int64_t bytes = 0;
  for (size_t c = 0; c < slots.size(); ++c) {
    const LayerRun& layers = share.runs[c];
    const std::vector<Recompute> recompute = share.recompute.of_run(layers.first, layers.count);
    bytes += slots[c] * Activations::bytes_for(share.local, run.compute, share.extent, recompute);
    if (!layers.embedding)  // the input's gradient on its way
      bytes += bytes_of(run.compute, share.extent.rows * run.config.hidden_size);
  }
  return bytes;
}

/// The one layer whose weights are whole, where they are cut.
int64_t gathered_bytes(const TrainingRun& run, const RankShare& share) {
  return share.layer_weights_cut() ? bytes_of(run.storage, share.layer_elements()) : 0;
}

int64_t workspace_bytes(const TrainingRun& run, const RankShare& share) {
  Recompute most = Recompute::none;
  for (const int64_t layer : share.part.layers) most = std::max(most, share.recompute.of(layer));
  return Workspace::bytes_for(share.local, run.compute, share.extent, Keep::for_backward, most);
}

/// What the ops keep for their next call.
int64_t scratch_bytes(const TrainingRun& run, const RankShare& share) {
  const LlamaConfig& c = share.local;
  const int64_t tokens = run.tokens(), hidden = c.hidden_size;
  const bool bf16_compute = run.compute == DType::bf16;
  const bool bf16_weights = bf16_compute && run.storage == DType::bf16;
  ops::ProductMemory products;
  const auto cover = [&](int64_t rows, int64_t out, int64_t in) {
    products.cover(ops::product_memory(rows, out, in, bf16_weights));
    products.cover(ops::product_memory(rows, in, out, bf16_weights));
    products.cover(ops::product_memory(out, in, rows, bf16_compute));
  };
  const int64_t attended = c.num_attention_heads * c.head_dim;
  cover(tokens, attended + 2 * c.num_key_value_heads * c.head_dim, hidden);
  cover(tokens, hidden, attended);
  cover(tokens, 2 * c.intermediate_size, hidden);
  cover(tokens, hidden, c.intermediate_size);
  const ops::HeadShape heads{c.num_attention_heads, c.num_key_value_heads, c.head_dim};
  int64_t bytes = ops::attention_memory(heads, run.threads) +
                  ops::attention_backward_memory(tokens, run.seq_length, heads, run.threads) +
                  ops::rms_norm_backward_memory(share.extent.rows, hidden);
  if (share.part.head) {
    const int64_t trained = run.trained_tokens > 0 ? run.trained_tokens : tokens;
    const int64_t vocab = run.config.vocab_size;
    // Ranks share the head's rows out, whether they hold the others' or not.
    const int64_t rows = (vocab + run.grid.tp - 1) / run.grid.tp;
    cover(std::min(trained, ops::head_chunk_tokens(vocab)), rows, hidden);
    bytes += ops::head_memory(trained, hidden, rows, vocab, run.compute);
  }
  return bytes + products.bytes();
}

/// Ids, targets and positions of the step's micro batches, losses, and the angles of the positions.
int64_t batch_bytes(const TrainingRun& run) {
  const int64_t angles =
      std::max(run.seq_length, std::min<int64_t>(1024, run.config.max_position_embeddings));
  return (run.micro_batches + 1) * run.tokens() * 12 + run.tokens() * 4 +
         angles * run.config.head_dim * 4;
}

/// A pipeline of its own that keeps nothing, while the training's stays.
int64_t evaluation_bytes(const TrainingRun& run, const RankShare& share) {
  if (!run.evaluates) return 0;
  const int64_t stream = share.extent.rows * run.config.hidden_size;
  return Workspace::bytes_for(share.local, run.compute, share.extent, Keep::nothing,
                              Recompute::full) +
         std::ssize(share.runs) * bytes_of(run.compute, stream) + gathered_bytes(run, share);
}

}  // namespace

int64_t RankMemory::total() const {
  return std::accumulate(items.begin(), items.end(), int64_t{0},
                         [](int64_t sum, const MemoryItem& i) { return sum + i.bytes; });
}

RankMemory rank_memory(const TrainingRun& run, int rank) {
  const RankShare share(run, rank);
  const int64_t state = elements_of(share.state);
  RankMemory memory{
      .rank = rank,
      .items = {{"weights", bytes_of(run.storage, elements_of(share.weights))},
                {"gathered layer", gathered_bytes(run, share)},
                {"exact master", master_bytes(run, state)},
                {"gradients", gradient_bytes(run, share)},
                {"moments", bytes_of(DType::f32, 2 * state)},
                {"activations", activation_bytes(run, share)},
                {"workspace", workspace_bytes(run, share) + scratch_bytes(run, share)},
                {"messages", step_traffic(run, share).buffer_bytes},
                {"evaluation", evaluation_bytes(run, share)},
                {"batches", batch_bytes(run)},
                {"process", kProcess + (run.ranks() > 1 ? kMpi : 0)}}};
  std::erase_if(memory.items, [](const MemoryItem& i) { return i.bytes == 0; });
  return memory;
}

std::vector<int> telling_ranks(const TrainingRun& run) {
  std::vector<int> ranks;
  std::set<std::tuple<int64_t, bool, bool>> shapes;
  for (int stage = 0; stage < run.grid.pp; ++stage) {
    // The last rank of a tensor-parallel group has the most rows of the stream.
    const int rank = stage * run.grid.dp * run.grid.tp + run.grid.tp - 1;
    const RankShare share(run, rank);
    if (shapes.emplace(std::ssize(share.part.layers), share.part.embedding, share.part.head).second)
      ranks.push_back(rank);
  }
  return ranks;
}

RankMemory fullest_rank(const TrainingRun& run) {
  RankMemory fullest;
  for (const int rank : telling_ranks(run)) {
    RankMemory memory = rank_memory(run, rank);
    if (memory.total() > fullest.total()) fullest = std::move(memory);
  }
  return fullest;
}

}  // namespace cria
