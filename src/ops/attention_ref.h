// The plain versions of attention.h, and the mathematics in double that they wrap.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/attention.h"

namespace cria::ops {

/// A matrix of doubles, row after row: what the plain versions calculate with.
struct Doubles {
  int64_t rows = 0, cols = 0;
  std::vector<double> at;
  Doubles(int64_t r, int64_t c) : rows(r), cols(c), at(static_cast<size_t>(r * c)) {}
  explicit Doubles(ConstView v);
  [[nodiscard]] double* row(int64_t r) { return at.data() + r * cols; }
  [[nodiscard]] const double* row(int64_t r) const { return at.data() + r * cols; }
  /// Rounded to the view's dtype.
  void store(View to) const;
};

struct AttentionInputs {
  Doubles q, k, v;
};
struct AttentionResult {
  Doubles out, lse;
};
AttentionResult attention_f64(const AttentionInputs& in, std::span<const int64_t> documents,
                              const HeadShape& shape);
/// The gradients of q, k and v.
AttentionInputs attention_backward_f64(const AttentionInputs& in, const Doubles& dout,
                                       std::span<const int64_t> documents, const HeadShape& shape);

void attention_ref(ConstView q, ConstView k, ConstView v, std::span<const int64_t> documents,
                   const HeadShape& shape, View out, View lse);
void attention_backward_ref(ConstView q, ConstView k, ConstView v, ConstView dout,
                            std::span<const int64_t> documents, const HeadShape& shape, View dq,
                            View dk, View dv);
void attention_cached_ref(ConstView q, std::span<const CachedSequence> sequences,
                          const HeadShape& shape, View out);

}  // namespace cria::ops
