// The head's loss in chunks of trained tokens: logits, loss and gradient of one chunk, then the
// next.
#include "ops/linear_cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "ops/device.h"
#include "ops/door.h"
#include "ops/elementwise.h"
#include "ops/linear.h"
#include "ops/linear_cross_entropy_kernels.h"
#include "ops/linear_cross_entropy_ref.h"
#include "ops/memory.h"
#include "ops/scratch.h"

namespace cria::ops {
namespace {

constexpr std::string_view kOp = "linear_cross_entropy";

void require_inputs(ConstView x, ConstView w, std::span<const int32_t> targets,
                    std::span<const float> token_loss, const HeadGradients& gradients,
                    const VocabSplit* split) {
  require_compute(kOp, "x", x);
  require_compute(kOp, "w", w);
  require(x.cols == w.cols, "{}: x has {} columns and w {}", kOp, x.cols, w.cols);
  require(static_cast<int64_t>(targets.size()) == x.rows && token_loss.size() == targets.size(),
          "{}: {} targets and {} losses for {} tokens", kOp, targets.size(), token_loss.size(),
          x.rows);
  const int64_t vocab = split != nullptr ? split->total_rows : w.rows;
  require(split == nullptr || (split->first_row >= 0 && w.rows > 0 && w.rows <= vocab &&
                               split->first_row <= vocab - w.rows),
          "{}: w has {} rows, expected a slice of {}", kOp, w.rows, vocab);
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

DType logits_dtype(DType compute) { return compute == DType::bf16 ? DType::bf16 : DType::f32; }

struct Chunk {
  std::span<const int64_t> rows;  // its tokens
  View logits;
  void *x_space, *dx_space;
  bool first;
};

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

/// Losses of a chunk whose logits are spread over ranks; with `wanted`, logits become gradients.
void finish_split_rows(const Chunk& chunk, bool round_to_f16, std::span<const int32_t> targets,
                       std::span<float> token_loss, bool wanted, float scale,
                       const VocabSplit& split, const Exec& exec) {
  const View logits = chunk.logits;
  const auto& kernels = linear_cross_entropy_kernels();
  const auto count = static_cast<size_t>(logits.rows);
  thread_local std::vector<float> most_memory;
  thread_local std::vector<double> sums_memory;
  most_memory.resize(count);
  sums_memory.resize(2 * count);
  const std::span<float> most(most_memory);
  const std::span<double> sums(sums_memory);  // of exponentials, then the targets' logits
  const auto each_row = [&](auto&& use) {
    exec.pool.parallel_for(logits.rows, [&](int64_t r) {
      const auto i = static_cast<size_t>(r);
      const auto t = static_cast<size_t>(chunk.rows[i]);
      const int64_t target = targets[t] - split.first_row;
      use(r, i, t, target >= 0 && target < logits.cols ? target : int64_t{-1});
    });
  };
  each_row([&](int64_t r, size_t i, size_t, int64_t) {
    most[i] = kernels.largest(logits.at(r, 0), logits.dtype, round_to_f16, logits.cols);
  });
  split.max(most);
  each_row([&](int64_t r, size_t i, size_t, int64_t target) {
    sums[i] = static_cast<double>(
        kernels.sum_of_exp(logits.at(r, 0), logits.dtype, logits.cols, most[i]));
    sums[count + i] = 0;
    if (target < 0) return;
    const void* at = logits.at(r, target);
    const float logit = logits.dtype == DType::bf16
                            ? static_cast<float>(*static_cast<const bf16*>(at))
                            : *static_cast<const float*>(at);
    sums[count + i] = static_cast<double>(logit - most[i]);
  });
  split.sum(sums);
  each_row([&](int64_t r, size_t i, size_t t, int64_t target) {
    const auto sum = static_cast<float>(sums[i]);
    token_loss[t] = std::log(sum) - static_cast<float>(sums[count + i]);
    if (!wanted) return;
    kernels.gradient(logits.at(r, 0), logits.dtype, logits.cols, most[i], sum, target, scale);
  });
}

void run_chunk(const Chunk& chunk, ConstView x, ConstView w, std::span<const int32_t> targets,
               std::span<float> token_loss, const HeadGradients& gradients, const Exec& exec,
               const VocabSplit* split) {
  const ConstView tokens = gathered(x, chunk.rows, chunk.x_space);
  const bool wanted = gradients.dx.data != nullptr;
  linear(tokens, w, chunk.logits, exec);
  const bool round_to_f16 = x.dtype == DType::f16;
  if (split != nullptr) {
    finish_split_rows(chunk, round_to_f16, targets, token_loss, wanted, gradients.scale, *split,
                      exec);
  } else {
    const auto& kernels = linear_cross_entropy_kernels();
    exec.pool.parallel_for(tokens.rows, [&](int64_t r) {
      const auto t = static_cast<size_t>(chunk.rows[static_cast<size_t>(r)]);
      token_loss[t] = kernels.row(chunk.logits.at(r, 0), chunk.logits.dtype, round_to_f16, w.rows,
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

int64_t head_memory(int64_t trained_tokens, int64_t hidden, int64_t rows, int64_t total_rows,
                    DType compute) {
  const int64_t size = std::min(head_chunk_tokens(total_rows), trained_tokens);
  return bytes_of(logits_dtype(compute), size * rows) + 8 * size * hidden + 8 * trained_tokens;
}

int64_t head_chunk_tokens(int64_t vocab) {
  constexpr int64_t kElements = int64_t{16} << 20;
  return std::clamp<int64_t>(kElements / std::max<int64_t>(1, vocab) / 32 * 32, 64, 512);
}

void linear_cross_entropy(ConstView x, ConstView w, std::span<const int32_t> targets,
                          std::span<float> token_loss, const HeadGradients& gradients,
                          const Exec& exec, const VocabSplit* split) {
  require_inputs(x, w, targets, token_loss, gradients, split);
  if (exec.device != nullptr)
    return exec.device->linear_cross_entropy(x, w, targets, token_loss, gradients, split);
  if (exec.reference) return linear_cross_entropy_ref(x, w, targets, token_loss, gradients, split);

  thread_local std::vector<int64_t> trained;
  thread_local Scratch logits_memory, x_memory, dx_memory;
  split_tokens(targets, token_loss, gradients.dx, trained);
  const bool wanted = gradients.dx.data != nullptr;
  if (trained.empty() && wanted) fill_zero(gradients.dw, exec);
  const auto tokens = static_cast<int64_t>(trained.size());
  const int64_t size =
      std::min(head_chunk_tokens(split != nullptr ? split->total_rows : w.rows), tokens);
  const DType dtype = logits_dtype(x.dtype);
  float* const logits = logits_memory.floats((bytes_of(dtype, size * w.rows) + 3) / 4);
  float* const x_space = x_memory.floats(size * x.cols);
  float* const dx_space = dx_memory.floats(wanted ? size * x.cols : 0);
  for (int64_t begin = 0; begin < tokens; begin += size) {
    const int64_t count = std::min(size, tokens - begin);
    const std::span<const int64_t> rows(trained.data() + begin, static_cast<size_t>(count));
    const Chunk chunk{rows, View{logits, dtype, count, w.rows}, x_space, dx_space, begin == 0};
    run_chunk(chunk, x, w, targets, token_loss, gradients, exec, split);
  }
}

}  // namespace cria::ops
