// The head's loss in chunks of trained tokens: logits by cuBLASLt, then one kernel that turns a row into its loss and its
// gradient, then the two products of backward.
#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/cuda/launch.h"
#include "ops/cuda/launchers.h"
#include "ops/cuda/reduce.h"

namespace cria::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kStep = kThreads * 8;
constexpr int kSpace = kThreads / kWarp * 4;

/// What all rows of a chunk share.
struct Chunk {
  Rows logits;
  int64_t vocab;
  bool round_to_f16;
  const int32_t*
      targets;  // of each row, counted from the vocabulary's first row here; outside it: elsewhere
  bool wanted;  // logits become gradients
  float scale;
};

__device__ inline void load_logits(const Chunk& c, int64_t row, int64_t col, float (&x)[8]) {
  load8(c.logits, row, col, c.vocab, x);
  if (!c.round_to_f16) return;
  for (int i = 0; i < 8; ++i) x[i] = rounded(x[i], DType::f16);
}

/// logits = (exp(logits - most) / sum - onehot) * scale
__device__ inline void write_gradient(const Chunk& c, int64_t row, float most, float sum) {
  float x[8];
  const int64_t target = c.targets[row];
  const float factor = c.scale / sum;
  for (int64_t col = threadIdx.x * 8; col < c.vocab; col += kStep) {
    load_logits(c, row, col, x);
    for (int i = 0; i < 8; ++i) {
      x[i] = expf(x[i] - most) * factor;
      if (col + i == target) x[i] -= c.scale;
    }
    store8(c.logits, row, col, c.vocab, x);
  }
}

/// Largest and sum of exponentials of a row, in one pass over memory.
struct Softmax {
  float most, sum;
};
__device__ inline Softmax softmax_of(const Chunk& c, int64_t row, SharedArray<float> space) {
  float most = -INFINITY, sum = 0, x[8];
  for (int64_t col = threadIdx.x * 8; col < c.vocab; col += kStep) {
    load_logits(c, row, col, x);
    float larger = most;
    for (int i = 0; i < 8; ++i) {
      if (col + i < c.vocab) larger = fmaxf(larger, x[i]);
    }
    if (larger > most) {
      sum *= expf(most - larger);
      most = larger;
    }
    for (int i = 0; i < 8; ++i) {
      if (col + i < c.vocab) sum += expf(x[i] - most);
    }
  }
  const float all = block_max(most, space);
  sum = block_sum(sum == 0 ? 0.0f : sum * expf(most - all), space);
  return {all, sum};
}

// A block for each row.
__global__ void __launch_bounds__(kThreads) losses(Chunk c, float* row_loss) {
  const int64_t row = blockIdx.x;
  const Softmax softmax = softmax_of(c, row, shared_array<float>(0, kThreads / kWarp));
  if (threadIdx.x == 0) {
    float logit = load_one(c.logits.data, c.logits.type, row * c.logits.stride + c.targets[row]);
    if (c.round_to_f16) logit = rounded(logit, DType::f16);
    row_loss[row] = logf(softmax.sum) - (logit - softmax.most);
  }
  __syncthreads();  // the target's logit is read before it becomes a gradient
  if (c.wanted) write_gradient(c, row, softmax.most, softmax.sum);
}

// With a vocabulary over several ranks: the largest logit here,
__global__ void __launch_bounds__(kThreads) largest(Chunk c, float* most) {
  const int64_t row = blockIdx.x;
  const auto space = shared_array<float>(0, kThreads / kWarp);
  float x[8], m = -INFINITY;
  for (int64_t col = threadIdx.x * 8; col < c.vocab; col += kStep) {
    load_logits(c, row, col, x);
    for (int i = 0; i < 8; ++i) {
      if (col + i < c.vocab) m = fmaxf(m, x[i]);
    }
  }
  m = block_max(m, space);
  if (threadIdx.x == 0) most[row] = m;
}

// sums[row] = the exponentials here, sums[rows + row] = the target's logit - most, if it is here,
__global__ void __launch_bounds__(kThreads)
    split_sums(Chunk c, const float* most, double* sums, int64_t rows) {
  const int64_t row = blockIdx.x, target = c.targets[row];
  const auto space = shared_array<float>(0, kThreads / kWarp);
  float x[8], sum = 0;
  for (int64_t col = threadIdx.x * 8; col < c.vocab; col += kStep) {
    load_logits(c, row, col, x);
    for (int i = 0; i < 8; ++i) {
      if (col + i < c.vocab) sum += expf(x[i] - most[row]);
    }
  }
  sum = block_sum(sum, space);
  if (threadIdx.x != 0) return;
  sums[row] = static_cast<double>(sum);
  float logit = 0;
  if (target >= 0 && target < c.vocab) {
    logit = load_one(c.logits.data, c.logits.type, row * c.logits.stride + target);
    if (c.round_to_f16) logit = rounded(logit, DType::f16);
    logit -= most[row];
  }
  sums[rows + row] = static_cast<double>(logit);
}

// and, with the sums of all ranks, losses and gradients.
__global__ void __launch_bounds__(kThreads)
    split_losses(Chunk c, const float* most, const double* sums, int64_t rows, float* row_loss) {
  const int64_t row = blockIdx.x;
  const auto sum = static_cast<float>(sums[row]);
  if (threadIdx.x == 0) row_loss[row] = logf(sum) - static_cast<float>(sums[rows + row]);
  if (c.wanted) write_gradient(c, row, most[row], sum);
}

// to[i] = from[rows[i]], or to[rows[i]] = from[i]
__global__ void __launch_bounds__(kThreads) move_rows(ConstRows from, const int64_t* rows, Rows to,
                                                      int64_t count, int64_t cols, bool gather) {
  const int64_t col = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * 8;
  if (col >= cols) return;
  float x[8];
  for (int64_t i = blockIdx.y; i < count; i += gridDim.y) {
    load8(from, gather ? rows[i] : i, col, cols, x);
    store8(to, gather ? i : rows[i], col, cols, x);
  }
}

void run_losses(Stream& stream, const Chunk& c, int64_t rows, const ops::VocabSplit* split,
                float* row_loss) {
  const unsigned blocks = blocks_for(rows, 1);
  if (split == nullptr) return launch(losses, blocks, kThreads, kSpace, stream, c, row_loss);
  std::vector<float> most(static_cast<size_t>(rows));
  std::vector<double> sums(2 * static_cast<size_t>(rows));
  auto* const most_here = stream.scratch<float>(rows);
  auto* const sums_here = stream.scratch<double>(2 * rows);
  launch(largest, blocks, kThreads, kSpace, stream, c, most_here);
  stream.download(most_here, std::span<float>(most));
  split->max(most);
  const float* const most_all = stream.upload(std::span<const float>(most));
  launch(split_sums, blocks, kThreads, kSpace, stream, c, most_all, sums_here, rows);
  stream.download(sums_here, std::span<double>(sums));
  split->sum(sums);
  launch(split_losses, blocks, kThreads, 0, stream, c, most_all,
         stream.upload(std::span<const double>(sums)), rows, row_loss);
}

/// One call's matrices.
struct Head {
  ConstView x, w;
  const ops::HeadGradients& gradients;
  const ops::VocabSplit* split;
  View logits, x_space, dx_space;
};

bool neighbours(std::span<const int64_t> rows) {
  return rows.back() - rows.front() + 1 == static_cast<int64_t>(rows.size());
}

void move(Stream& stream, ConstView from, const int64_t* rows, View to, int64_t count,
          bool gather) {
  launch(move_rows, dim3(blocks_for(from.cols, kStep), grid_rows(count)), kThreads, 0, stream,
         rows_of(from), rows, rows_of(to), count, from.cols, gather);
}

void run_chunk(Stream& stream, Blas& blas, const Head& head, std::span<const int64_t> rows,
               std::span<const int32_t> targets, bool first, float* row_loss) {
  const auto count = static_cast<int64_t>(rows.size());
  const bool in_place = neighbours(rows);
  const int64_t* const places = in_place ? nullptr : stream.upload(rows);
  ConstView x = head.x.row_range(rows.front(), in_place ? count : 0);
  if (!in_place) {
    const View gathered = head.x_space.row_range(0, count);
    move(stream, head.x, places, gathered, count, true);
    x = gathered;
  }
  const View logits = head.logits.row_range(0, count);
  gemm(stream, blas, ops::sum_along_rows(x), ops::sum_along_rows(head.w), logits, ops::Into::write);
  const bool wanted = head.gradients.dx.data != nullptr;
  run_losses(stream,
             {rows_of(logits), head.w.rows, head.x.dtype == DType::f16, stream.upload(targets),
              wanted, head.gradients.scale},
             count, head.split, row_loss);
  if (!wanted) return;
  const View dx = head.gradients.dx;
  const View to = in_place ? dx.row_range(rows.front(), count) : head.dx_space.row_range(0, count);
  gemm(stream, blas, ops::sum_along_rows(logits), ops::sum_along_columns(head.w), to,
       ops::Into::write);
  if (!in_place) move(stream, to, places, dx, count, false);
  gemm(stream, blas, ops::sum_along_columns(logits), ops::sum_along_columns(x), head.gradients.dw,
       first ? ops::Into::write : ops::Into::add);
}

}  // namespace

void linear_cross_entropy(Stream& stream, Blas& blas, ConstView x, ConstView w,
                          std::span<const int32_t> targets, std::span<float> token_loss,
                          const ops::HeadGradients& gradients, const ops::VocabSplit* split) {
  std::vector<int64_t> trained;
  std::vector<int32_t> their_targets;
  const int64_t first_row = split != nullptr ? split->first_row : 0;
  for (size_t t = 0; t < targets.size(); ++t) {
    token_loss[t] = 0;
    if (targets[t] < 0) continue;
    trained.push_back(static_cast<int64_t>(t));
    their_targets.push_back(static_cast<int32_t>(targets[t] - first_row));
  }
  const bool wanted = gradients.dx.data != nullptr;
  const auto tokens = static_cast<int64_t>(trained.size());
  if (wanted && tokens < x.rows) fill_zero(stream, gradients.dx);
  if (wanted && tokens == 0) fill_zero(stream, gradients.dw);
  const int64_t size =
      std::min(ops::head_chunk_tokens(split != nullptr ? split->total_rows : w.rows), tokens);
  const DType dtype = x.dtype == DType::bf16 ? DType::bf16 : DType::f32;
  const auto space = [&](DType type, int64_t cols) {
    return View(stream.scratch<float>(size * cols), type, size, cols);
  };
  const Head head{x,
                  w,
                  gradients,
                  split,
                  space(dtype, w.rows),
                  space(x.dtype, x.cols),
                  wanted ? space(gradients.dx.dtype, x.cols) : View()};
  auto* const row_loss = stream.scratch<float>(tokens);
  for (int64_t begin = 0; begin < tokens; begin += size) {
    const auto at = static_cast<size_t>(begin);
    const auto count = static_cast<size_t>(std::min(size, tokens - begin));
    run_chunk(stream, blas, head, std::span(trained).subspan(at, count),
              std::span(their_targets).subspan(at, count), begin == 0, row_loss + begin);
  }
  std::vector<float> losses(trained.size());
  stream.download(row_loss, std::span<float>(losses));
  for (size_t i = 0; i < losses.size(); ++i)
    token_loss[static_cast<size_t>(trained[i])] = losses[i];
}

}  // namespace cria::cuda
