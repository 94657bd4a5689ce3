// The model in generation: new tokens over the caches of the sequences they belong to, through the layers held here.
#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "comm/groups.h"
#include "model/activations.h"
#include "model/decoder_layer.h"
#include "model/llama.h"
#include "model/packed_weights.h"
#include "model/rope_cache.h"
#include "ops/device.h"
#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"

namespace cria {
namespace {

// Prompts go through the layers in pieces: long enough for the matrix products to run at full speed, short enough for
// activations of a few megabytes.
constexpr int64_t kPrefillTokens = 512;

/// Where the weights are that this rank holds, plain or packed.
struct Parts {
  std::vector<LayerViews<Weight>> layers;  // in ascending order
  Weight embed_tokens, head;
  ConstView norm;
  int tp = 1;
  bool vocab_split = false;
  int64_t first_row = 0;                         // of the table that is here
  std::unique_ptr<ops::PackedMatrix> head_rows;  // of a whole head that is shared out
};

/// How they are cut.
template <class Weights>
Parts cut_of(const Weights& weights, const Comm* group) {
  Parts p;
  const ModelPart& part = weights.part();
  p.tp = part.tp;
  check(p.tp == (group == nullptr ? 1 : group->size()), "the weights are the rank's slices");
  p.vocab_split = part.vocab_split;
  if (part.embedding)
    p.first_row = weights.params()[static_cast<size_t>(weights.index().embed_tokens())].first_row();
  return p;
}

Parts parts_of(const ParamArena& weights, const Comm* group) {
  Parts p = cut_of(weights, group);
  const ParamIndex& index = weights.index();
  for (const int64_t i : weights.part().layers)
    p.layers.push_back(layer_views(weights, i).as<Weight>());
  if (weights.part().embedding) p.embed_tokens = weights[index.embed_tokens()];
  if (!weights.part().head) return p;
  p.norm = weights[index.norm()];
  // A whole head is shared out too where its rows divide.
  const ConstView head = weights[index.lm_head()];
  const bool shared = p.tp > 1 && head.rows % group->size() == 0;
  p.head = p.vocab_split || !shared ? head : group->rows_of(head, group->rank());
  return p;
}

Parts parts_of(const PackedWeights& weights, const Comm* group) {
  Parts p = cut_of(weights, group);
  for (const int64_t i : weights.part().layers) p.layers.push_back(weights.layer(i));
  if (weights.part().embedding) p.embed_tokens = Weight({&weights.embed_tokens()});
  if (!weights.part().head) return p;
  p.norm = weights.norm();
  const ops::PackedMatrix& head = weights.lm_head();
  p.head = Weight({&head});
  if (p.tp == 1 || p.vocab_split) return p;
  if (head.rows() % (p.tp * ops::PackedMatrix::kRowsTogether) != 0) return p;
  const int64_t rows = head.rows() / p.tp;
  p.head_rows = std::make_unique<ops::PackedMatrix>(head.row_range(group->rank() * rows, rows));
  p.head = Weight({p.head_rows.get()});
  return p;
}

}  // namespace

struct Decoder::Impl {
  Impl(const LlamaConfig& c, const ModelPart& part, Parts parts, DType compute, const ops::Exec& e,
       Groups* ranks)
      : config(c),
        local(local_config(c, part)),
        runs(runs_of(part)),
        weights(std::move(parts)),
        exec(e),
        groups(ranks),
        tp(ranks == nullptr ? nullptr : &ranks->tp, false),
        rope(c, e.device),
        workspace(local, compute, e.device),
        activations(workspace, {}) {
    const bool whole = runs.front().embedding && runs.back().head;
    check(groups == nullptr ? whole : whole == (groups->grid.pp == 1),
          "the stages together have the whole model");
    // Numbered as the caches number them.
    for (int64_t i = 0; i < local.num_hidden_layers; ++i)
      layers.emplace_back(config, weights.layers[static_cast<size_t>(i)], weights.tp, i);
  }

  View run_layers(std::span<const int32_t> ids, const Context& context);
  void enter(const LayerRun& run, std::span<const int32_t> ids, View stream);
  View prefill_piece(std::span<const int32_t> ids, KvCache& cache);
  void embed(std::span<const int32_t> ids, View stream) const;
  void head(View rows, View logits);
  void head_product(ConstView normed, View logits) const;

  LlamaConfig config, local;
  std::vector<LayerRun> runs;
  Parts weights;
  const ops::Exec& exec;
  Groups* groups;  // null: one rank
  TensorParallel tp;
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
  const Weight& table = weights.embed_tokens;
  if (table.packed.empty()) {
    ops::embedding(ids, table, stream, exec, weights.first_row, config.vocab_size);
  } else {
    ops::embedding_packed(ids, *table.packed.front(), stream, exec, weights.first_row,
                          config.vocab_size);
  }
  if (weights.vocab_split) tp.sum(stream, {});
}

/// The stream before a run's first layer: from the ids, or from the stage before, which is a ring's.
void Decoder::Impl::enter(const LayerRun& run, std::span<const int32_t> ids, View stream) {
  if (run.embedding) return embed(ids, stream);
  const int stages = groups->grid.pp;
  groups->pp_forward.receive(bytes_of(stream), (groups->grid.stage() + stages - 1) % stages);
}

/// From ids to the output of the last layer held here; the caches hold the new keys and values but do not count them yet.
View Decoder::Impl::run_layers(std::span<const int32_t> ids, const Context& context) {
  activations.prepare({std::ssize(ids), std::ssize(ids)}, Keep::nothing);
  int64_t i = 0;
  for (const LayerRun& run : runs) {
    enter(run, ids, activations.input(i));
    for (int64_t end = i + run.count; i < end; ++i) {
      LayerActivations a = activations.layer(i);
      layers[static_cast<size_t>(i)].forward(context, a, activations.output(i), workspace.layer(),
                                             exec);
    }
    if (run.head) continue;
    const int next = (groups->grid.stage() + 1) % groups->grid.pp;
    groups->pp_forward.send(bytes_of(activations.output(i - 1)), next).wait();
  }
  return activations.output(i - 1);
}

void Decoder::Impl::head_product(ConstView normed, View logits) const {
  if (weights.head.packed.empty()) {
    ops::linear_decode(normed, weights.head, logits, exec);
  } else {
    ops::linear_packed(normed, weights.head.packed, logits, exec);
  }
}

void Decoder::Impl::head(View x, View logits) {
  if (!runs.back().head) return;
  const View normed = workspace.layer().normed.row_range(0, x.rows);
  ops::rms_norm(x, weights.norm, static_cast<float>(config.rms_norm_eps), normed, {}, exec);
  const int64_t cols = weights.head.rows();
  if (tp.alone() || cols == logits.cols) return head_product(normed, logits);
  Comm& group = *tp.group();
  const int64_t count = x.rows;
  if (mine.rows() < count) {
    mine = Tensor(DType::f32, count, cols, exec.device);
    gathered = Tensor(DType::f32, count * group.size(), cols, exec.device);
  }
  const View part = mine.view().row_range(0, count);
  const View all = gathered.view().row_range(0, count * group.size());
  head_product(normed, part);
  group.all_gather(part, all);
  for (int64_t r = 0; r < group.size(); ++r)
    ops::convert(all.row_range(r * count, count), logits.col_range(r * cols, cols), exec);
}

/// The rows of the residual stream after the last layer.
View Decoder::Impl::prefill_piece(std::span<const int32_t> ids, KvCache& cache) {
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
  cache.advance(count);
  return x;
}

Decoder::Decoder(const LlamaConfig& config, const ParamArena& weights, DType compute,
                 ops::Exec& exec, Groups* groups)
    : impl_(std::make_unique<Impl>(config, weights.part(),
                                   parts_of(weights, groups == nullptr ? nullptr : &groups->tp),
                                   compute, exec, groups)) {}
Decoder::Decoder(const PackedWeights& weights, DType compute, ops::Exec& exec, Groups* groups)
    : impl_(std::make_unique<Impl>(weights.config(), weights.part(),
                                   parts_of(weights, groups == nullptr ? nullptr : &groups->tp),
                                   compute, exec, groups)) {}
Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;

const LlamaConfig& Decoder::local() const { return impl_->local; }
const LlamaConfig& Decoder::config() const { return impl_->config; }
Memory* Decoder::memory() const { return impl_->exec.device; }
const ops::Exec& Decoder::exec() const { return impl_->exec; }
bool Decoder::has_head() const { return impl_->runs.back().head; }

void Decoder::prefill(std::span<const int32_t> ids, KvCache& cache, View logits) {
  require(!ids.empty(), "a prompt without tokens");
  const auto count = std::ssize(ids);
  cache.reserve(count);
  for (int64_t done = 0; done < count; done += kPrefillTokens) {
    const int64_t size = std::min(kPrefillTokens, count - done);
    const View x = impl_->prefill_piece(
        ids.subspan(static_cast<size_t>(done), static_cast<size_t>(size)), cache);
    if (done + size == count && logits.data != nullptr)
      impl_->head(x.row_range(size - 1, 1), logits);
  }
}

void Decoder::prefill_all(std::span<const int32_t> ids, KvCache& cache, View logits) {
  require(!ids.empty() && std::ssize(ids) <= kPrefillTokens, "{} tokens at once, expected 1 to {}",
          ids.size(), kPrefillTokens);
  cache.reserve(std::ssize(ids));
  impl_->head(impl_->prefill_piece(ids, cache), logits);
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
  if (m.exec.device != nullptr) m.exec.device->begin_step();
  const View x = m.run_layers(ids, {.positions = m.positions,
                                    .rope = m.rope.covering(furthest + 1),
                                    .sequences = m.rows,
                                    .caches = caches,
                                    .few_rows = true,
                                    .tp = m.tp});
  m.head(x, logits);
  if (m.exec.device != nullptr) m.exec.device->end_step();
  for (KvCache* cache : caches) cache->advance(1);
}

}  // namespace cria
