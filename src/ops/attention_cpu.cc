// Attention forward, one instruction-set level: blocks of keys against tiles of rows, scores never
// larger than one block x tile. Scores are kept transposed, [key, row]: softmax then runs down the
// lanes, one row in each, and needs no sum across a vector.
#include <math.h>

#include "ops/attention_tiles.h"

namespace cria::ops::CRIA_ISA {
namespace {

/// One tile of up to kRowTile rows of a unit.
struct Tile {
  const ForwardUnit& unit;
  int64_t row, rows;   // its rows in the unit
  const float* query;  // [D, kRowTile] scaled and transposed
  Running total, part;
  [[nodiscard]] int64_t first_position() const { return unit.first_position + row / unit.group; }
  [[nodiscard]] int64_t last_position() const {
    return unit.first_position + (row + rows - 1) / unit.group;
  }
};

/// Where a unit's scratch memory begins; the sizes in forward_scratch.
struct Buffers {
  float *keys, *values, *scores, *factor, *staging, *tiles;
};

int64_t floats_per_tile(int64_t head_dim) {
  return head_dim * kRowTile + 2 * kRowTile * padded_dim(head_dim) + 4 * kRowTile;
}

int64_t forward_scratch(int64_t rows, int64_t head_dim) {
  const int64_t panel = kKeyBlock * padded_dim(head_dim);
  return 3 * panel + kKeyBlock * kRowTile + kRowTile +
         (rows + kRowTile - 1) / kRowTile * floats_per_tile(head_dim);
}

Buffers buffers_of(const ForwardUnit& u) {
  const int64_t panel = kKeyBlock * padded_dim(u.head_dim);
  Buffers b{};
  b.keys = u.scratch;
  b.values = b.keys + panel;
  b.staging = b.values + panel;
  b.scores = b.staging + panel;
  b.factor = b.scores + kKeyBlock * kRowTile;
  b.tiles = b.factor + kRowTile;
  return b;
}

Tile make_tile(const ForwardUnit& u, int64_t row, const Buffers& b) {
  const int64_t padded = padded_dim(u.head_dim), left = u.queries * u.group - row;
  float* p = b.tiles + row / kRowTile * floats_per_tile(u.head_dim);
  Tile t{u, row, left < kRowTile ? left : kRowTile, p, {}, {}};
  p += u.head_dim * kRowTile;
  t.total.values = p, p += kRowTile * padded;
  t.part.values = p, p += kRowTile * padded;
  t.total.largest = p, p += kRowTile;
  t.total.weight = p, p += kRowTile;
  t.part.largest = p, p += kRowTile;
  t.part.weight = p;
  return t;
}

void start_tile(const Tile& t, float* staging) {
  const ForwardUnit& u = t.unit;
  const int64_t padded = padded_dim(u.head_dim);
  const float scale = 1.0f / sqrtf(static_cast<float>(u.head_dim));
  for (int64_t r = 0; r < t.rows; ++r) {
    const int64_t query = (t.row + r) / u.group, head = (t.row + r) % u.group;
    HeadRows one = u.q;
    const int64_t at = query * u.q.stride + head * u.head_dim;
    one.data = static_cast<const char*>(u.q.data) + at * (u.q.dtype == DType::f32 ? 4 : 2);
    load_panel(one, 0, 1, u.head_dim, scale, staging + r * padded);
  }
  transpose_panel(staging, t.rows, u.head_dim, const_cast<float*>(t.query));
  reset(t.total, kRowTile, padded);
}

/// Turns the scores of one vector of rows into weights and moves the running maximum and sum along.
/// `hidden(key)` rows at the front may not see the key.
template <bool kDiagonal, class Hidden>
inline void softmax_column(float* scores, int64_t keys, float* largest, float* weight,
                           float* factor, Hidden hidden) {
  const Vec before = load(largest);
  Vec m = before;
  for (int64_t j = 0; j < keys; ++j) {
    Vec s = load(scores + j * kRowTile);
    if constexpr (kDiagonal) s = select(hidden(j), set1(kHidden), s);
    m = max(m, s);
  }
  Vec sums[4] = {zero(), zero(), zero(), zero()};
  for (int64_t j = 0; j < keys; ++j) {
    Vec p = exp(sub(load(scores + j * kRowTile), m));
    if constexpr (kDiagonal) p = select(hidden(j), zero(), p);
    store(scores + j * kRowTile, p);
    sums[j % 4] = add(sums[j % 4], p);
  }
  const Vec f = exp(sub(before, m));
  const Vec sum = add(add(sums[0], sums[2]), add(sums[1], sums[3]));
  store(largest, m);
  store(weight, fma(load(weight), f, sum));
  store(factor, f);
}

void softmax(const Tile& t, const Running& state, float* scores, float* factor, int64_t first_key,
             int64_t keys) {
  const bool diagonal = first_key + keys - 1 > t.first_position();
  for (int64_t lane = 0; lane < t.rows; lane += kLanes) {
    const auto hidden = [&](int64_t j) {
      const int64_t n = (first_key + j - t.unit.first_position) * t.unit.group - t.row - lane;
      return first(n > 0 ? n : 0);
    };
    float* s = scores + lane;
    float *largest = state.largest + lane, *weight = state.weight + lane;
    if (diagonal) {
      softmax_column<true>(s, keys, largest, weight, factor + lane, hidden);
    } else {
      softmax_column<false>(s, keys, largest, weight, factor + lane, hidden);
    }
  }
}

void key_block(const Tile& t, const Buffers& b, int64_t first_key) {
  const int64_t visible = t.last_position() + 1 - first_key;
  const int64_t keys = visible < kKeyBlock ? visible : kKeyBlock;
  const int64_t padded = padded_dim(t.unit.head_dim);
  const Running& state = first_key < kKeySpan ? t.total : t.part;
  if (first_key > 0 && first_key % kKeySpan == 0) {
    if (first_key > kKeySpan) combine(t.total, t.part, t.rows, padded);
    reset(t.part, kRowTile, padded);
  }
  product<false>({b.keys, padded, t.query, kRowTile, t.unit.head_dim, b.scores, kRowTile}, keys,
                 vecs_of(t.rows));
  softmax(t, state, b.scores, b.factor, first_key, keys);
  product<true>(
      {b.scores, kRowTile, b.values, padded, keys, state.values, padded, Start::scaled, b.factor},
      t.rows, vecs_of(padded));
}

void finish_tile(const Tile& t) {
  const ForwardUnit& u = t.unit;
  if (t.last_position() >= kKeySpan) combine(t.total, t.part, t.rows, padded_dim(u.head_dim));
  for (int64_t r = 0; r < t.rows; ++r) {
    const int64_t query = (t.row + r) / u.group, head = (t.row + r) % u.group;
    write_row(t.total, r, u.head_dim, u.out.dtype, u.out.data,
              query * u.out.stride + head * u.head_dim);
    if (u.lse != nullptr) {
      u.lse[query * u.lse_stride + head] = t.total.largest[r] + logf(t.total.weight[r]);
    }
  }
}

void forward(const ForwardUnit& u) {
  const Buffers b = buffers_of(u);
  const int64_t rows = u.queries * u.group, keys = u.first_position + u.queries;
  for (int64_t row = 0; row < rows; row += kRowTile) start_tile(make_tile(u, row, b), b.staging);
  for (int64_t key = 0; key < keys; key += kKeyBlock) {
    const int64_t count = keys - key < kKeyBlock ? keys - key : kKeyBlock;
    load_panel(u.k, key, count, u.head_dim, 1.0f, b.keys);
    load_panel(u.v, key, count, u.head_dim, 1.0f, b.values);
    for (int64_t row = 0; row < rows; row += kRowTile) {
      const Tile t = make_tile(u, row, b);
      if (key <= t.last_position()) key_block(t, b, key);
    }
  }
  for (int64_t row = 0; row < rows; row += kRowTile) finish_tile(make_tile(u, row, b));
}

}  // namespace

extern const AttentionKernels attention_kernels = {forward_scratch, forward};

}  // namespace cria::ops::CRIA_ISA
