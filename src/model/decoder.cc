// The whole model in generation: new tokens over the caches of the sequences they belong to.
#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "model/activations.h"
#include "model/decoder_layer.h"
#include "model/llama.h"
#include "model/rope_cache.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"

namespace cria {
namespace {

// Prompts go through the layers in pieces: long enough for the matrix products to run at full speed, short enough for
// activations of a few megabytes.
constexpr int64_t kPrefillTokens = 512;

}  // namespace

struct Decoder::Impl {
  Impl(const LlamaConfig& c, const ParamArena& w, DType compute, const ops::Exec& e, Comm* group)
      : config(c),
        weights(w),
        exec(e),
        tp(group, false),
        rope(c),
        workspace(local_config(c, w.part()), compute),
        activations(workspace, {}) {
    check(w.part().tp == (tp.alone() ? 1 : group->size()), "the weights are the rank's slices");
    // A whole head is shared out too where its rows divide.
    const ConstView head = weights[weights.index().lm_head()];
    const bool shared = !tp.alone() && head.rows % group->size() == 0;
    head_rows = w.part().vocab_split || !shared ? head : group->rows_of(head, group->rank());
    for (int64_t i = 0; i < config.num_hidden_layers; ++i)
      layers.emplace_back(config, layer_views(weights, i), weights.part().tp, i);
  }

  View run_layers(std::span<const int32_t> ids, const Context& context);
  void prefill_piece(std::span<const int32_t> ids, KvCache& cache, View logits);
  void embed(std::span<const int32_t> ids, View stream) const;
  void head(View rows, View logits);

  LlamaConfig config;
  const ParamArena& weights;
  const ops::Exec& exec;
  TensorParallel tp;
  ConstView head_rows;  // that this rank multiplies with
  RopeCache rope;
  Workspace workspace;
  Activations activations;
  std::vector<DecoderLayer> layers;
  std::vector<int32_t> positions;
  std::vector<int64_t> rows;  // offsets of the sequences' rows
  Tensor mine, gathered;      // logits of the head's rows: this rank's, and those of all ranks
};

/// A split table has the rows of some ids; the other ranks have the rest.
void Decoder::Impl::embed(std::span<const int32_t> ids, View stream) const {
  const int64_t i = weights.index().embed_tokens();
  if (!weights.part().vocab_split) return ops::embedding(ids, weights[i], stream, exec);
  const int64_t first = weights.params()[static_cast<size_t>(i)].first_row();
  ops::embedding(ids, weights[i], stream, exec, first, config.vocab_size);
  tp.sum(stream, {});
}

/// From ids to the output of the last layer; the caches hold the new keys and values but do not count them yet.
View Decoder::Impl::run_layers(std::span<const int32_t> ids, const Context& context) {
  activations.prepare({std::ssize(ids), std::ssize(ids)}, Keep::nothing);
  embed(ids, activations.input(0));
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    LayerActivations a = activations.layer(i);
    layers[static_cast<size_t>(i)].forward(context, a, activations.output(i), workspace.layer(),
                                           exec);
  }
  return activations.output(config.num_hidden_layers - 1);
}

void Decoder::Impl::head(View x, View logits) {
  const View normed = workspace.layer().normed.row_range(0, x.rows);
  ops::rms_norm(x, weights[weights.index().norm()], static_cast<float>(config.rms_norm_eps), normed,
                {}, exec);
  if (head_rows.rows == logits.cols) return ops::linear_decode(normed, head_rows, logits, exec);
  Comm& group = *tp.group();
  const int64_t count = x.rows, cols = head_rows.rows;
  if (mine.rows() < count) {
    mine = Tensor(DType::f32, count, cols);
    gathered = Tensor(DType::f32, count * group.size(), cols);
  }
  const View part = mine.view().row_range(0, count);
  const View all = gathered.view().row_range(0, count * group.size());
  ops::linear_decode(normed, head_rows, part, exec);
  group.all_gather(part, all);
  for (int64_t r = 0; r < group.size(); ++r) {
    for (int64_t t = 0; t < count; ++t)
      std::ranges::copy(all.row<float>(r * count + t), logits.row<float>(t).begin() + r * cols);
  }
}

void Decoder::Impl::prefill_piece(std::span<const int32_t> ids, KvCache& cache, View logits) {
  const auto count = std::ssize(ids);
  positions.resize(ids.size());
  std::iota(positions.begin(), positions.end(), static_cast<int32_t>(cache.length()));
  rows.assign({0, count});
  KvCache* const caches[] = {&cache};
  const View x = run_layers(ids, {.positions = positions,
                                  .rope = rope.covering(cache.length() + count),
                                  .sequences = rows,
                                  .caches = caches,
                                  .tp = tp});
  if (logits.data != nullptr) head(x.row_range(count - 1, 1), logits);
  cache.advance(count);
}

Decoder::Decoder(const LlamaConfig& config, const ParamArena& weights, DType compute,
                 ops::Exec& exec, Comm* tp)
    : impl_(std::make_unique<Impl>(config, weights, compute, exec, tp)) {}
Decoder::~Decoder() = default;

const LlamaConfig& Decoder::config() const { return impl_->config; }

void Decoder::prefill(std::span<const int32_t> ids, KvCache& cache, View logits) {
  require(!ids.empty(), "a prompt without tokens");
  const auto count = std::ssize(ids);
  cache.reserve(count);
  for (int64_t done = 0; done < count; done += kPrefillTokens) {
    const int64_t size = std::min(kPrefillTokens, count - done);
    const bool last = done + size == count;
    impl_->prefill_piece(ids.subspan(static_cast<size_t>(done), static_cast<size_t>(size)), cache,
                         last ? logits : View());
  }
}

void Decoder::step(std::span<const int32_t> ids, std::span<KvCache* const> caches, View logits) {
  require(!ids.empty() && ids.size() == caches.size(),
          "a decode step of {} tokens for {} sequences", ids.size(), caches.size());
  Impl& m = *impl_;
  m.positions.resize(ids.size());
  m.rows.resize(ids.size() + 1);
  std::iota(m.rows.begin(), m.rows.end(), 0);
  for (size_t i = 0; i < caches.size(); ++i) {
    caches[i]->reserve(1);
    m.positions[i] = static_cast<int32_t>(caches[i]->length());
  }
  const int32_t furthest = *std::ranges::max_element(m.positions);
  const View x = m.run_layers(ids, {.positions = m.positions,
                                    .rope = m.rope.covering(furthest + 1),
                                    .sequences = m.rows,
                                    .caches = caches,
                                    .few_rows = true,
                                    .tp = m.tp});
  m.head(x, logits);
  for (KvCache* cache : caches) cache->advance(1);
}

}  // namespace cria
