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

/// Tokens whose logits exist at once: 64 to 512, about 16 Mi logits.
int64_t head_chunk_tokens(int64_t vocab);

/// A head of which each rank of a group holds some rows: w is [first_row, first_row + w.rows) of total_rows.
struct VocabSplit {
  int64_t first_row = 0, total_rows = 0;
  // Over the group, element by element, in place; called by all ranks in the same order with the same lengths.
  std::function<void(std::span<float>)> max;
  std::function<void(std::span<double>)> sum;
};

/// For every token t with targets[t] >= 0:
///   logits[o] = sum_i x[t, i] * w[o, i]      rounded to x's dtype, then f32
///   token_loss[t] = log(sum_o exp(logits[o])) - logits[targets[t]]
/// Tokens with a negative target (-100: untrained) have loss 0 and no gradient.
///   x [T, hidden], w [V, hidden]: f32, f16 or bf16; token_loss [T]
/// Works through the trained tokens in chunks of head_chunk_tokens(V); memory is one chunk of
/// logits, [chunk, V], in bf16 when x is bf16 and in f32 otherwise. dlogits take the logits' place,
/// so with bf16 x they are rounded to bf16 before the two products of backward, as PyTorch's mixed
/// precision does; with f16 they stay in f32, where small gradients do not vanish.
/// With `split`, targets are of the whole vocabulary, token_loss is the same on every rank, dw is that of the rank's rows and dx
/// the rank's contribution: the group's sum is the gradient.
/// Throws UsageError for a target >= V.
void linear_cross_entropy(ConstView x, ConstView w, std::span<const int32_t> targets,
                          std::span<float> token_loss, const HeadGradients& gradients,
                          const Exec& exec, const VocabSplit* split = nullptr);

}  // namespace cria::ops
