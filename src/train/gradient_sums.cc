#include "train/gradient_sums.h"

#include <algorithm>

#include "ops/elementwise.h"

namespace cria {
namespace {

constexpr int64_t kMostUnderWay = 2;  // layers

}  // namespace

GradientSums::GradientSums(const TrainState& state, ParamArena& grads, int64_t buckets,
                           Groups& groups, const ops::Exec& exec)
    : state_(state),
      grads_(grads),
      groups_(groups),
      exec_(exec),
      layers_per_bucket_(
          buckets > 0 ? std::max<int64_t>((grads.config().num_hidden_layers + 1) / buckets, 1) : 1),
      done_(static_cast<size_t>(grads.config().num_hidden_layers)) {
  const bool cut = state.shard.count > 1 && state.shard.zero >= 2;
  for (const Param& p : grads.params())
    summed_.push_back(p.layer >= 0 && !p.is_norm() && (p.sharded || !cut));
  if (!cut) return;
  for (int b = 0; b < kMostUnderWay; ++b)
    buffers_.emplace_back(grads.config(), DType::f32, one_layer(grads), OptimizerShard(),
                          grads.memory());
}

void GradientSums::start(int64_t micros) {
  micros_ = micros;
  std::ranges::fill(done_, 0);
}

LayerGradients::Place GradientSums::place(int64_t layer) {
  const bool first = done_[static_cast<size_t>(layer)] == 0;
  if (buffers_.empty())
    return {layer_views(grads_, layer), first ? ops::Into::write : ops::Into::add};
  wait_until_under_way(kMostUnderWay - 1);  // the buffer's last sums are over
  ParamArena& buffer = buffers_[static_cast<size_t>(started_ % kMostUnderWay)];
  return {layer_views(buffer, buffer.part().layers.front()), ops::Into::write};
}

void GradientSums::complete(int64_t layer) {
  const int64_t done = ++done_[static_cast<size_t>(layer)];
  poll();
  if (!buffers_.empty()) return sum_cut(layer, done == 1, done == micros_);
  if (done < micros_) return;
  waiting_.push_back(layer);
  if (!bucket_complete(layer)) return;
  for (const int64_t l : waiting_) sum_resident(l);
  waiting_.clear();
}

/// Backward goes from the last layer of a run to its first.
bool GradientSums::bucket_complete(int64_t layer) const {
  return layer % layers_per_bucket_ == 0 ||
         !std::ranges::binary_search(grads_.part().layers, layer - 1);
}

void GradientSums::sum_resident(int64_t layer) {
  wait_until_under_way(kMostUnderWay - 1);
  const int64_t first = grads_.index().layer(layer);
  for (int64_t i = first; i < first + ParamIndex::kPerLayer; ++i) {
    if (!summed_[static_cast<size_t>(i)]) continue;
    const View all = grads_[i];
    if (state_.m.params()[static_cast<size_t>(i)].sharded) {
      begin_cut(all, state_.rows_of_state(grads_, i), true, false);
    } else {
      const View flat = {all.data, all.dtype, all.elements(), 1};
      begin(flat, groups_.dp_sums.rows_of(flat, groups_.dp.rank()), flat, groups_.dp_gathers,
            false);
    }
  }
  ++started_;
}

void GradientSums::sum_cut(int64_t layer, bool is_first, bool is_last) {
  ParamArena& buffer = buffers_[static_cast<size_t>(started_ % kMostUnderWay)];
  const int64_t first = grads_.index().layer(layer);
  for (int64_t i = 0; i < ParamIndex::kPerLayer; ++i) {
    const View whole = buffer[i], kept = grads_[first + i];
    if (summed_[static_cast<size_t>(first + i)]) {
      begin_cut(whole, kept, is_last, !is_first);
    } else if (is_first) {
      ops::convert(whole, kept, exec_);
    } else {
      ops::add(kept, whole, exec_);
    }
  }
  ++started_;
}

void GradientSums::begin_cut(View partial, View mine, bool last, bool onto) {
  Comm& copies = groups_.copy_gathers;
  const bool gathers = last && !copies.alone();
  begin(partial, copies.rows_of(mine, copies.rank()), gathers ? mine : View(), copies, onto);
}

void GradientSums::begin(View partial, View rows, View whole, Comm& gathers, bool onto) {
  sums_.push_back({.number = started_,
                   .reduce = groups_.dp_sums.start_reduce_scatter(partial, rows, onto),
                   .gather = {},
                   .whole = whole,
                   .gathers = &gathers});
}

void GradientSums::reduced(Sum& sum) {
  sum.reduce.reset();
  if (sum.whole.data != nullptr) sum.gather = sum.gathers->start_all_gather(sum.whole);
}

/// Moves things on without waiting. In order, so that all ranks start their gathers in the same one.
void GradientSums::poll() {
  for (Sum& s : sums_) {
    if (!s.reduce) continue;
    if (!s.reduce->done()) break;
    reduced(s);
  }
  while (!sums_.empty()) {
    Sum& s = sums_.front();
    if (s.reduce || (s.gather && !s.gather->done())) return;
    sums_.pop_front();
  }
}

void GradientSums::wait_until_under_way(int64_t layers) {
  while (!sums_.empty() && sums_.front().number < started_ - layers) {
    Sum& s = sums_.front();
    if (s.reduce) {
      s.reduce->wait();
      reduced(s);
    }
    if (s.gather) s.gather->wait();
    sums_.pop_front();
  }
}

void GradientSums::finish() { wait_until_under_way(0); }

size_t GradientSums::size_bytes() const {
  size_t bytes = 0;
  for (const ParamArena& b : buffers_) bytes += b.size_bytes();
  return bytes;
}

}  // namespace cria
