// What the device of device.cc calls: one function for each op, defined in src/ops/<op>_cuda.cu. They queue kernels and return.
// Arguments are as in the ops' headers and have been checked; matrices lie in the device's memory, spans in the host's.
#pragma once

#include <cstdint>
#include <span>

#include "ops/adamw_factors.h"
#include "ops/cuda/blas.h"
#include "ops/cuda/stream.h"
#include "ops/device.h"

namespace cria::cuda {

void convert(Stream& stream, ConstView from, View to);
void add(Stream& stream, View x, ConstView y);
/// RowMemory::sum_in_order.
void sum_in_order(Stream& stream, std::span<const ConstView> terms, View out);
void fill_zero(Stream& stream, View x);

/// x += branch first, unless branch is empty.
void rms_norm(Stream& stream, View x, ConstView branch, ConstView weight, float eps, View y,
              View rstd);
void rms_norm_backward(Stream& stream, ConstView x, ConstView weight, ConstView rstd, ConstView dy,
                       View dx, View dweight);

void rope(Stream& stream, View x, std::span<const int32_t> positions, const ops::RopeTable& table,
          ops::Turn turn);
void swiglu(Stream& stream, ConstView gate_up, View out);
void swiglu_backward(Stream& stream, ConstView gate_up, ConstView dout, View d_gate_up);

void embedding(Stream& stream, std::span<const int32_t> ids, ConstView table, View out,
               int64_t first_row);
void embedding_backward(Stream& stream, std::span<const int32_t> tokens,
                        std::span<const int32_t> starts, std::span<const int32_t> rows,
                        ConstView dout, View dtable);

/// limbs: ExactSum::kLimbs numbers of the device, which become those of the sum.
void add_squares(Stream& stream, std::span<const ConstView> xs, int64_t* limbs);
void adamw(Stream& stream, std::span<const ops::AdamWParam> params,
           const ops::AdamWFactors& factors);
void split_master(Stream& stream, ConstView f32, View weight, View low);
void join_master(Stream& stream, ConstView weight, ConstView low, View f32);

/// cuBLASLt, with copies of operands whose types it does not multiply (gemm_cuda.cc).
void gemm(Stream& stream, Blas& blas, const ops::GemmSide& a, const ops::GemmSide& b, View c,
          ops::Into into);
void gemv(Stream& stream, ConstView x, ConstView w, View y, ops::Into into);

void linear_packed(Stream& stream, Blas& blas, ConstView x,
                   std::span<const ops::PackedMatrix* const> w, View y, ops::Into into);
void embedding_packed(Stream& stream, std::span<const int32_t> ids, const ops::PackedMatrix& table,
                      View out, int64_t first_row);

/// head_dim that attention's kernels have room for.
constexpr int64_t kMostHeadDim = 256;
void attention(Stream& stream, ConstView q, ConstView k, ConstView v,
               std::span<const int64_t> documents, const ops::HeadShape& shape, View out, View lse);
void attention_backward(Stream& stream, ConstView q, ConstView k, ConstView v, ConstView out,
                        ConstView lse, ConstView dout, std::span<const int64_t> documents,
                        const ops::HeadShape& shape, View dq, View dk, View dv);
void attention_cached(Stream& stream, ConstView q, std::span<const ops::CachedSequence> sequences,
                      const ops::HeadShape& shape, View out);

void append_to_caches(Stream& stream, ConstView k, ConstView v,
                      std::span<const ops::CachedSequence> sequences, const ops::HeadShape& shape);
/// to [KV heads * keys, head_dim], of f32, f16 or bf16: the first keys of each head of a cache in 8 bits.
void open_int8_rows(Stream& stream, ConstView from, int64_t capacity, int64_t keys, View to);

/// Waits, for token_loss.
void linear_cross_entropy(Stream& stream, Blas& blas, ConstView x, ConstView w,
                          std::span<const int32_t> targets, std::span<float> token_loss,
                          const ops::HeadGradients& gradients, const ops::VocabSplit* split);

/// tokens: logits.rows numbers of the device.
void next_tokens(Stream& stream, View logits, std::span<const ops::TokenRule> rules,
                 int32_t* tokens);

}  // namespace cria::cuda
