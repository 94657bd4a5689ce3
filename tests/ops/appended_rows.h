// New tokens of several sequences and their caches, for the tests of append_to_caches.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "ops/cache_append.h"
#include "ops/int8_rows.h"
#include "ops/window.h"

namespace cria::ops {

/// Sequences that bring 0, 1 or several tokens to caches of different lengths. Rows of k and v have a gap behind them, and hold
/// what is no number.
struct AppendedRows {
  static constexpr int64_t kSequences = 11;
  HeadShape shape;
  Window k, v;
  std::vector<Tensor> k_caches, v_caches;
  AppendedRows(const HeadShape& s, DType rows, DType cache)
      : shape(s),
        k(rows, 2 * kSequences, s.kv_heads * s.head_dim, 1, 6),
        v(rows, 2 * kSequences, s.kv_heads * s.head_dim, 2, 6) {
    set_number(k.view(), 3, 1, std::numeric_limits<float>::infinity());
    set_number(v.view(), 4, 0, std::nanf(""));
    for (int64_t n = 0; n < kSequences; ++n) {
      for (auto* caches : {&k_caches, &v_caches}) {
        const int64_t cols = cache == DType::i8 ? int8_row_bytes(s.head_dim) : s.head_dim;
        caches->emplace_back(cache, s.kv_heads * capacity(n), cols);
      }
    }
  }
  static int64_t capacity(int64_t n) { return 5 + n; }
  static int64_t count(int64_t n) { return n == 4 ? 0 : n % 3 == 0 ? 3 : 1; }
  /// Every sequence's rows, with memory that `there` makes of each cache.
  template <class There>
  [[nodiscard]] std::vector<CachedSequence> rows(std::vector<There>& keys,
                                                 std::vector<There>& values) const {
    std::vector<CachedSequence> all;
    int64_t row = 0;
    for (int64_t n = 0; n < kSequences; ++n) {
      const auto i = static_cast<size_t>(n);
      all.push_back({row, count(n), n % 2, keys[i], values[i], capacity(n)});
      row += count(n);
    }
    return all;
  }
};

}  // namespace cria::ops
