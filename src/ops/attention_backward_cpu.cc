// Attention backward, one instruction-set level. Scores are computed again, block by block, from
// forward's log-sum-exp; they and their gradients are kept transposed, [key, row], as in forward.
#include <math.h>

#include "ops/attention_tiles.h"

namespace cria::ops::CRIA_ISA {
namespace {

/// A tile of queries, in f32, as rows (lanes run along D) and transposed (lanes run along rows).
struct QueryTile {
  int64_t first, rows;
  float *query, *query_t, *dout, *dout_t;
  const float *lse, *delta;  // kRowTile values
  float* dquery;             // [rows, padded D]
};

struct Buffers {
  float *keys, *values, *dkeys, *dvalues;  // [kGradientKeys, padded D]
  float *query, *query_t, *dout, *dout_t;  // one tile
  float *scores, *dscores;                 // [kKeyBlock, kRowTile]
  float *lse, *delta;                      // [tokens]
  float* dquery;                           // [tokens, padded D]
};

int64_t scratch(int64_t tokens, int64_t head_dim) {
  const int64_t padded = padded_dim(head_dim), rows = (tokens + kRowTile - 1) / kRowTile * kRowTile;
  return 4 * kGradientKeys * padded + 4 * kRowTile * padded + 2 * kKeyBlock * kRowTile + 2 * rows +
         rows * padded;
}

Buffers buffers_of(const BackwardUnit& u) {
  const int64_t padded = padded_dim(u.head_dim);
  const int64_t rows = (u.tokens + kRowTile - 1) / kRowTile * kRowTile;
  Buffers b{};
  float* p = u.scratch;
  const auto take = [&p](int64_t count) {
    float* begin = p;
    p += count;
    return begin;
  };
  b.keys = take(kGradientKeys * padded), b.values = take(kGradientKeys * padded);
  b.dkeys = take(kGradientKeys * padded), b.dvalues = take(kGradientKeys * padded);
  b.query = take(kRowTile * padded), b.query_t = take(kRowTile * padded);
  b.dout = take(kRowTile * padded), b.dout_t = take(kRowTile * padded);
  b.scores = take(kKeyBlock * kRowTile), b.dscores = take(kKeyBlock * kRowTile);
  b.lse = take(rows), b.delta = take(rows);
  b.dquery = take(rows * padded);
  return b;
}

float scale_of(const BackwardUnit& u) { return 1.0f / sqrtf(static_cast<float>(u.head_dim)); }

/// delta[t] = dout[t] . out[t]: what the softmax's normalisation takes away from every score's
/// gradient.
void begin(const BackwardUnit& u) {
  const Buffers b = buffers_of(u);
  const int64_t padded = padded_dim(u.head_dim);
  const int64_t rows = (u.tokens + kRowTile - 1) / kRowTile * kRowTile;
  for (int64_t t = 0; t < u.tokens; ++t) {
    load_panel(u.out, t, 1, u.head_dim, 1.0f, b.query);
    load_panel(u.dout, t, 1, u.head_dim, 1.0f, b.dout);
    Vec sum_of_row = zero();
    for (int64_t d = 0; d < padded; d += kLanes) {
      sum_of_row = fma(load(b.query + d), load(b.dout + d), sum_of_row);
    }
    b.delta[t] = sum(sum_of_row);
    b.lse[t] = u.lse[t * u.lse_stride];
  }
  for (int64_t t = u.tokens; t < rows; ++t) b.delta[t] = b.lse[t] = 0;
  for (int64_t i = 0; i < rows * padded; i += kLanes) store(b.dquery + i, zero());
}

QueryTile load_tile(const BackwardUnit& u, const Buffers& b, int64_t first_row) {
  const int64_t padded = padded_dim(u.head_dim), left = u.tokens - first_row;
  const QueryTile t{first_row,
                    left < kRowTile ? left : kRowTile,
                    b.query,
                    b.query_t,
                    b.dout,
                    b.dout_t,
                    b.lse + first_row,
                    b.delta + first_row,
                    b.dquery + first_row * padded};
  load_panel(u.q, first_row, t.rows, u.head_dim, scale_of(u), t.query);
  load_panel(u.dout, first_row, t.rows, u.head_dim, 1.0f, t.dout);
  transpose_panel(t.query, t.rows, u.head_dim, t.query_t);
  transpose_panel(t.dout, t.rows, u.head_dim, t.dout_t);
  return t;
}

/// scores -> weights p = exp(score - lse); dscores (holding dp) -> p * (dp - delta). Keys past a
/// row's position have weight 0.
void weights(const QueryTile& t, float* scores, float* dscores, int64_t first_key, int64_t keys) {
  for (int64_t lane = 0; lane < t.rows; lane += kLanes) {
    const Vec lse = load(t.lse + lane), delta = load(t.delta + lane);
    for (int64_t j = 0; j < keys; ++j) {
      float *s = scores + j * kRowTile + lane, *ds = dscores + j * kRowTile + lane;
      Vec p = exp(sub(load(s), lse));
      const int64_t hidden = first_key + j - t.first - lane;
      if (hidden > 0) p = select(first(hidden), zero(), p);
      store(s, p);
      store(ds, mul(p, sub(load(ds), delta)));
    }
  }
}

/// The five products of a tile of queries and a block of keys (at `at` in the panels).
void tile_and_block(const BackwardUnit& u, const Buffers& b, const QueryTile& t, int64_t first_key,
                    int64_t keys, int64_t at) {
  const int64_t dim = u.head_dim, padded = padded_dim(dim), vecs = vecs_of(padded);
  const int64_t row_vecs = vecs_of(t.rows);
  product<false>({b.keys + at, padded, t.query_t, kRowTile, dim, b.scores, kRowTile}, keys,
                 row_vecs);
  product<false>({b.values + at, padded, t.dout_t, kRowTile, dim, b.dscores, kRowTile}, keys,
                 row_vecs);
  weights(t, b.scores, b.dscores, first_key, keys);
  product<false>({b.scores, kRowTile, t.dout, padded, t.rows, b.dvalues + at, padded, Start::sum},
                 keys, vecs);
  product<false>({b.dscores, kRowTile, t.query, padded, t.rows, b.dkeys + at, padded, Start::sum},
                 keys, vecs);
  product<true>({b.dscores, kRowTile, b.keys + at, padded, keys, t.dquery, padded, Start::sum},
                t.rows, vecs);
}

void keys(const BackwardUnit& u, int64_t first_key) {
  const Buffers b = buffers_of(u);
  const int64_t padded = padded_dim(u.head_dim), left = u.tokens - first_key;
  const int64_t count = left < kGradientKeys ? left : kGradientKeys;
  load_panel(u.k, first_key, count, u.head_dim, 1.0f, b.keys);
  load_panel(u.v, first_key, count, u.head_dim, 1.0f, b.values);
  for (int64_t i = 0; i < count * padded; i += kLanes) {
    store(b.dkeys + i, zero());
    store(b.dvalues + i, zero());
  }
  for (int64_t row = first_key; row < u.tokens; row += kRowTile) {
    const QueryTile t = load_tile(u, b, row);
    for (int64_t i = 0; i < count && first_key + i < row + t.rows; i += kKeyBlock) {
      const int64_t rest = count - i;
      tile_and_block(u, b, t, first_key + i, rest < kKeyBlock ? rest : kKeyBlock, i * padded);
    }
  }
}

/// Row `row` of a gradient: from[D] * scale, rounded to the output's dtype.
void write_gradient(const HeadRowsOut& m, int64_t row, const float* from, int64_t head_dim,
                    float scale) {
  const Vec s = set1(scale);
  with_type(m.dtype, [&](auto t) {
    using T = typename decltype(t)::type;
    T* to = static_cast<T*>(m.data) + row * m.stride;
    for_lanes(head_dim, [&](int64_t d, auto in) { store(to + d, mul(load(from + d), s), in); });
  });
}

/// share += or = into sum; the last one's total goes to the output.
void add_rows(float* share, int64_t rows, int64_t first_key, float* total, int64_t stride,
              const HeadRowsOut& out, int64_t head_dim, GroupTurn turn) {
  const int64_t padded = padded_dim(head_dim);
  for (int64_t r = 0; r < rows; ++r) {
    float *from = share + r * padded, *to = total + (first_key + r) * stride;
    if (!turn.first) {
      for (int64_t d = 0; d < padded; d += kLanes) {
        store(from + d, add(load(to + d), load(from + d)));
      }
    }
    if (turn.last) {
      write_gradient(out, first_key + r, from, head_dim, 1.0f);
    } else {
      for (int64_t d = 0; d < padded; d += kLanes) store(to + d, load(from + d));
    }
  }
}

void add_share(const BackwardUnit& u, int64_t first_key, GroupTurn turn) {
  const Buffers b = buffers_of(u);
  const int64_t left = u.tokens - first_key, rows = left < kGradientKeys ? left : kGradientKeys;
  add_rows(b.dkeys, rows, first_key, u.dk_sum, u.sum_stride, u.dk, u.head_dim, turn);
  add_rows(b.dvalues, rows, first_key, u.dv_sum, u.sum_stride, u.dv, u.head_dim, turn);
}

void finish(const BackwardUnit& u) {
  const Buffers b = buffers_of(u);
  for (int64_t t = 0; t < u.tokens; ++t) {
    write_gradient(u.dq, t, b.dquery + t * padded_dim(u.head_dim), u.head_dim, scale_of(u));
  }
}

}  // namespace

extern const AttentionBackwardKernels attention_backward_kernels = {scratch, begin, keys, add_share,
                                                                    finish};

}  // namespace cria::ops::CRIA_ISA
