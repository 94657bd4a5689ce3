// New rows of more sequences than a kernel's arguments hold, against the processor: the same bits.
#include <gtest/gtest.h>

#include "ops/appended_rows.h"
#include "ops_cuda/tested_device.h"

namespace cria::ops {
namespace {

TEST(CacheAppendOnDevice, HasTheProcessorsBits) {
  for (const DType rows : kComputeTypes) {
    for (const DType cache : {DType::f32, DType::f16, DType::bf16, DType::i8}) {
      for (const int64_t dim : {2, 70}) {
        const HeadShape shape{4, 2, dim};
        AppendedRows a(shape, rows, cache);
        There k(a.k), v(a.v);
        std::vector<There> keys, values;
        for (const Tensor& t : a.k_caches) keys.emplace_back(t);
        for (const Tensor& t : a.v_caches) values.emplace_back(t);
        append_to_caches(k, v, a.rows(keys, values), shape, on_device());
        append_to_caches(a.k, a.v, a.rows(a.k_caches, a.v_caches), shape, reference());
        for (size_t n = 0; n < keys.size(); ++n) {
          EXPECT_TRUE(same_bits(keys[n].back(), a.k_caches[n])) << n;
          EXPECT_TRUE(same_bits(values[n].back(), a.v_caches[n])) << n;
        }
      }
    }
  }
}

}  // namespace
}  // namespace cria::ops
