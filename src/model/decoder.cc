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
  Impl(const LlamaConfig& c, const ParamArena& w, DType compute, const ops::Exec& e)
      : config(c), weights(w), exec(e), rope(c), workspace(c, compute), activations(workspace, {}) {
    for (int64_t i = 0; i < config.num_hidden_layers; ++i)
      layers.emplace_back(config, layer_views(weights, i), weights.part().tp, i);
  }

  View run_layers(std::span<const int32_t> ids, const Context& context);
  void prefill_piece(std::span<const int32_t> ids, KvCache& cache, View logits);
  void head(View rows, View logits);

  LlamaConfig config;
  const ParamArena& weights;
  const ops::Exec& exec;
  RopeCache rope;
  Workspace workspace;
  Activations activations;
  std::vector<DecoderLayer> layers;
  std::vector<int32_t> positions;
  std::vector<int64_t> rows;  // offsets of the sequences' rows
};

/// From ids to the output of the last layer; the caches hold the new keys and values but do not count them yet.
View Decoder::Impl::run_layers(std::span<const int32_t> ids, const Context& context) {
  activations.prepare({std::ssize(ids), std::ssize(ids)}, Keep::nothing);
  ops::embedding(ids, weights[weights.index().embed_tokens()], activations.input(0), exec);
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
  ops::linear_decode(normed, weights[weights.index().lm_head()], logits, exec);
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
                                  .caches = caches});
  if (logits.data != nullptr) head(x.row_range(count - 1, 1), logits);
  cache.advance(count);
}

Decoder::Decoder(const LlamaConfig& config, const ParamArena& weights, DType compute,
                 ops::Exec& exec)
    : impl_(std::make_unique<Impl>(config, weights, compute, exec)) {}
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
                                    .few_rows = true});
  m.head(x, logits);
  for (KvCache* cache : caches) cache->advance(1);
}

}  // namespace cria
