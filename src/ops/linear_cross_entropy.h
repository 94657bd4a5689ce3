// The language-model head and its loss in one go: the logits of a whole batch never exist at once.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "ops/exec.h"
#include "tensor/tensor.h"

namespace cria::ops {

/// Gradients wanted from linear_cross_entropy; empty Views when only the loss is.
struct HeadGradients {
  View dx;          // [T, hidden], written
  View dw;          // [V, hidden] f32, written: complete over all T tokens when the call returns
  float scale = 1;  // dlogits = (softmax - onehot) * scale, e.g. loss_scale / trained tokens of the
                    // whole step
};

/// The vocabulary cut over several ranks: this one's w holds rows [first_row, first_row + V) of
/// total_rows. Every rank passes the same x and targets (ids of the whole vocabulary), and so calls
/// `max` and then `sum` with the same lengths, on the calling thread, once per chunk.
struct VocabSplit {
  int64_t first_row, total_rows;
  std::function<void(std::span<float>)> max;   // each element's largest over the ranks, in place
  std::function<void(std::span<double>)> sum;  // each element's sum over the ranks, in place
};

/// Tokens whose logits exist at once: 64 to 512, about 16 Mi logits.
int64_t head_chunk_tokens(int64_t vocab);

/// For every token t with targets[t] >= 0:
///   logits[o] = sum_i x[t, i] * w[o, i]      rounded to x's dtype, then f32
///   token_loss[t] = log(sum_o exp(logits[o])) - logits[targets[t]]
/// Tokens with a negative target (-100: untrained) have loss 0 and no gradient.
///   x [T, hidden], w [V, hidden]: f32, f16 or bf16; token_loss [T]
/// Works through the trained tokens in chunks of head_chunk_tokens(V); memory is one chunk of
/// logits, [chunk, V], in bf16 when x is bf16 and in f32 otherwise. dlogits take the logits' place,
/// so with bf16 x they are rounded to bf16 before the two products of backward, as PyTorch's mixed
/// precision does; with f16 they stay in f32, where small gradients do not vanish.
/// With `split` the loss is that of the whole vocabulary, equal on all ranks; dw is complete for
/// this rank's rows, and dx is this rank's part of a sum over ranks that the caller makes. Chunks
/// are those of total_rows.
/// Throws UsageError for a target >= V (total_rows with `split`).
void linear_cross_entropy(ConstView x, ConstView w, std::span<const int32_t> targets,
                          std::span<float> token_loss, const HeadGradients& gradients,
                          const Exec& exec, const VocabSplit* split = nullptr);

}  // namespace cria::ops
