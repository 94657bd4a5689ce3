// Sums of squares of rows, in f64: a block for each row, threads in a fixed order. Then the rows' sums without rounding, as
// base/exact_sum.h has them: whole numbers, whose order does not matter.
#include "ops/cuda/launch.h"
#include "ops/cuda/launchers.h"
#include "ops/cuda/reduce.h"

namespace cria::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kLimbs = ExactSum::kLimbs;
constexpr int64_t kDigitMask = 0xffffffff;
constexpr int64_t kMostBlocks = 128;  // that add rows up

__global__ void __launch_bounds__(kThreads) row_squares(ConstRows x, int64_t cols, double* sums) {
  const int64_t row = blockIdx.x;
  const auto space = shared_array<double>(0, kThreads / kWarp);
  double sum = 0;
  float v[8];
  for (int64_t c = threadIdx.x * 8; c < cols; c += kThreads * 8) {
    load8(x, row, c, cols, v);
    for (int i = 0; i < 8; ++i) sum += static_cast<double>(v[i]) * static_cast<double>(v[i]);
  }
  sum = block_sum(sum, space);
  if (threadIdx.x == 0) sums[row] = sum;
}

/// A sum of squares, which has no sign, onto the digits that it touches (ExactSum::add).
__device__ inline void add_to(SharedArray<int64_t> limbs, double x) {
  const uint64_t bits = double_bits(x);
  const auto exponent = static_cast<int>(bits >> 52 & 0x7ff);
  auto fraction = static_cast<int64_t>(bits & 0xfffffffffffff);
  if (exponent == 0x7ff) {
    atomic_add(limbs, fraction != 0 ? ExactSum::kNan : ExactSum::kPlusInfinity, 1);
    return;
  }
  if (exponent > 0) fraction |= int64_t{1} << 52;
  const int position = exponent > 0 ? exponent - 1 : 0;
  const int64_t low = (fraction & kDigitMask) << position % 32;
  const int64_t high = (fraction >> 32) << position % 32;
  const int digit = position / 32;
  atomic_add(limbs, digit, low & kDigitMask);
  atomic_add(limbs, digit + 1, (low >> 32) + (high & kDigitMask));
  atomic_add(limbs, digit + 2, high >> 32);
}

// parts[block] = the limbs of its rows' sum.
__global__ void __launch_bounds__(kThreads)
    add_rows(const double* sums, int64_t rows, int64_t* parts) {
  const int thread = static_cast<int>(threadIdx.x);
  const auto limbs = shared_array<int64_t>(0, kLimbs);
  if (thread < kLimbs) limbs[thread] = 0;
  __syncthreads();
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + thread; row < rows;
       row += static_cast<int64_t>(gridDim.x) * kThreads)
    add_to(limbs, sums[row]);
  __syncthreads();
  if (thread < kLimbs) parts[static_cast<int64_t>(blockIdx.x) * kLimbs + thread] = limbs[thread];
}

// One block: all parts, with carries moved up.
__global__ void __launch_bounds__(kThreads)
    add_parts(const int64_t* parts, int64_t count, int64_t* total) {
  const int thread = static_cast<int>(threadIdx.x);
  const auto limbs = shared_array<int64_t>(0, kLimbs);
  if (thread < kLimbs) {
    int64_t sum = 0;
    for (int64_t part = 0; part < count; ++part) sum += parts[part * kLimbs + thread];
    limbs[thread] = sum;
  }
  __syncthreads();
  if (thread != 0) return;
  int64_t carry = 0;
  for (int i = 0; i < kLimbs; ++i) {
    const int64_t sum = limbs[i] + (i < ExactSum::kDigits ? carry : 0);
    const bool carries = i + 1 < ExactSum::kDigits;
    total[i] = carries ? sum & kDigitMask : sum;
    if (carries) carry = sum >> 32;
  }
}

}  // namespace

void add_squares(Stream& stream, std::span<const ConstView> xs, int64_t* limbs) {
  int64_t rows = 0;
  for (const ConstView x : xs) rows += x.rows;
  auto* const sums = stream.scratch<double>(rows);
  double* at = sums;
  for (const ConstView x : xs) {
    launch(row_squares, blocks_for(x.rows, 1), kThreads, kThreads / kWarp * 8, stream, rows_of(x),
           x.cols, at);
    at += x.rows;
  }
  const int64_t wanted = blocks_for(rows, kThreads);
  const int64_t blocks = wanted < kMostBlocks ? wanted : kMostBlocks;
  auto* const parts = stream.scratch<int64_t>(blocks * kLimbs);
  launch(add_rows, static_cast<unsigned>(blocks), kThreads, kLimbs * 8, stream, sums, rows, parts);
  launch(add_parts, 1, kThreads, kLimbs * 8, stream, parts, blocks, limbs);
}

}  // namespace cria::cuda
