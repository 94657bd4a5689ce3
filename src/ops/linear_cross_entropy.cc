// The head's loss in chunks of trained tokens: logits, loss and gradient of one chunk, then the
// next.
#include "ops/linear_cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "ops/door.h"
#include "ops/elementwise.h"
#include "ops/linear.h"
#include "ops/linear_cross_entropy_kernels.h"
#include "ops/linear_cross_entropy_ref.h"
#include "ops/scratch.h"

namespace cria::ops {
namespace {

constexpr std::string_view kOp = "linear_cross_entropy";

void require_inputs(ConstView x, ConstView w, std::span<const int32_t> targets,
                    std::span<const float> token_loss, const HeadGradients& gradients,
                    int64_t vocab) {
  require_compute(kOp, "x", x);
  require_compute(kOp, "w", w);
  require(x.cols == w.cols, "{}: x has {} columns and w {}", kOp, x.cols, w.cols);
  require(static_cast<int64_t>(targets.size()) == x.rows && token_loss.size() == targets.size(),
          "{}: {} targets and {} losses for {} tokens", kOp, targets.size(), token_loss.size(),
          x.rows);
  for (size_t t = 0; t < targets.size(); ++t) {
    require(targets[t] < vocab, "{}: token {}'s target is {}, expected less than vocab_size = {}",
            kOp, t, targets[t], vocab);
  }
  const bool dx = gradients.dx.data != nullptr, dw = gradients.dw.data != nullptr;
  require(dx == dw, "{}: dx and dw are wanted together or not at all", kOp);
  if (!dx) return;
  require_compute(kOp, "dx", gradients.dx);
  require_shape(kOp, "dx", gradients.dx, x.rows, x.cols);
  require_dtype(kOp, "dw", gradients.dw, DType::f32);
  require_shape(kOp, "dw", gradients.dw, w.rows, w.cols);
}

/// Trained tokens `rows` of a matrix as one window: in place where they are neighbours, else copied
/// to `space`.
ConstView gathered(ConstView from, std::span<const int64_t> rows, void* space) {
  const auto count = static_cast<int64_t>(rows.size());
  if (rows.back() - rows.front() + 1 == count) return from.row_range(rows.front(), count);
  const View to{space, from.dtype, count, from.cols};
  for (int64_t r = 0; r < count; ++r) {
    std::memcpy(to.at(r, 0), from.at(rows[static_cast<size_t>(r)], 0),
                static_cast<size_t>(bytes_of(from.dtype, from.cols)));
  }
  return to;
}

void scatter(ConstView from, std::span<const int64_t> rows, View to) {
  for (int64_t r = 0; r < from.rows; ++r) {
    std::memcpy(to.at(rows[static_cast<size_t>(r)], 0), from.at(r, 0),
                static_cast<size_t>(bytes_of(from.dtype, from.cols)));
  }
}

struct Chunk {
  std::span<const int64_t> rows;  // its tokens
  View logits;
  void *x_space, *dx_space;
  bool first;
  const VocabSplit* split;
};

/// Losses and gradients of a chunk's logits, of which each rank of the group has some columns.
void finish_split_rows(const Chunk& chunk, bool f16, std::span<const int32_t> targets,
                       std::span<float> token_loss, const HeadGradients& gradients,
                       const Exec& exec) {
  const auto& kernels = linear_cross_entropy_kernels();
  const View logits = chunk.logits;
  const auto rows = static_cast<size_t>(logits.rows);
  thread_local std::vector<float> most_memory;
  thread_local std::vector<double> sums_memory;  // of each row: sum of exp, and the target's logit - most
  std::vector<float>& most = most_memory;
  std::vector<double>& sums = sums_memory;
  most.resize(rows);
  sums.assign(2 * rows, 0.0);
  const auto token = [&](int64_t r) {
    return static_cast<size_t>(chunk.rows[static_cast<size_t>(r)]);
  };
  // The column of a row's target here, or negative.
  const auto target = [&](int64_t r) {
    const int64_t column = targets[token(r)] - chunk.split->first_row;
    return column < logits.cols ? std::max<int64_t>(column, -1) : -1;
  };
  exec.pool.parallel_for(logits.rows, [&](int64_t r) {
    most[static_cast<size_t>(r)] = kernels.row_max(logits.at(r, 0), logits.dtype, f16, logits.cols);
  });
  chunk.split->max(most);
  exec.pool.parallel_for(logits.rows, [&](int64_t r) {
    const auto i = static_cast<size_t>(r);
    sums[2 * i] = kernels.row_sum(logits.at(r, 0), logits.dtype, logits.cols, most[i]);
    const int64_t column = target(r);
    if (column < 0) return;
    const float logit = logits.dtype == DType::bf16
                            ? static_cast<float>(logits.row<bf16>(r)[static_cast<size_t>(column)])
                            : logits.row<float>(r)[static_cast<size_t>(column)];
    sums[2 * i + 1] = logit - most[i];
  });
  chunk.split->sum(sums);
  exec.pool.parallel_for(logits.rows, [&](int64_t r) {
    const auto i = static_cast<size_t>(r);
    token_loss[token(r)] = static_cast<float>(std::log(sums[2 * i]) - sums[2 * i + 1]);
    if (gradients.dx.data == nullptr) return;
    kernels.row_gradient(logits.at(r, 0), logits.dtype, logits.cols, most[i],
                         static_cast<float>(sums[2 * i]), target(r), gradients.scale);
  });
}

/// dx and dw of a chunk whose logits have become their gradients.
void backward(const Chunk& chunk, ConstView x, ConstView w, const HeadGradients& gradients,
              const Exec& exec) {
  const View dx = gradients.dx;
  const auto count = static_cast<int64_t>(chunk.rows.size());
  const bool in_place = chunk.rows.back() - chunk.rows.front() + 1 == count;
  const View dx_chunk = in_place ? dx.row_range(chunk.rows.front(), count)
                                 : View{chunk.dx_space, dx.dtype, count, dx.cols};
  linear_input_grad(chunk.logits, w, dx_chunk, exec);
  if (!in_place) scatter(dx_chunk, chunk.rows, dx);
  linear_weight_grad(chunk.logits, x, gradients.dw, exec, chunk.first ? Into::write : Into::add);
}

void run_chunk(const Chunk& chunk, ConstView x, ConstView w, std::span<const int32_t> targets,
               std::span<float> token_loss, const HeadGradients& gradients, const Exec& exec) {
  const ConstView tokens = gathered(x, chunk.rows, chunk.x_space);
  const bool wanted = gradients.dx.data != nullptr;
  linear(tokens, w, chunk.logits, exec);
  const bool f16 = x.dtype == DType::f16;
  if (chunk.split != nullptr) {
    finish_split_rows(chunk, f16, targets, token_loss, gradients, exec);
  } else {
    const auto& kernels = linear_cross_entropy_kernels();
    exec.pool.parallel_for(tokens.rows, [&](int64_t r) {
      const auto t = static_cast<size_t>(chunk.rows[static_cast<size_t>(r)]);
      token_loss[t] = kernels.row(chunk.logits.at(r, 0), chunk.logits.dtype, f16, w.rows,
                                  targets[t], wanted, gradients.scale);
    });
  }
  if (wanted) backward(chunk, tokens, w, gradients, exec);
}

/// Fills token_loss and dx of the untrained tokens, returns the trained ones.
void split_tokens(std::span<const int32_t> targets, std::span<float> token_loss, View dx,
                  std::vector<int64_t>& trained) {
  trained.clear();
  for (size_t t = 0; t < targets.size(); ++t) {
    if (targets[t] >= 0) {
      trained.push_back(static_cast<int64_t>(t));
      continue;
    }
    token_loss[t] = 0;
    if (dx.data == nullptr) continue;
    std::memset(dx.at(static_cast<int64_t>(t), 0), 0,
                static_cast<size_t>(bytes_of(dx.dtype, dx.cols)));
  }
}

}  // namespace

int64_t head_chunk_tokens(int64_t vocab) {
  constexpr int64_t kElements = int64_t{16} << 20;
  return std::clamp<int64_t>(kElements / std::max<int64_t>(1, vocab) / 32 * 32, 64, 512);
}

void linear_cross_entropy(ConstView x, ConstView w, std::span<const int32_t> targets,
                          std::span<float> token_loss, const HeadGradients& gradients,
                          const Exec& exec, const VocabSplit* split) {
  const int64_t vocab = split != nullptr ? split->total_rows : w.rows;
  require_inputs(x, w, targets, token_loss, gradients, vocab);
  if (exec.reference && split == nullptr)
    return linear_cross_entropy_ref(x, w, targets, token_loss, gradients);

  thread_local std::vector<int64_t> trained;
  thread_local Scratch logits_memory, x_memory, dx_memory;
  split_tokens(targets, token_loss, gradients.dx, trained);
  const bool wanted = gradients.dx.data != nullptr;
  if (trained.empty() && wanted) fill_zero(gradients.dw, exec);
  const auto tokens = static_cast<int64_t>(trained.size());
  const int64_t size = std::min(head_chunk_tokens(vocab), tokens);
  const DType dtype = x.dtype == DType::bf16 ? DType::bf16 : DType::f32;
  float* const logits = logits_memory.floats((size * w.rows * block_bytes(dtype) + 3) / 4);
  float* const x_space = x_memory.floats(size * x.cols);
  float* const dx_space = dx_memory.floats(wanted ? size * x.cols : 0);
  for (int64_t begin = 0; begin < tokens; begin += size) {
    const int64_t count = std::min(size, tokens - begin);
    const std::span<const int64_t> rows(trained.data() + begin, static_cast<size_t>(count));
    const Chunk chunk{rows, View{logits, dtype, count, w.rows}, x_space, dx_space, begin == 0, split};
    run_chunk(chunk, x, w, targets, token_loss, gradients, exec);
  }
}

}  // namespace cria::ops
