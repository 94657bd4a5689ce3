// How well a model foretells a text, and how far another form of the same model, with weights of fewer bits say, strays from it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "model/llama.h"

namespace cria {

/// Over all foretold tokens. Natural logarithms; sums in double, in the order of the text.
struct Quality {
  int64_t tokens = 0;
  double loss = 0;  // mean of -log p(token)
  // Against the reference; 0 without one.
  double reference_loss = 0;
  double divergence = 0;     // mean of KL(reference || model) = sum_v p_ref log(p_ref / p)
  double divergence_99 = 0;  // 99 of 100 tokens diverge less
  double largest_divergence = 0;
  double same_top = 0;  // share of tokens for which both think the same one likeliest
};

/// -log softmax(logits)[token], in double.
double token_loss(std::span<const float> logits, int32_t token);
/// KL(reference || model) of two rows of logits, in double; 0 at least.
double divergence(std::span<const float> reference, std::span<const float> model);

struct QualitySettings {
  /// The text is cut into windows of so many tokens; each begins anew, and its first token is not foretold. 2 at least.
  int64_t context = 512;
  DType cache = DType::bf16, reference_cache = DType::bf16;
};

/// `done` is called with the number of tokens of each window behind it. Throws UsageError when the text has no whole pair of tokens, or
/// context exceeds the model's; both models have the same vocabulary.
Quality evaluate_text(Decoder& model, Decoder* reference, std::span<const int32_t> ids,
                      const QualitySettings& settings, ThreadPool& pool,
                      const std::function<void(int64_t)>& done = {});

}  // namespace cria
