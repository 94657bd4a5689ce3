// The product under linear_decode: few rows of x, w streamed once. Internal to ops.
#pragma once

#include "ops/linear.h"
#include "tensor/tensor.h"

namespace cria::ops {

/// y = x w^T (or +=). Shapes are the caller's promise.
void gemv(ConstView x, ConstView w, View y, Into into, ThreadPool& pool);

}  // namespace cria::ops
