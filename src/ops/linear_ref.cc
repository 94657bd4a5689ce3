#include "ops/linear_ref.h"

namespace cria::ops {
namespace {

double number(DType dtype, const void* data, int64_t i) {
  switch (dtype) {
    case DType::bf16:
      return static_cast<double>(static_cast<float>(static_cast<const bf16*>(data)[i]));
    case DType::f16:
      return static_cast<double>(static_cast<float>(static_cast<const f16*>(data)[i]));
    default:
      return static_cast<double>(static_cast<const float*>(data)[i]);
  }
}

double at(const GemmSide& side, int64_t outer, int64_t k) {
  return number(side.dtype, side.data,
                side.depth_contiguous ? outer * side.stride + k : k * side.stride + outer);
}

void put(View c, int64_t row, int64_t col, double value) {
  const auto rounded = static_cast<float>(value);
  switch (c.dtype) {
    case DType::bf16:
      c.row<bf16>(row)[col] = bf16(rounded);
      return;
    case DType::f16:
      c.row<f16>(row)[col] = f16(rounded);
      return;
    default:
      c.row<float>(row)[col] = rounded;
  }
}

}  // namespace

void gemm_ref(const GemmSide& a, const GemmSide& b, View c, Into into) {
  for (int64_t m = 0; m < c.rows; ++m) {
    for (int64_t n = 0; n < c.cols; ++n) {
      double sum = 0;
      for (int64_t k = 0; k < a.depth; ++k) sum += at(a, m, k) * at(b, n, k);
      if (into == Into::add) sum += number(c.dtype, c.data, m * c.stride + n);
      put(c, m, n, sum);
    }
  }
}

}  // namespace cria::ops
