// Attention of one new token, one instruction-set level: reads keys and values once. The sums run
// in the order of attention_cpu.cc, so the bits are those of a prefill.
#include <math.h>

#include "ops/attention_tiles.h"

namespace cria::ops::CRIA_ISA {
namespace {

struct Buffers {
  float *query, *keys, *values, *scores, *factor;
};

int64_t scratch(int64_t group, int64_t head_dim) {
  const int64_t padded = padded_dim(head_dim);
  return group * padded + kKeyBlock * head_dim + kKeyBlock * padded + group * kKeyBlock +
         whole_lines(group);
}

int64_t partial(int64_t group, int64_t head_dim) {
  return group * padded_dim(head_dim) + 2 * whole_lines(group);
}

Buffers buffers_of(const DecodeUnit& u) {
  const int64_t padded = padded_dim(u.head_dim);
  Buffers b{};
  b.query = u.scratch;
  b.keys = b.query + u.group * padded;
  b.values = b.keys + kKeyBlock * u.head_dim;
  b.scores = b.values + kKeyBlock * padded;
  b.factor = b.scores + u.group * kKeyBlock;
  return b;
}

Running running_of(float* p, int64_t group, int64_t head_dim) {
  float* largest = p + group * padded_dim(head_dim);
  return {p, largest, largest + whole_lines(group)};
}

/// to[d, key] = k[key, d] for `keys` keys.
void transpose_keys(const HeadRows& k, int64_t first_key, int64_t keys, int64_t head_dim,
                    float* to) {
  with_type(k.dtype, [&](auto t) {
    using T = typename decltype(t)::type;
    transpose_rows(static_cast<const T*>(k.data) + first_key * k.stride, k.stride, keys, head_dim,
                   to);
  });
}

/// Scores of one row become weights; the four interleaved sums are those of the prefill.
void softmax_row(float* scores, int64_t keys, float* largest, float* weight, float* factor) {
  Vec most = set1(*largest);
  for_lanes(keys, [&](int64_t j, Mask m) {
    most = max(most, select(m, load(scores + j), set1(kHidden)));
  });
  const float m = max_of(most);
  __m128 sums = _mm_setzero_ps();
  for (int64_t j = 0; j < kKeyBlock; j += kLanes) {
    store(scores + j,
          select(first(keys > j ? keys - j : 0), exp(sub(load(scores + j), set1(m))), zero()));
  }
  for (int64_t j = 0; j < keys; j += 4) sums = _mm_add_ps(sums, _mm_loadu_ps(scores + j));
  sums = _mm_add_ps(sums, _mm_movehl_ps(sums, sums));
  sums = _mm_add_ss(sums, _mm_shuffle_ps(sums, sums, 1));
  alignas(64) float f[kLanes];
  store(f, exp(set1(*largest - m)));
  *largest = m;
  *weight = _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(*weight), _mm_set_ss(f[0]), sums));
  *factor = f[0];
}

void span(const DecodeUnit& u) {
  const Buffers b = buffers_of(u);
  const int64_t padded = padded_dim(u.head_dim);
  const Running state = running_of(u.partial, u.group, u.head_dim);
  reset(state, u.group, padded);
  HeadRows heads = u.q;
  heads.stride = u.head_dim;
  load_panel(heads, 0, u.group, u.head_dim, 1.0f / sqrtf(static_cast<float>(u.head_dim)), b.query);
  for (int64_t key = u.first_key; key < u.first_key + u.keys; key += kKeyBlock) {
    const int64_t left = u.first_key + u.keys - key;
    const int64_t keys = left < kKeyBlock ? left : kKeyBlock;
    transpose_keys(u.k, key, keys, u.head_dim, b.keys);
    load_panel(u.v, key, keys, u.head_dim, 1.0f, b.values);
    product<false>({b.query, padded, b.keys, kKeyBlock, u.head_dim, b.scores, kKeyBlock}, u.group,
                   vecs_of(keys));
    for (int64_t g = 0; g < u.group; ++g) {
      softmax_row(b.scores + g * kKeyBlock, keys, state.largest + g, state.weight + g,
                  b.factor + g);
    }
    product<false>({b.scores, kKeyBlock, b.values, padded, keys, state.values, padded,
                    Start::scaled, b.factor},
                   u.group, vecs_of(padded));
  }
}

void combine_spans(float* partials, int64_t spans, int64_t group, int64_t head_dim,
                   const HeadRowsOut& out) {
  const Running total = running_of(partials, group, head_dim);
  for (int64_t s = 1; s < spans; ++s) {
    combine(total, running_of(partials + s * partial(group, head_dim), group, head_dim), group,
            padded_dim(head_dim));
  }
  for (int64_t g = 0; g < group; ++g) {
    write_row(total, g, head_dim, out.dtype, out.data, g * head_dim);
  }
}

}  // namespace

extern const AttentionDecodeKernels attention_decode_kernels = {scratch, partial, span,
                                                                combine_spans};

}  // namespace cria::ops::CRIA_ISA
