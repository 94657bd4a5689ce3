// What work is, counted by rule and not by what a program happens to do: operations where arithmetic limits, bytes where memory does.
#pragma once

#include <cstdint>

#include "model/params.h"

namespace cria {

/// Operations of a forward and backward pass over `samples` of `seq_len` tokens, all trained: three times
/// forward_flops_per_token(), that is 6 a token and parameter (the input embedding only where it is the head too) and causal
/// attention. What recomputation repeats does not count, nor does the optimizer.
double training_flops(const LlamaConfig& config, int64_t samples, int64_t seq_len);

/// Operations of a prompt's forward pass: 2 a token and parameter without the embedding, causal attention, and the head for the
/// last token only.
double prefill_flops(const LlamaConfig& config, int64_t tokens);

/// Bytes of a parameter that is held in `dtype`. In blocks (quantised) are only matrices; norms stay f32 then.
int64_t weight_bytes(const Param& param, DType dtype);
/// Bytes of weights that one decode step reads: everything once, of the embedding only a row for each sequence unless it is the
/// head too.
int64_t decode_weight_bytes(const LlamaConfig& config, DType dtype, int64_t sequences);
/// Keys and values of one sequence's `tokens`, all layers.
int64_t cache_bytes(const LlamaConfig& config, DType dtype, int64_t tokens);

/// Bytes that `steps` decode steps read, weights and caches: step i sees depth + i + 1 tokens of each sequence.
double decode_bytes(const LlamaConfig& config, DType weights, DType cache, int64_t sequences,
                    int64_t depth, int64_t steps);

}  // namespace cria
