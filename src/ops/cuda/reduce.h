// Sums and maxima over a warp or a block, in an order that the number of threads fixes.
#pragma once

#include "ops/cuda/rows.h"

namespace cria::cuda {

constexpr unsigned kAllLanes = 0xffffffffu;

/// Every lane gets the sum.
template <class T>
__device__ inline T warp_sum(T x) {
  for (int step = kWarp / 2; step > 0; step /= 2) x += __shfl_xor_sync(kAllLanes, x, step);
  return x;
}
__device__ inline float warp_max(float x) {
  for (int step = kWarp / 2; step > 0; step /= 2) {
    x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, step));
  }
  return x;
}

/// Every thread of the block gets the sum. `space`: an element for each warp; it may be used again by the next call.
template <class T>
__device__ inline T block_sum(T x, SharedArray<T> space) {
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp,
            lane = static_cast<int>(threadIdx.x) % kWarp;
  x = warp_sum(x);
  __syncthreads();  // the last call's readers are done
  if (lane == 0) space[warp] = x;
  __syncthreads();
  T total = space[0];
  for (int w = 1; w < warps; ++w) total += static_cast<T>(space[w]);
  return total;
}
__device__ inline float block_max(float x, SharedArray<float> space) {
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp,
            lane = static_cast<int>(threadIdx.x) % kWarp;
  x = warp_max(x);
  __syncthreads();
  if (lane == 0) space[warp] = x;
  __syncthreads();
  float most = space[0];
  for (int w = 1; w < warps; ++w) most = fmaxf(most, space[w]);
  return most;
}

/// Blocks that cover `count` things, so many each.
inline unsigned blocks_for(int64_t count, int64_t each) {
  return static_cast<unsigned>((count + each - 1) / each);
}

/// Of a grid whose blocks go on to further rows by gridDim.y.
inline unsigned grid_rows(int64_t rows) {
  constexpr int64_t most = 65535;  // CUDA's limit
  return static_cast<unsigned>(rows < most ? rows : most);
}

/// Rows that lie end to end, as one: then no block has a row's end to care for.
template <class Void>
BasicView<Void> one_row(BasicView<Void> v) {
  return {v.data, v.dtype, v.elements() > 0 ? 1 : 0, v.elements()};
}

}  // namespace cria::cuda
