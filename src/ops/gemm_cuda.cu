// Products of matrices with rows side by side, given to cuBLASLt, which thinks in columns: c^T = b a^T.
#include "ops/cuda/launchers.h"

namespace cria::cuda {
namespace {

/// The matrix as it lies in memory.
ConstView stored(const ops::GemmSide& s) {
  return s.depth_contiguous ? ConstView(s.data, s.dtype, s.outer, s.depth, s.stride)
                            : ConstView(s.data, s.dtype, s.depth, s.outer, s.stride);
}

ops::GemmSide converted(Stream& stream, const ops::GemmSide& side, DType dtype) {
  if (side.dtype == dtype) return side;
  const ConstView from = stored(side);
  const View to(stream.scratch<float>(from.elements()), dtype, from.rows, from.cols);
  convert(stream, from, to);
  return {to.data, dtype, side.outer, side.depth, to.stride, side.depth_contiguous};
}

/// A matrix of one row may have any stride; cuBLASLt wants one that holds the row.
int64_t leading(ConstView v) { return v.rows <= 1 || v.stride < v.cols ? v.cols : v.stride; }

void multiply(Stream& stream, Blas& blas, const ops::GemmSide& a, const ops::GemmSide& b, View c,
              ops::Into into) {
  blas.run(stream, {.transpose_a = b.depth_contiguous,
                    .transpose_b = !a.depth_contiguous,
                    .in = a.dtype,
                    .out = c.dtype,
                    .m = b.outer,
                    .n = a.outer,
                    .k = a.depth,
                    .lda = leading(stored(b)),
                    .ldb = leading(stored(a)),
                    .ldd = leading(c),
                    .add = into == ops::Into::add,
                    .a = b.data,
                    .b = a.data,
                    .d = c.data});
}

}  // namespace

void gemm(Stream& stream, Blas& blas, const ops::GemmSide& a, const ops::GemmSide& b, View c,
          ops::Into into) {
  if (c.elements() == 0) return;
  if (a.depth == 0) {
    if (into == ops::Into::write) fill_zero(stream, c);
    return;
  }
  const DType in = a.dtype == b.dtype ? a.dtype : DType::f32;
  const ops::GemmSide left = converted(stream, a, in), right = converted(stream, b, in);
  if (c.dtype == in || c.dtype == DType::f32) return multiply(stream, blas, left, right, c, into);
  const View sums(stream.scratch<float>(c.elements()), DType::f32, c.rows, c.cols);
  multiply(stream, blas, left, right, sums, ops::Into::write);
  if (into == ops::Into::add) {
    add(stream, c, sums);
  } else {
    convert(stream, sums, c);
  }
}

}  // namespace cria::cuda
