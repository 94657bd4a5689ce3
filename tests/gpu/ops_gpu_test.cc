// Ops on a real GPU against the processor's at the widths of real models, in all dtypes, and the same bits twice. Small and odd
// shapes are those of tests/ops_cuda, which this program runs too.
#include <gtest/gtest.h>

#include <vector>

#include "ops/attention_cases.h"
#include "ops/close.h"
#include "ops/linear.h"
#include "ops/linear_cross_entropy.h"
#include "ops/rms_norm.h"
#include "ops/swiglu.h"
#include "ops/window.h"
#include "ops_cuda/tested_device.h"

namespace cria::ops {
namespace {

/// The fast version: it has been compared with the plain one on the processor, and real sizes take the plain one too long.
Exec here() { return {.pool = pool()}; }
Tensor to_gpu(const Tensor& host) { return host.copy_to(&device()); }
Tensor back(const Tensor& gpu) { return gpu.copy_to(nullptr); }

/// Largest differences as a share of the largest number: sums of some thousand terms in f32, or one rounding to 16 bits of what
/// went in and of what came out.
double tolerance(DType dtype) { return dtype == DType::f32 ? 1e-5 : 2 * unit_of(dtype); }

TEST(OnGpu, RowsOfEveryWidth) {
  for (const DType dtype : kComputeTypes) {
    for (const int64_t n : {7, 576, 4096, 8192}) {
      const Tensor x = random_matrix(dtype, 300, n, 1), w = random_matrix(dtype, 1, n, 2);
      const Tensor dy = random_matrix(dtype, 300, n, 3), dx0 = random_matrix(dtype, 300, n, 4);
      Tensor y(dtype, 300, n), rstd(DType::f32, 1, 300), dx = dx0.clone(), dw(DType::f32, 1, n);
      rms_norm(x, w, 1e-5f, y, rstd, here());
      rms_norm_backward(x, w, rstd, dy, dx, dw, here());
      const Tensor gx = to_gpu(x), gw = to_gpu(w), gdy = to_gpu(dy);
      Tensor gy = to_gpu(y), grstd = to_gpu(rstd), gdx = to_gpu(dx0);
      Tensor gdw = to_gpu(Tensor(DType::f32, 1, n));
      rms_norm(gx, gw, 1e-5f, gy, grstd, on_device());
      rms_norm_backward(gx, gw, grstd, gdy, gdx, gdw, on_device());
      expect_close("rms_norm", back(gy), y, tolerance(dtype));
      expect_close("dx", back(gdx), dx, tolerance(dtype));
      expect_close("dw", back(gdw), dw, 1e-5);
      Tensor half(dtype, 300, n / 2), ghalf = to_gpu(half);
      const int64_t even = n / 2 * 2;
      swiglu(x.view().col_range(0, even), half, here());
      swiglu(gx.view().col_range(0, even), ghalf, on_device());
      expect_close("swiglu", back(ghalf), half, tolerance(dtype));
    }
  }
}

TEST(OnGpu, Products) {
  struct Shape {
    int64_t t, i, o;
  };
  for (const DType dtype : kComputeTypes) {
    for (const Shape& s : {Shape{5, 7, 9}, Shape{129, 577, 63}, Shape{256, 2048, 1024}}) {
      const Tensor x = random_matrix(dtype, s.t, s.i, 1), w = random_matrix(dtype, s.o, s.i, 2);
      const Tensor gx = to_gpu(x), gw = to_gpu(w);
      Tensor y(dtype, s.t, s.o), dx(dtype, s.t, s.i), dw = random_matrix(DType::f32, s.o, s.i, 3);
      Tensor gy = to_gpu(y), gdx = to_gpu(dx), gdw = to_gpu(dw), few(dtype, 3, s.o);
      Tensor gfew = to_gpu(few);
      linear(x, w, y, here());
      linear(gx, gw, gy, on_device());
      expect_close("y", back(gy), y, tolerance(dtype));
      linear_input_grad(gy, gw, gdx, on_device());
      const Tensor y_there = back(gy);
      linear_input_grad(y_there, w, dx, here());
      expect_close("dx", back(gdx), dx, tolerance(dtype));
      linear_weight_grad(y_there, x, dw, here(), Into::add);
      linear_weight_grad(gy, gx, gdw, on_device(), Into::add);
      expect_close("dw", back(gdw), dw, 1e-5);
      linear_decode(x.view().row_range(0, 3), w, few, here());
      linear_decode(gx.view().row_range(0, 3), gw, gfew, on_device());
      expect_close("decode", back(gfew), few, tolerance(dtype));
    }
  }
}

TEST(OnGpu, AttentionBothWaysAndTheSameBitsTwice) {
  for (const DType dtype : kComputeTypes) {
    for (const HeadShape& shape : {HeadShape{4, 2, 6}, HeadShape{9, 3, 64}, HeadShape{8, 2, 128}}) {
      const AttentionCase c(shape, 1100, dtype);
      const Offsets documents = {0, 1, 300, 1100};
      const AttentionOutputs expected = run_attention(c, documents, here());
      const int64_t q = c.q_cols(), kv = c.kv_cols();
      const Tensor packed = to_gpu(c.packed), dout = to_gpu(c.dout_memory);
      const auto part = [&](ConstView all, int64_t first, int64_t cols) {
        return all.col_range(first, cols);
      };
      const auto run = [&](Tensor& out, Tensor& gradients) {
        Tensor lse(DType::f32, 1100, shape.heads, &device());
        const ConstView all = packed;
        const View d = gradients;
        attention(part(all, 0, q), part(all, q, kv), part(all, q + kv, kv), documents, shape, out,
                  lse, on_device());
        attention_backward(part(all, 0, q), part(all, q, kv), part(all, q + kv, kv), out, lse, dout,
                           documents, shape, d.col_range(0, q), d.col_range(q, kv),
                           d.col_range(q + kv, kv), on_device());
      };
      Tensor out(dtype, 1100, q, &device()), again(dtype, 1100, q, &device());
      Tensor gradients(dtype, 1100, q + 2 * kv, &device()),
          twice(dtype, 1100, q + 2 * kv, &device());
      run(out, gradients);
      run(again, twice);
      EXPECT_TRUE(same_bits(back(out), back(again)));
      EXPECT_TRUE(same_bits(back(gradients), back(twice)));
      expect_close("out", back(out), expected.out, tolerance(dtype));
      expect_close("gradients", back(gradients), expected.packed, tolerance(dtype));
    }
  }
}

TEST(OnGpu, HeadAndLoss) {
  for (const DType dtype : kComputeTypes) {
    const Tensor x = random_matrix(dtype, 200, 256, 1), w = random_matrix(dtype, 5003, 256, 2);
    std::vector<int32_t> targets;
    for (int t = 0; t < 200; ++t) targets.push_back(t % 4 == 1 ? -100 : t * 25);
    std::vector<float> losses(200), expected(200);
    Tensor dx(dtype, 200, 256), dw(DType::f32, 5003, 256);
    Tensor gdx = to_gpu(dx), gdw = to_gpu(dw);
    const Tensor gx = to_gpu(x), gw = to_gpu(w);
    linear_cross_entropy(x, w, targets, expected, {dx, dw, 0.01f}, here());
    linear_cross_entropy(gx, gw, targets, losses, {gdx, gdw, 0.01f}, on_device());
    // Logits up to 30 in 16 bits are rounded by up to 2^-9 of themselves, and where the two sums round apart, by twice that.
    for (size_t t = 0; t < 200; ++t)
      EXPECT_NEAR(losses[t], expected[t], 60 * tolerance(dtype)) << t;
    expect_close("dx", back(gdx), dx, 2 * tolerance(dtype));
    expect_close("dw", back(gdw), dw, 2 * tolerance(dtype));
  }
}

}  // namespace
}  // namespace cria::ops
