// Rounding that knows what its errors do: each column's error is made good in the columns after it, as far as inputs tell.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "ops/exec.h"
#include "tensor/tensor.h"

namespace cria {

/// What is fed back. With H = V V^T, V upper triangular, the outputs' error of a row with errors e is the sum over columns c of
/// (sum over i <= c of e[i] V[i, c])^2. Column by column it is least when what column c is rounded from is
///   w[c] + sum over i < c of e[i] * factors[c, i],  factors[c, i] = V[i, c] / V[c, c].
struct Feedback {
  Tensor factors;                 // [I, I] f32, below the diagonal
  std::vector<float> importance;  // V[c, c]^2: what an error of column c alone costs
};

/// `products` [I, I] f32: sums over tokens of x[i] * x[j], of a matrix' inputs; overwritten. A hundredth of the diagonal's mean is
/// added to it, so that inputs that never vary are no harm. Throws Error(numbers) for what is not finite.
Feedback feedback_of(View products, const ops::Exec& exec);

/// Rounds w [O, I] f32 to blocks of `type`, whose scales are chosen by what is to be rounded. Writes the blocks, row after row, and
/// what they stand for to w. The same bits for any number of threads.
/// Source: Frantar et al., "GPTQ", 2023; in the form of Chen et al., "The Geometry of LLM Quantization", 2025 (Babai's algorithm).
void round_with_feedback(DType type, View w, const Feedback& feedback, std::span<std::byte> blocks,
                         const ops::Exec& exec);

}  // namespace cria
