// Lookup and its gradient, close to the formula.
#include "ops/embedding_ref.h"

#include <map>
#include <vector>

#include "ops/reference.h"

namespace cria::ops {

void embedding_ref(std::span<const int32_t> ids, ConstView table, View out, int64_t first_row) {
  for (int64_t t = 0; t < out.rows; ++t) {
    const int64_t row = ids[static_cast<size_t>(t)] - first_row;
    const bool here = row >= 0 && row < table.rows;
    for (int64_t i = 0; i < out.cols; ++i) set(out, t, i, here ? get(table, row, i) : 0);
  }
}

void embedding_backward_ref(std::span<const int32_t> ids, ConstView dout, View dtable,
                            int64_t first_row) {
  std::map<int32_t, std::vector<double>> sums;
  for (int64_t t = 0; t < dout.rows; ++t) {
    auto& sum = sums[ids[static_cast<size_t>(t)]];
    sum.resize(static_cast<size_t>(dout.cols));
    for (int64_t i = 0; i < dout.cols; ++i) sum[static_cast<size_t>(i)] += get(dout, t, i);
  }
  for (const auto& [id, sum] : sums) {
    const int64_t row = id - first_row;
    if (row < 0 || row >= dtable.rows) continue;
    for (int64_t i = 0; i < dout.cols; ++i) {
      set(dtable, row, i, get(dtable, row, i) + sum[static_cast<size_t>(i)]);
    }
  }
}

}  // namespace cria::ops
