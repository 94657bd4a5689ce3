#include "ops/cache_append.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "ops/appended_rows.h"

namespace cria::ops {
namespace {

/// What row `position` of a head holds, and what it was to get.
void expect_row(ConstView cache, ConstView from, int64_t dim) {
  if (cache.dtype == DType::i8) {
    Tensor rounded(DType::i8, 1, int8_row_bytes(dim));
    round_to_int8(from, rounded);
    EXPECT_TRUE(same_bits(cache, rounded));
    return;
  }
  for (int64_t d = 0; d < dim; ++d) {
    const float want = number_at(from, 0, d), have = number_at(cache, 0, d);
    const float exact = cache.dtype == DType::bf16 ? static_cast<float>(bf16(want)) : want;
    if (!std::isnan(want)) {
      EXPECT_EQ(have, exact);
    }
  }
}

TEST(CacheAppend, PutsEachHeadsRowsBehindThoseOfItsSequence) {
  ThreadPool pool(2);
  for (const DType rows : {DType::f32, DType::bf16}) {
    for (const DType cache : {DType::f32, DType::bf16, DType::i8}) {
      for (const bool reference : {false, true}) {
        const HeadShape shape{4, 2, 40};
        AppendedRows a(shape, rows, cache);
        const std::vector<CachedSequence> all = a.rows(a.k_caches, a.v_caches);
        append_to_caches(a.k, a.v, all, shape, {.pool = pool, .reference = reference});
        for (const CachedSequence& n : all) {
          for (int64_t head = 0; head < 2; ++head) {
            for (int64_t p = 0; p < n.capacity; ++p) {
              const int64_t token = p - n.first_position, at = head * n.capacity + p;
              if (token >= 0 && token < n.count) {
                const auto from = [&](Window& w) {
                  return ConstView(w.view())
                      .row_range(n.first_row + token, 1)
                      .col_range(head * 40, 40);
                };
                expect_row(n.k.row_range(at, 1), from(a.k), 40);
                expect_row(n.v.row_range(at, 1), from(a.v), 40);
              } else {  // as it was
                EXPECT_TRUE(same_bits(n.k.row_range(at, 1), Tensor(cache, 1, n.k.cols)));
              }
            }
          }
        }
      }
    }
  }
}

TEST(CacheAppend, RefusesWhatDoesNotFit) {
  ThreadPool pool(1);
  const HeadShape shape{2, 1, 8};
  Tensor rows(DType::f32, 2, 8), cache(DType::f32, 4, 8), narrow(DType::f32, 4, 6);
  const auto append = [&](const CachedSequence& n) {
    append_to_caches(rows, rows, {&n, 1}, shape, {pool});
  };
  append({0, 2, 2, cache, cache, 4});
  EXPECT_THROW(append({0, 2, 3, cache, cache, 4}), UsageError);
  EXPECT_THROW(append({1, 2, 0, cache, cache, 4}), UsageError);
  EXPECT_THROW(append({0, 1, 0, cache, narrow, 4}), UsageError);
  EXPECT_THROW(append({0, 1, 0, cache, cache, 5}), UsageError);
}

}  // namespace
}  // namespace cria::ops
