// Kernel of embedding.h; the lookup itself is elementwise_kernels().convert.
#pragma once

#include <cstdint>

#include "ops/isa.h"
#include "tensor/dtype.h"

namespace cria::ops {

struct EmbeddingKernels {
  /// to[i] += sum over the `count` listed rows, in that order, of rows[row * stride + i], i < n
  void (*add_rows)(const void* rows, DType type, int64_t stride, const int32_t* listed,
                   int64_t count, float* to, int64_t n);
};
CRIA_KERNEL_TABLE(EmbeddingKernels, embedding_kernels)

}  // namespace cria::ops
