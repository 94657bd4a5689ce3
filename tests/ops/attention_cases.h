// Shapes, inputs and comparisons shared by the tests of attention.
#pragma once

#include <vector>

#include "ops/attention.h"
#include "ops/close.h"
#include "ops/random_matrix.h"

namespace cria::ops {

using Offsets = std::vector<int64_t>;

inline int64_t group_of(const HeadShape& s) { return s.heads / s.kv_heads; }

/// q, k, v as windows of one packed matrix, as the model has them, and the gradient of the output.
struct AttentionCase {
  HeadShape shape;
  Tensor packed, dout_memory;
  AttentionCase(const HeadShape& s, int64_t tokens, DType dtype, uint64_t seed = 1)
      : shape(s),
        packed(random_matrix(dtype, tokens, (s.heads + 2 * s.kv_heads) * s.head_dim, seed)),
        dout_memory(random_matrix(dtype, tokens, s.heads * s.head_dim, seed + 1)) {}
  [[nodiscard]] int64_t q_cols() const { return shape.heads * shape.head_dim; }
  [[nodiscard]] int64_t kv_cols() const { return shape.kv_heads * shape.head_dim; }
  [[nodiscard]] ConstView q() const { return packed.view().col_range(0, q_cols()); }
  [[nodiscard]] ConstView k() const { return packed.view().col_range(q_cols(), kv_cols()); }
  [[nodiscard]] ConstView v() const {
    return packed.view().col_range(q_cols() + kv_cols(), kv_cols());
  }
  [[nodiscard]] ConstView dout() const { return dout_memory; }
};

/// Forward's and backward's results; the gradients are windows of one packed matrix.
struct AttentionOutputs {
  Tensor out, lse, packed;
  View dq, dk, dv;
  explicit AttentionOutputs(const AttentionCase& c)
      : out(c.packed.dtype(), c.packed.rows(), c.q_cols()),
        lse(DType::f32, c.packed.rows(), c.shape.heads),
        packed(c.packed.dtype(), c.packed.rows(), c.packed.cols()) {
    dq = packed.view().col_range(0, c.q_cols());
    dk = packed.view().col_range(c.q_cols(), c.kv_cols());
    dv = packed.view().col_range(c.q_cols() + c.kv_cols(), c.kv_cols());
  }
};

inline AttentionOutputs run_attention(const AttentionCase& c, const Offsets& documents,
                                      const Exec& exec) {
  AttentionOutputs r(c);
  attention(c.q(), c.k(), c.v(), documents, c.shape, r.out, r.lse, exec);
  attention_backward(c.q(), c.k(), c.v(), r.out, r.lse, c.dout(), documents, c.shape, r.dq, r.dk,
                     r.dv, exec);
  return r;
}

}  // namespace cria::ops
