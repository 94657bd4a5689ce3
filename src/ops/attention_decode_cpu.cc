// Attention of one new token, one instruction-set level: reads keys and values once. The sums run
// in the order of attention_cpu.cc, so the bits are those of a prefill.
#include <math.h>

#include "ops/attention_stream.h"

namespace cria::ops::CRIA_ISA {
namespace {

struct Buffers {
  float *query, *scores, *factor;
  float *keys, *values;  // [kKeyBlock, padded D], opened rows of 8 bits
};

int64_t scratch(int64_t group, int64_t head_dim) {
  const int64_t padded = padded_dim(head_dim);
  return group * padded + group * kKeyBlock + whole_lines(group) + 2 * kKeyBlock * padded;
}

int64_t partial(int64_t group, int64_t head_dim) {
  return group * padded_dim(head_dim) + 2 * whole_lines(group);
}

Buffers buffers_of(const DecodeUnit& u) {
  const int64_t padded = padded_dim(u.head_dim);
  Buffers b{};
  b.query = u.scratch;
  b.scores = b.query + u.group * padded;
  b.factor = b.scores + u.group * kKeyBlock;
  b.keys = b.factor + whole_lines(u.group);
  b.values = b.keys + kKeyBlock * padded;
  return b;
}

Running running_of(float* p, int64_t group, int64_t head_dim) {
  float* largest = p + group * padded_dim(head_dim);
  return {p, largest, largest + whole_lines(group)};
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

/// Rows of a cache from a key on.
template <class T>
struct Rows {
  const T* data;
  int64_t stride;
};
template <class T>
Rows<T> rows_from(const HeadRows& m, int64_t key) {
  return {static_cast<const T*>(m.data) + key * m.stride, m.stride};
}

/// `keys` keys of one block, for kStreamHeads heads at a time.
template <class K, class V>
void key_block(const DecodeUnit& u, const Buffers& b, const Running& state, Rows<K> k, Rows<V> v,
               int64_t keys) {
  const int64_t padded = padded_dim(u.head_dim);
  for (int64_t h = 0; h < u.group; h += kStreamHeads) {
    with_count(u.group - h, [&](auto heads) {
      float* scores = b.scores + h * kKeyBlock;
      stream_scores<K, heads.value>(k.data, k.stride, keys, u.head_dim, b.query + h * padded,
                                    scores);
      for (int64_t i = h; i < h + heads.value; ++i) {
        softmax_row(b.scores + i * kKeyBlock, keys, state.largest + i, state.weight + i,
                    b.factor + i);
      }
      stream_values<V, heads.value>(v.data, v.stride, keys, u.head_dim, scores, b.factor + h,
                                    state.values + h * padded);
    });
  }
}

void span(const DecodeUnit& u) {
  const Buffers b = buffers_of(u);
  const Running state = running_of(u.partial, u.group, u.head_dim);
  reset(state, u.group, padded_dim(u.head_dim));
  HeadRows heads = u.q;
  heads.stride = u.head_dim;
  load_panel(heads, 0, u.group, u.head_dim, 1.0f / sqrtf(static_cast<float>(u.head_dim)), b.query);
  const auto for_blocks = [&](auto body) {
    for (int64_t key = u.first_key; key < u.first_key + u.keys; key += kKeyBlock) {
      const int64_t left = u.first_key + u.keys - key;
      body(key, left < kKeyBlock ? left : kKeyBlock);
    }
  };
  if (u.k.dtype == DType::i8) {
    const int64_t padded = padded_dim(u.head_dim);
    for_blocks([&](int64_t key, int64_t keys) {
      load_panel(u.k, key, keys, u.head_dim, 1.0f, b.keys);
      load_panel(u.v, key, keys, u.head_dim, 1.0f, b.values);
      key_block<float, float>(u, b, state, {b.keys, padded}, {b.values, padded}, keys);
    });
    return;
  }
  with_type(u.k.dtype, [&](auto k_type) {
    with_type(u.v.dtype, [&](auto v_type) {
      using K = typename decltype(k_type)::type;
      using V = typename decltype(v_type)::type;
      for_blocks([&](int64_t key, int64_t keys) {
        key_block(u, b, state, rows_from<K>(u.k, key), rows_from<V>(u.v, key), keys);
      });
    });
  });
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
