// Attention's gradients in three passes without atomic additions, so that sums have one order: delta[t, h] = dout . out; dq, a
// block for some rows over the keys they see; dk and dv, a block for some keys over the rows that see them. Scores are made
// again in both. Any head_dim and any mix of dtypes; what tensor cores can do goes to attention_backward_mma_cuda.cu.
#include "ops/cuda/attention_mma.h"
#include "ops/cuda/attention_tiles.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/launchers.h"
#include "ops/cuda/reduce.h"

namespace cria::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
constexpr int kOwnOfWarp = 4;
constexpr int kOwn = kWarps * kOwnOfWarp;  // rows (keys) whose gradient a block makes
constexpr int kOther = kWarp;              // keys (rows) that it meets at a time, one a lane
constexpr int kDims = kMostHeadDim / kWarp;

struct Inputs {
  ConstRows q, dout;
  const float *lse, *delta;
  int64_t lse_stride, delta_stride;
};

// A warp for each (token, head).
__global__ void __launch_bounds__(kThreads)
    output_dots(ConstRows out, ConstRows dout, int64_t tokens, int64_t heads, int dim,
                float* delta) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (i >= tokens * heads) return;
  const int64_t token = i / heads, col = i % heads * dim;
  float sum = 0;
  for (int d = lane; d < dim; d += kWarp) {
    sum += load_one(out.data, out.type, token * out.stride + col + d) *
           load_one(dout.data, dout.type, token * dout.stride + col + d);
  }
  sum = warp_sum(sum);
  if (lane == 0) delta[i] = sum;
}

/// Two matrices of what the block owns [kOwn, D] and two of what it meets [kOther, D + 1], and two numbers for each row met.
struct Shared {
  SharedArray<float> own_a, own_b, other_a, other_b, lse, delta;
  __device__ explicit Shared(int dim)
      : own_a(shared_array<float>(0, kOwn * dim)),
        own_b(shared_array<float>(kOwn * dim * 4, kOwn * dim)),
        other_a(shared_array<float>(kOwn * dim * 8, kOther * (dim + 1))),
        other_b(shared_array<float>(kOwn * dim * 8 + kOther * (dim + 1) * 4, kOther * (dim + 1))),
        lse(shared_array<float>(kOwn * dim * 8 + kOther * (dim + 1) * 8, kOther)),
        delta(shared_array<float>(kOwn * dim * 8 + kOther * (dim + 1) * 8 + kOther * 4, kOther)) {}
  static int bytes(int dim) { return kOwn * dim * 8 + kOther * (dim + 1) * 8 + kOther * 8; }
};

/// Rows [begin, begin + count) of q and dout into [count, stride]; zeros beyond `end`.
__device__ inline void load_query_rows(SharedArray<float> a, SharedArray<float> b, int stride,
                                       int count, const Inputs& in, const Sequence& s, int kv_head,
                                       int64_t begin, int64_t end, const AttentionShape& shape) {
  for (int i = threadIdx.x; i < count * shape.dim; i += kThreads) {
    const int r = i / shape.dim, d = i % shape.dim;
    const int64_t row = begin + r, token = query_row(s, row, shape.group);
    const int64_t col = query_col(row, kv_head, shape.group, shape.dim) + d;
    const bool there = row < end;
    a[r * stride + d] =
        there ? load_one(in.q.data, in.q.type, token * in.q.stride + col) * shape.scale : 0.0f;
    b[r * stride + d] =
        there ? load_one(in.dout.data, in.dout.type, token * in.dout.stride + col) : 0.0f;
  }
}
__device__ inline void load_key_rows(SharedArray<float> a, SharedArray<float> b, int stride,
                                     int count, const Sequence& s, int kv_head, int64_t begin,
                                     int64_t end, int dim) {
  for (int i = threadIdx.x; i < count * dim; i += kThreads) {
    const int j = i / dim, d = i % dim;
    const bool there = begin + j < end;
    const int64_t k_at = kv_head * s.k_head + (begin + j) * s.k_stride + d;
    const int64_t v_at = kv_head * s.v_head + (begin + j) * s.v_stride + d;
    a[j * stride + d] = there ? load_one(s.k, s.k_type, k_at) : 0.0f;
    b[j * stride + d] = there ? load_one(s.v, s.v_type, v_at) : 0.0f;
  }
}

/// Of one owned row and this lane's other: the score's dot product, and dout . v.
struct Dots {
  float score = 0, weight = 0;
};
__device__ inline Dots dots(const Shared& shared, int own, int lane, int dim) {
  Dots r;
  for (int d = 0; d < dim; ++d) {
    r.score += shared.own_a[own * dim + d] * shared.other_a[lane * (dim + 1) + d];
    r.weight += shared.own_b[own * dim + d] * shared.other_b[lane * (dim + 1) + d];
  }
  return r;
}

/// sums[d] += sum over lanes of their number times their row of `rows`.
__device__ inline void add_weighted(float (&sums)[kDims], float number, SharedArray<float> rows,
                                    int dim) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int j = 0; j < kOther; ++j) {
    const float n = __shfl_sync(kAllLanes, number, j);
#pragma unroll
    for (int i = 0; i < kDims; ++i) {
      const int d = lane + i * kWarp;
      if (d < dim) sums[i] += n * rows[j * (dim + 1) + d];
    }
  }
}

// A tile of rows over all their keys. Grid: tiles x KV heads.
__global__ void __launch_bounds__(kThreads)
    query_gradient(const Sequence* sequences, const Tile* tiles, Inputs in, AttentionShape shape,
                   Rows dq) {
  const Tile tile = tiles[blockIdx.x];
  const Sequence s = sequences[tile.sequence];
  const int kv_head = static_cast<int>(blockIdx.y), warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, dim = shape.dim;
  const Shared shared(dim);
  load_query_rows(shared.own_a, shared.own_b, dim, kOwn, in, s, kv_head, tile.begin,
                  tile.begin + tile.count, shape);
  const int64_t keys = (tile.begin + tile.count - 1) / shape.group + 1;
  float sums[kOwnOfWarp][kDims] = {};
  for (int64_t key = 0; key < keys; key += kOther) {
    __syncthreads();
    load_key_rows(shared.other_a, shared.other_b, dim + 1, kOther, s, kv_head, key, keys, dim);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kOwnOfWarp; ++i) {
      const int own = warp * kOwnOfWarp + i;
      const int64_t row = tile.begin + own, last = row / shape.group;
      if (own >= tile.count || key > last) continue;
      const int64_t token = query_row(s, row, shape.group);
      const int64_t head = query_head(row, kv_head, shape.group);
      const Dots dot = dots(shared, own, lane, dim);
      const float p =
          key + lane <= last ? expf(dot.score - in.lse[token * in.lse_stride + head]) : 0.0f;
      const float dscore =
          p * (dot.weight - in.delta[token * in.delta_stride + head]) * shape.scale;
      add_weighted(sums[i], dscore, shared.other_a, dim);
    }
  }
#pragma unroll
  for (int i = 0; i < kOwnOfWarp; ++i) {
    const int own = warp * kOwnOfWarp + i;
    if (own >= tile.count) continue;
    const int64_t row = tile.begin + own;
    const int64_t at =
        query_row(s, row, shape.group) * dq.stride + query_col(row, kv_head, shape.group, dim);
#pragma unroll
    for (int n = 0; n < kDims; ++n) {
      if (lane + n * kWarp < dim) store_one(dq.data, dq.type, at + lane + n * kWarp, sums[i][n]);
    }
  }
}

// A tile of keys over all rows that see them. Grid: tiles x KV heads.
__global__ void __launch_bounds__(kThreads)
    key_gradient(const Sequence* sequences, const Tile* tiles, Inputs in, AttentionShape shape,
                 Rows dk, Rows dv) {
  const Tile tile = tiles[blockIdx.x];
  const Sequence s = sequences[tile.sequence];
  const int kv_head = static_cast<int>(blockIdx.y), warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, dim = shape.dim;
  const Shared shared(dim);
  load_key_rows(shared.own_a, shared.own_b, dim, kOwn, s, kv_head, tile.begin,
                tile.begin + tile.count, dim);
  const int64_t rows = s.count * shape.group;
  float dk_sums[kOwnOfWarp][kDims] = {}, dv_sums[kOwnOfWarp][kDims] = {};
  for (int64_t first = int64_t{tile.begin} * shape.group; first < rows; first += kOther) {
    __syncthreads();
    load_query_rows(shared.other_a, shared.other_b, dim + 1, kOther, in, s, kv_head, first, rows,
                    shape);
    if (threadIdx.x < kOther) {
      const int64_t row = first + threadIdx.x, token = query_row(s, row, shape.group);
      const int64_t head = query_head(row, kv_head, shape.group);
      shared.lse[threadIdx.x] = row < rows ? in.lse[token * in.lse_stride + head] : 0.0f;
      shared.delta[threadIdx.x] = row < rows ? in.delta[token * in.delta_stride + head] : 0.0f;
    }
    __syncthreads();
    const int64_t row = first + lane;
#pragma unroll
    for (int i = 0; i < kOwnOfWarp; ++i) {
      const int own = warp * kOwnOfWarp + i;
      if (own >= tile.count) continue;
      const bool sees = row < rows && row / shape.group >= tile.begin + own;
      const Dots dot = dots(shared, own, lane, dim);
      const float p = sees ? expf(dot.score - shared.lse[lane]) : 0.0f;
      // The rows in shared memory are scaled already.
      add_weighted(dk_sums[i], p * (dot.weight - shared.delta[lane]), shared.other_a, dim);
      add_weighted(dv_sums[i], p, shared.other_b, dim);
    }
  }
#pragma unroll
  for (int i = 0; i < kOwnOfWarp; ++i) {
    const int own = warp * kOwnOfWarp + i;
    if (own >= tile.count) continue;
    const int64_t token = s.first_row + tile.begin + own;
#pragma unroll
    for (int n = 0; n < kDims; ++n) {
      const int d = lane + n * kWarp;
      if (d >= dim) continue;
      store_one(dk.data, dk.type, token * dk.stride + kv_head * dim + d, dk_sums[i][n]);
      store_one(dv.data, dv.type, token * dv.stride + kv_head * dim + d, dv_sums[i][n]);
    }
  }
}

}  // namespace

void attention_backward(Stream& stream, ConstView q, ConstView k, ConstView v, ConstView out,
                        ConstView lse, ConstView dout, std::span<const int64_t> documents,
                        const ops::HeadShape& heads, View dq, View dk, View dv) {
  const std::vector<Sequence> sequences = document_sequences(k, v, documents, heads);
  if (sequences.empty()) return;
  const AttentionShape shape = attention_shape(heads);
  auto* const delta = stream.scratch<float>(q.rows * heads.heads);
  launch(output_dots, blocks_for(q.rows * heads.heads, kWarps), kThreads, 0, stream, rows_of(out),
         rows_of(dout), q.rows, heads.heads, shape.dim, delta);
  if (mma_fits(heads, q.dtype, sequences) && dout.dtype == q.dtype)
    return attention_backward_mma(stream, sequences, q, lse, delta, dout, heads, dq, dk, dv);
  const std::vector<Tile> rows = cut_tiles(sequences, shape.group, kOwn);
  const std::vector<Tile> keys = cut_tiles(sequences, 1, kOwn);
  const Sequence* const s = stream.upload(std::span<const Sequence>(sequences));
  const Inputs in{rows_of(q), rows_of(dout), static_cast<const float*>(lse.data),
                  delta,      lse.stride,    heads.heads};
  const auto kv_heads = static_cast<unsigned>(heads.kv_heads);
  launch(query_gradient, dim3(static_cast<unsigned>(rows.size()), kv_heads), kThreads,
         Shared::bytes(shape.dim), stream, s, stream.upload(std::span<const Tile>(rows)), in, shape,
         rows_of(dq));
  launch(key_gradient, dim3(static_cast<unsigned>(keys.size()), kv_heads), kThreads,
         Shared::bytes(shape.dim), stream, s, stream.upload(std::span<const Tile>(keys)), in, shape,
         rows_of(dk), rows_of(dv));
}

}  // namespace cria::cuda
