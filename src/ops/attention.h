// Causal grouped-query attention without a T x T matrix: over documents in training, over a cache
// in decoding.
#pragma once

#include <cstdint>
#include <span>

#include "ops/exec.h"
#include "tensor/tensor.h"

namespace cria::ops {

// T tokens, H query heads, K key/value heads, D head_dim (any even number). Query head h reads KV
// head h / (H / K). Scores are scaled by 1/sqrt(D); softmax and all sums in f32, keys in a fixed
// order.

struct HeadShape {
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
};

/// out[t, h] = softmax_j(q[t, h] . k[j, h'] / sqrt(D)) v[j, h'],  j from the start of t's document
/// up to t.
///
///   q, out [T, H*D]; k, v [T, K*D]; windows of a packed q,k,v are fine; f32, f16 or bf16
///   documents  offsets of the documents, first 0, last T, ascending; empty ones are allowed; the
///              batch's rows are documents too
///   lse        [T, H] f32: log of the sum of exponentials, kept for backward; may be an empty View
/// The same bits as attention_cached() gives for each document over a cache of k's dtype.
/// On a GPU head_dim is at most 256.
/// Source: Dao, "FlashAttention-2", 2023, algorithm 1.
void attention(ConstView q, ConstView k, ConstView v, std::span<const int64_t> documents,
               const HeadShape& shape, View out, View lse, const Exec& exec);

/// dq, dk, dv are written (shapes of q, k, v; windows of one packed gradient are fine). `out` and
/// `lse` are forward's. Source: the same, algorithm 2.
void attention_backward(ConstView q, ConstView k, ConstView v, ConstView out, ConstView lse,
                        ConstView dout, std::span<const int64_t> documents, const HeadShape& shape,
                        View dq, View dk, View dv, const Exec& exec);

/// One sequence's keys and values: for each KV head `capacity` rows of D, of which the first ones
/// are filled.
struct CachedSequence {
  int64_t first_row = 0;  // its queries are rows [first_row, first_row + count) of q and out
  int64_t count = 1;
  // Query i stands at first_position + i and sees keys 0 .. first_position + i.
  int64_t first_position = 0;
  // [K * capacity, D], or rows of 8 bits (int8_rows.h); head g's keys are rows g * capacity + position
  View k, v;
  int64_t capacity = 0;
};

/// Attention of new tokens over caches that already hold their own keys and values (cache_append.h). A sequence's
/// result does not depend on the other sequences in the call, nor on how its tokens were cut into
/// calls (keys are always summed in blocks counted from position 0). On a GPU with 16-bit types a
/// single token is summed in another order than several.
///   q, out [rows, H*D]
void attention_cached(ConstView q, std::span<const CachedSequence> sequences,
                      const HeadShape& shape, View out, const Exec& exec);

}  // namespace cria::ops
