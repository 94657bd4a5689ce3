// AdamW for all parameters at once, and the two halves of an exact master: all of a step in one pass over memory.
#include <vector>

#include "ops/cuda/launch.h"
#include "ops/cuda/launchers.h"
#include "ops/cuda/reduce.h"

namespace cria::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kSpan = int64_t{4} * 8 * kThreads;  // elements of a block

__device__ inline float join_halves(uint16_t upper, int16_t low) {
  return __uint_as_float((static_cast<uint32_t>(upper) << 16) +
                         static_cast<uint32_t>(static_cast<int32_t>(low)));
}
/// Rounded half up in magnitude, so that the rest always fits (adamw.h).
__device__ inline void split_halves(float value, uint16_t& upper, int16_t& low) {
  const uint32_t bits = __float_as_uint(value), rounded_up = (bits + 0x8000) >> 16;
  upper = static_cast<uint16_t>(rounded_up);
  low = static_cast<int16_t>(bits - (rounded_up << 16));
}

/// One parameter; `low` and `master` without data where it has none.
struct Param {
  Rows weight, low, master;
  ConstRows grad;
  Rows m, v;
  int64_t cols, blocks_in_row;
  int64_t first_block;
  float weight_decay;
};

/// Eight 16-bit patterns.
template <class Void>
__device__ inline void load8_bits(const BasicRows<Void>& r, int64_t row, int64_t col, int64_t cols,
                                  uint16_t (&x)[8]) {
  const auto* const from = static_cast<const uint16_t*>(r.data) + row * r.stride + col;
  if (!r.wide || col + 8 > cols) {
    for (int i = 0; i < 8; ++i) x[i] = col + i < cols ? from[i] : 0;
    return;
  }
  const uint4 all = *reinterpret_cast<const uint4*>(from);
  const uint32_t pairs[4] = {all.x, all.y, all.z, all.w};
  for (int i = 0; i < 8; ++i) x[i] = static_cast<uint16_t>(pairs[i / 2] >> 16 * (i % 2));
}
__device__ inline void store8_bits(const Rows& r, int64_t row, int64_t col, int64_t cols,
                                   const uint16_t (&x)[8]) {
  auto* const to = static_cast<uint16_t*>(r.data) + row * r.stride + col;
  if (!r.wide || col + 8 > cols) {
    for (int i = 0; i < 8; ++i) {
      if (col + i < cols) to[i] = x[i];
    }
    return;
  }
  uint32_t pairs[4];
  for (int i = 0; i < 4; ++i)
    pairs[i] = static_cast<uint32_t>(x[2 * i]) | static_cast<uint32_t>(x[2 * i + 1]) << 16;
  *reinterpret_cast<uint4*>(to) = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

/// The weights' f32 values, wherever they are kept.
__device__ inline void load_weights(const Param& p, int64_t row, int64_t col, float (&w)[8]) {
  if (p.low.data == nullptr) {
    load8(p.master.data != nullptr ? p.master : p.weight, row, col, p.cols, w);
    return;
  }
  uint16_t upper[8], low[8];
  load8_bits(p.weight, row, col, p.cols, upper);
  load8_bits(p.low, row, col, p.cols, low);
  for (int i = 0; i < 8; ++i) w[i] = join_halves(upper[i], static_cast<int16_t>(low[i]));
}
__device__ inline void store_weights(const Param& p, int64_t row, int64_t col,
                                     const float (&w)[8]) {
  if (p.low.data == nullptr) {
    if (p.master.data != nullptr) store8(p.master, row, col, p.cols, w);
    store8(p.weight, row, col, p.cols, w);
    return;
  }
  uint16_t upper[8], low[8];
  for (int i = 0; i < 8; ++i) {
    int16_t rest;
    split_halves(w[i], upper[i], rest);
    low[i] = static_cast<uint16_t>(rest);
  }
  store8_bits(p.weight, row, col, p.cols, upper);
  store8_bits(p.low, row, col, p.cols, low);
}

// A block for kSpan elements of a row of one of the parameters, which are ordered by their first blocks.
__global__ void __launch_bounds__(kThreads)
    step(const Param* params, int count, ops::AdamWFactors f) {
  const auto block = static_cast<int64_t>(blockIdx.x);
  int first = 0, end = count;  // the parameter lies in [first, end)
  while (end - first > 1) {
    const int middle = (first + end) / 2;
    (params[middle].first_block <= block ? first : end) = middle;
  }
  const Param& p = params[first];
  const int64_t row = (block - p.first_block) / p.blocks_in_row;
  const int64_t begin = (block - p.first_block) % p.blocks_in_row * kSpan;
  const int64_t stop = begin + kSpan < p.cols ? begin + kSpan : p.cols;
  for (int64_t c = begin + threadIdx.x * 8; c < stop; c += kThreads * 8) {
    float w[8], g[8], m[8], v[8];
    load_weights(p, row, c, w);
    load8(p.grad, row, c, p.cols, g);
    load8(p.m, row, c, p.cols, m);
    load8(p.v, row, c, p.cols, v);
    for (int i = 0; i < 8; ++i) {
      g[i] *= f.grad_scale;
      m[i] = f.beta1 * m[i] + (1.0f - f.beta1) * g[i];
      v[i] = f.beta2 * v[i] + (1.0f - f.beta2) * g[i] * g[i];
      const float change = m[i] * f.m_scale / (sqrtf(v[i]) * f.root_v_scale + f.eps);
      w[i] -= f.lr * (change + p.weight_decay * w[i]);
    }
    store8(p.m, row, c, p.cols, m);
    store8(p.v, row, c, p.cols, v);
    store_weights(p, row, c, w);
  }
}

__global__ void __launch_bounds__(kThreads)
    split(const float* f32, int64_t f32_stride, uint16_t* weight, int64_t weight_stride,
          int16_t* low, int64_t low_stride, int64_t rows, int64_t cols) {
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (c >= cols) return;
  for (int64_t r = blockIdx.y; r < rows; r += gridDim.y)
    split_halves(f32[r * f32_stride + c], weight[r * weight_stride + c], low[r * low_stride + c]);
}

__global__ void __launch_bounds__(kThreads)
    join(const uint16_t* weight, int64_t weight_stride, const int16_t* low, int64_t low_stride,
         float* f32, int64_t f32_stride, int64_t rows, int64_t cols) {
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (c >= cols) return;
  for (int64_t r = blockIdx.y; r < rows; r += gridDim.y)
    f32[r * f32_stride + c] = join_halves(weight[r * weight_stride + c], low[r * low_stride + c]);
}

dim3 grid_of(ConstView v) { return {blocks_for(v.cols, kThreads), grid_rows(v.rows), 1}; }

}  // namespace

void adamw(Stream& stream, std::span<const ops::AdamWParam> params,
           const ops::AdamWFactors& factors) {
  std::vector<Param> table;
  int64_t blocks = 0;
  for (const ops::AdamWParam& p : params) {
    if (p.weight.elements() == 0) continue;
    const int64_t blocks_in_row = blocks_for(p.weight.cols, kSpan);
    table.push_back({rows_of(p.weight), rows_of(p.low), rows_of(p.master), rows_of(p.grad),
                     rows_of(p.m), rows_of(p.v), p.weight.cols, blocks_in_row, blocks,
                     p.decays ? factors.weight_decay : 0.0f});
    blocks += p.weight.rows * blocks_in_row;
  }
  launch(step, static_cast<unsigned>(blocks), kThreads, 0, stream, stream.upload<Param>(table),
         static_cast<int>(table.size()), factors);
}

void split_master(Stream& stream, ConstView f32, View weight, View low) {
  launch(split, grid_of(f32), kThreads, 0, stream, static_cast<const float*>(f32.data), f32.stride,
         static_cast<uint16_t*>(weight.data), weight.stride, static_cast<int16_t*>(low.data),
         low.stride, f32.rows, f32.cols);
}

void join_master(Stream& stream, ConstView weight, ConstView low, View f32) {
  launch(join, grid_of(f32), kThreads, 0, stream, static_cast<const uint16_t*>(weight.data),
         weight.stride, static_cast<const int16_t*>(low.data), low.stride,
         static_cast<float*>(f32.data), f32.stride, f32.rows, f32.cols);
}

}  // namespace cria::cuda
