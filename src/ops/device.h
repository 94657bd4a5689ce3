// A GPU as the ops see it: memory, and one function for each op. The doors (ops/<op>.cc) check their arguments and then call
// it where Exec names a device; the headers of the ops say what each does.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/exact_sum.h"
#include "ops/adamw.h"
#include "ops/attention.h"
#include "ops/cache_append.h"
#include "ops/gemm.h"
#include "ops/linear_cross_entropy.h"
#include "ops/next_token.h"
#include "ops/packed.h"
#include "ops/rope.h"
#include "tensor/row_memory.h"
#include "tensor/tensor.h"

namespace cria::ops {

struct AdamWFactors;

/// Ops run one after another, in the order of the calls, and a call returns before its op has run: matrices (Views) lie in
/// this memory. Lists (spans) lie in the host's and are read before the call returns. Results that are numbers of the host
/// (norms, losses, tokens) are there when the call returns, so those calls wait. One thread at a time.
///
/// The same call gives the same bits on every run on the same kind of device.
class Device : public RowMemory {
 public:
  /// What it is, for reports: "compute capability 9.0, 132 multiprocessors, 1980 MHz".
  [[nodiscard]] virtual std::string name() = 0;
  /// Bytes that can still be allocated.
  [[nodiscard]] virtual int64_t available() = 0;

  /// What lies between is a step of few rows that will come again in much the same way, as decode steps do: the device may start
  /// its kernels many at a time. Without effect on what they do, and on what waits for them. A step may go without its end when
  /// an exception leaves it.
  virtual void begin_step() = 0;
  virtual void end_step() = 0;

  virtual void add(View x, ConstView y) = 0;
  virtual void fill_zero(View x) = 0;

  virtual void rms_norm(ConstView x, ConstView weight, float eps, View y, View rstd) = 0;
  virtual void add_rms_norm(View x, ConstView branch, ConstView weight, float eps, View y,
                            View rstd) = 0;
  virtual void rms_norm_backward(ConstView x, ConstView weight, ConstView rstd, ConstView dy,
                                 View dx, View dweight) = 0;

  virtual void rope(View x, std::span<const int32_t> positions, const RopeTable& table,
                    Turn turn) = 0;
  virtual void swiglu(ConstView gate_up, View out) = 0;
  virtual void swiglu_backward(ConstView gate_up, ConstView dout, View d_gate_up) = 0;

  virtual void embedding(std::span<const int32_t> ids, ConstView table, View out,
                         int64_t first_row) = 0;
  /// `tokens` sorted by id (embedding_groups.h): those of group g are tokens[starts[g]] .. tokens[starts[g + 1]] and go to
  /// dtable's row rows[g].
  virtual void embedding_backward(std::span<const int32_t> tokens, std::span<const int32_t> starts,
                                  std::span<const int32_t> rows, ConstView dout, View dtable) = 0;

  /// Adds the sum of squares of each row of each x f32, in f64.
  virtual void add_squares(std::span<const ConstView> xs, ExactSum& sum) = 0;
  virtual void adamw(std::span<const AdamWParam> params, const AdamWFactors& factors) = 0;
  virtual void split_master(ConstView f32, View weight, View low) = 0;
  virtual void join_master(ConstView weight, ConstView low, View f32) = 0;

  virtual void gemm(const GemmSide& a, const GemmSide& b, View c, Into into) = 0;
  virtual void gemv(ConstView x, ConstView w, View y, Into into) = 0;

  virtual void linear_packed(ConstView x, std::span<const PackedMatrix* const> w, View y,
                             Into into) = 0;
  virtual void embedding_packed(std::span<const int32_t> ids, const PackedMatrix& table, View out,
                                int64_t first_row) = 0;

  virtual void attention(ConstView q, ConstView k, ConstView v, std::span<const int64_t> documents,
                         const HeadShape& shape, View out, View lse) = 0;
  virtual void attention_backward(ConstView q, ConstView k, ConstView v, ConstView out,
                                  ConstView lse, ConstView dout, std::span<const int64_t> documents,
                                  const HeadShape& shape, View dq, View dk, View dv) = 0;
  virtual void attention_cached(ConstView q, std::span<const CachedSequence> sequences,
                                const HeadShape& shape, View out) = 0;

  virtual void append_to_caches(ConstView k, ConstView v, std::span<const CachedSequence> sequences,
                                const HeadShape& shape) = 0;

  virtual void linear_cross_entropy(ConstView x, ConstView w, std::span<const int32_t> targets,
                                    std::span<float> token_loss, const HeadGradients& gradients,
                                    const VocabSplit* split) = 0;

  virtual void next_tokens(View logits, std::span<const TokenRule> rules,
                           std::span<int32_t> ids) = 0;
};

}  // namespace cria::ops
