// AdamW and the two halves of an exact master: one element a thread, all of a step in one pass over memory.
#include "ops/cuda/launchers.h"
#include "ops/cuda/reduce.h"

namespace cria::cuda {
namespace {

constexpr int kThreads = 256;

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

/// One parameter; `low` and `master` null where it has none.
struct Param {
  Rows weight;
  int16_t* low;
  float* master;
  const float* grad;
  float *m, *v;
  int64_t low_stride, master_stride, grad_stride, m_stride, v_stride;
};

__global__ void __launch_bounds__(kThreads)
    step(Param p, ops::AdamWFactors f, int64_t rows, int64_t cols) {
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (c >= cols) return;
  for (int64_t r = blockIdx.y; r < rows; r += gridDim.y) {
    const int64_t at = r * p.weight.stride + c;
    auto* const halves = static_cast<uint16_t*>(p.weight.data);
    int16_t* const low = p.low + r * p.low_stride + c;
    float* const master = p.master + r * p.master_stride + c;
    float w;
    if (p.low != nullptr) {
      w = join_halves(halves[at], *low);
    } else {
      w = p.master != nullptr ? *master : load_one(p.weight.data, p.weight.type, at);
    }
    const float g = p.grad[r * p.grad_stride + c] * f.grad_scale;
    float* const m_at = p.m + r * p.m_stride + c;
    float* const v_at = p.v + r * p.v_stride + c;
    const float m = f.beta1 * *m_at + (1.0f - f.beta1) * g;
    const float v = f.beta2 * *v_at + (1.0f - f.beta2) * g * g;
    *m_at = m;
    *v_at = v;
    w -= f.lr * (m * f.m_scale / (sqrtf(v) * f.root_v_scale + f.eps) + f.weight_decay * w);
    if (p.low != nullptr) {
      split_halves(w, halves[at], *low);
    } else {
      if (p.master != nullptr) *master = w;
      store_one(p.weight.data, p.weight.type, at, w);
    }
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

void adamw(Stream& stream, const ops::AdamWParam& p, const ops::AdamWFactors& factors) {
  const Param param{rows_of(p.weight),
                    static_cast<int16_t*>(p.low.data),
                    static_cast<float*>(p.master.data),
                    static_cast<const float*>(p.grad.data),
                    static_cast<float*>(p.m.data),
                    static_cast<float*>(p.v.data),
                    p.low.stride,
                    p.master.stride,
                    p.grad.stride,
                    p.m.stride,
                    p.v.stride};
  launch(step, grid_of(p.weight), kThreads, 0, stream.handle(), param, factors, p.weight.rows,
         p.weight.cols);
}

void split_master(Stream& stream, ConstView f32, View weight, View low) {
  launch(split, grid_of(f32), kThreads, 0, stream.handle(), static_cast<const float*>(f32.data),
         f32.stride, static_cast<uint16_t*>(weight.data), weight.stride,
         static_cast<int16_t*>(low.data), low.stride, f32.rows, f32.cols);
}

void join_master(Stream& stream, ConstView weight, ConstView low, View f32) {
  launch(join, grid_of(f32), kThreads, 0, stream.handle(),
         static_cast<const uint16_t*>(weight.data), weight.stride,
         static_cast<const int16_t*>(low.data), low.stride, static_cast<float*>(f32.data),
         f32.stride, f32.rows, f32.cols);
}

}  // namespace cria::cuda
