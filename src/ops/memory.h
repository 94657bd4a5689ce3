// Memory that ops keep for their next call, in bytes, as they would ask for it: for plans made before anything runs. Each
// function is defined beside its op.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ops/attention.h"
#include "tensor/dtype.h"

namespace cria::ops {

/// Of the matrix products under every linear op: each part is as large as the largest product needs it.
struct ProductMemory {
  int64_t left = 0, right = 0, sums = 0;  // packed sides; unfinished sums
  void cover(const ProductMemory& other) {
    left = std::max(left, other.left);
    right = std::max(right, other.right);
    sums = std::max(sums, other.sums);
  }
  [[nodiscard]] int64_t bytes() const { return left + right + sums; }
};
/// c [rows, cols], sums over `depth`; `bf16` when both sides are.
ProductMemory product_memory(int64_t rows, int64_t cols, int64_t depth, bool bf16);

int64_t attention_memory(const HeadShape& shape, int threads);
/// `longest`: tokens of the longest document.
int64_t attention_backward_memory(int64_t tokens, int64_t longest, const HeadShape& shape,
                                  int threads);

/// linear_cross_entropy with gradients, without its products: `rows` of a vocabulary of `total_rows` are here. At most: the
/// copies of x and dx are only needed where trained tokens lie apart.
int64_t head_memory(int64_t trained_tokens, int64_t hidden, int64_t rows, int64_t total_rows,
                    DType compute);

int64_t rms_norm_backward_memory(int64_t rows, int64_t hidden);

}  // namespace cria::ops
