// The doors of the linear ops: shapes are checked here once, then the plain or the fast version
// runs.
#include "ops/linear.h"

#include "base/error.h"
#include "ops/device.h"
#include "ops/gemm.h"
#include "ops/gemv.h"
#include "ops/linear_ref.h"

namespace cria::ops {
namespace {

bool computable(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

struct Named {
  const char* name;
  ConstView view;
};

/// All three are [rows, cols] as wanted and of a dtype that can be computed with.
void check_shapes(const char* op, const Named& left, const Named& right, const Named& out,
                  bool agree) {
  for (const Named& n : {left, right, out}) {
    require(computable(n.view.dtype), "{}: {} is {}, expected F32, F16 or BF16", op, n.name,
            name_of(n.view.dtype));
  }
  require(agree, "{}: {} [{}, {}], {} [{}, {}] and {} [{}, {}] do not fit together", op, left.name,
          left.view.rows, left.view.cols, right.name, right.view.rows, right.view.cols, out.name,
          out.view.rows, out.view.cols);
}

void product(const GemmSide& a, const GemmSide& b, View c, const Exec& exec, Into into) {
  if (exec.device != nullptr) {
    exec.device->gemm(a, b, c, into);
  } else if (exec.reference) {
    gemm_ref(a, b, c, into);
  } else {
    gemm(a, b, c, into, exec.pool);
  }
}

void check_forward(const char* op, ConstView x, ConstView w, View y) {
  check_shapes(op, {"x", x}, {"w", w}, {"y", y},
               x.rows == y.rows && x.cols == w.cols && w.rows == y.cols);
}

}  // namespace

void linear(ConstView x, ConstView w, View y, const Exec& exec, Into into) {
  check_forward("linear", x, w, y);
  product(sum_along_rows(x), sum_along_rows(w), y, exec, into);
}

void linear_input_grad(ConstView dy, ConstView w, View dx, const Exec& exec, Into into) {
  check_shapes("linear_input_grad", {"dy", dy}, {"w", w}, {"dx", dx},
               dy.rows == dx.rows && dy.cols == w.rows && w.cols == dx.cols);
  product(sum_along_rows(dy), sum_along_columns(w), dx, exec, into);
}

void linear_weight_grad(ConstView dy, ConstView x, View dw, const Exec& exec, Into into) {
  check_shapes("linear_weight_grad", {"dy", dy}, {"x", x}, {"dw", dw},
               dy.rows == x.rows && dy.cols == dw.rows && x.cols == dw.cols);
  product(sum_along_columns(dy), sum_along_columns(x), dw, exec, into);
}

void linear_decode(ConstView x, ConstView w, View y, const Exec& exec, Into into) {
  check_forward("linear_decode", x, w, y);
  if (exec.device != nullptr) {
    exec.device->gemv(x, w, y, into);
  } else if (exec.reference) {
    gemm_ref(sum_along_rows(x), sum_along_rows(w), y, into);
  } else {
    gemv(x, w, y, into, exec.pool);
  }
}

}  // namespace cria::ops
