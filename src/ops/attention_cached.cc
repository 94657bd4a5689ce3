// Attention over caches: prompts go through the forward kernel, single tokens through the decode
// kernel, span of keys by span of keys.
#include <vector>

#include "ops/attention.h"
#include "ops/attention_door.h"
#include "ops/attention_ref.h"
#include "ops/device.h"
#include "ops/scratch.h"

namespace cria::ops {
namespace {

constexpr std::string_view kOp = "attention_cached";

/// One KV head of one sequence: a block of queries of a prompt, or a span of keys of a single
/// token.
struct Work {
  int64_t sequence, head, begin, count;
  bool decode;
  int64_t partial;  // where the span's partial result lies; spans of one head are neighbours
};

/// Appends the work of sequence n; returns where the next partial result goes.
int64_t cut(const CachedSequence& s, int64_t n, const HeadShape& shape, int64_t partial,
            int64_t partial_size, std::vector<Work>& work) {
  for (int64_t head = 0; head < shape.kv_heads; ++head) {
    if (s.count == 1) {
      const int64_t keys = s.first_position + 1;
      for (int64_t key = 0; key < keys; key += kKeySpan) {
        work.push_back({n, head, key, std::min(kKeySpan, keys - key), true, partial});
        partial += partial_size;
      }
      continue;
    }
    const int64_t size = unit_queries(shape);
    for (int64_t b = (s.count + size - 1) / size - 1; b >= 0; --b) {
      work.push_back({n, head, b * size, std::min(size, s.count - b * size), false, 0});
    }
  }
  return partial;
}

ForwardUnit prompt_unit(ConstView q, const CachedSequence& s, const Work& w, const HeadShape& shape,
                        View out) {
  const int64_t dim = shape.head_dim, group = shape.heads / shape.kv_heads;
  ForwardUnit unit;
  unit.q = head_rows(q, s.first_row + w.begin, w.head * group, dim);
  unit.k = head_rows(ConstView(s.k), w.head * s.capacity, 0, dim);
  unit.v = head_rows(ConstView(s.v), w.head * s.capacity, 0, dim);
  unit.out = head_rows(out, s.first_row + w.begin, w.head * group, dim);
  unit.queries = w.count;
  unit.first_position = s.first_position + w.begin;
  unit.group = group;
  unit.head_dim = dim;
  return unit;
}

DecodeUnit token_unit(ConstView q, const CachedSequence& s, const Work& w, const HeadShape& shape) {
  const int64_t dim = shape.head_dim, group = shape.heads / shape.kv_heads;
  DecodeUnit unit;
  unit.q = head_rows(q, s.first_row, w.head * group, dim);
  unit.k = head_rows(ConstView(s.k), w.head * s.capacity, 0, dim);
  unit.v = head_rows(ConstView(s.v), w.head * s.capacity, 0, dim);
  unit.first_key = w.begin;
  unit.keys = w.count;
  unit.group = group;
  unit.head_dim = dim;
  return unit;
}

}  // namespace

void attention_cached(ConstView q, std::span<const CachedSequence> sequences,
                      const HeadShape& shape, View out, const Exec& exec) {
  require_heads(kOp, shape);
  require_matrix(kOp, "q", q, q.rows, shape.heads * shape.head_dim);
  require_matrix(kOp, "out", out, q.rows, shape.heads * shape.head_dim);
  for (size_t n = 0; n < sequences.size(); ++n)
    require_sequence(kOp, n, sequences[n], q.rows, shape);
  if (exec.device != nullptr) return exec.device->attention_cached(q, sequences, shape, out);
  if (exec.reference) return attention_cached_ref(q, sequences, shape, out);

  thread_local std::vector<Work> work_memory;
  thread_local Scratch memory, partial_memory;
  const int64_t dim = shape.head_dim, group = shape.heads / shape.kv_heads;
  const auto& prompt = attention_kernels();
  const auto& token = attention_decode_kernels();
  const int64_t partial_size = token.partial(group, dim);
  work_memory.clear();
  int64_t partials = 0;
  for (size_t n = 0; n < sequences.size(); ++n) {
    partials =
        cut(sequences[n], static_cast<int64_t>(n), shape, partials, partial_size, work_memory);
  }
  const std::span<const Work> work = work_memory;
  float* const partial = partial_memory.floats(partials);
  const int64_t scratch =
      std::max(token.scratch(group, dim), prompt.forward_scratch(unit_queries(shape) * group, dim));
  float* const all_scratch = memory.floats(scratch * exec.pool.threads());

  exec.pool.parallel_for_worker(static_cast<int64_t>(work.size()), [&](int64_t i, int worker) {
    const Work& w = work[static_cast<size_t>(i)];
    const CachedSequence& s = sequences[static_cast<size_t>(w.sequence)];
    if (!w.decode) {
      ForwardUnit unit = prompt_unit(q, s, w, shape, out);
      unit.scratch = all_scratch + worker * scratch;
      return prompt.forward(unit);
    }
    DecodeUnit unit = token_unit(q, s, w, shape);
    unit.partial = partial + w.partial;
    unit.scratch = all_scratch + worker * scratch;
    token.span(unit);
  });
  if (partials == 0) return;
  exec.pool.parallel_for(static_cast<int64_t>(work.size()), [&](int64_t i) {
    const Work& w = work[static_cast<size_t>(i)];
    if (!w.decode || w.begin > 0) return;
    const CachedSequence& s = sequences[static_cast<size_t>(w.sequence)];
    const int64_t spans = (s.first_position + kKeySpan) / kKeySpan;
    token.combine(partial + w.partial, spans, group, dim,
                  head_rows(out, s.first_row, w.head * group, dim));
  });
}

}  // namespace cria::ops
