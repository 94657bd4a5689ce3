// Lookup and its gradient, close to the formula.
#include "ops/embedding_ref.h"

#include <map>
#include <vector>

#include "ops/reference.h"

namespace cria::ops {

void embedding_ref(std::span<const int32_t> ids, ConstView table, View out) {
  for (int64_t t = 0; t < out.rows; ++t) {
    const int64_t id = ids[static_cast<size_t>(t)];
    for (int64_t i = 0; i < out.cols; ++i) set(out, t, i, get(table, id, i));
  }
}

void embedding_backward_ref(std::span<const int32_t> ids, ConstView dout, View dtable) {
  std::map<int32_t, std::vector<double>> sums;
  for (int64_t t = 0; t < dout.rows; ++t) {
    auto& sum = sums[ids[static_cast<size_t>(t)]];
    sum.resize(static_cast<size_t>(dout.cols));
    for (int64_t i = 0; i < dout.cols; ++i) sum[static_cast<size_t>(i)] += get(dout, t, i);
  }
  for (const auto& [id, sum] : sums) {
    for (int64_t i = 0; i < dout.cols; ++i) {
      set(dtable, id, i, get(dtable, id, i) + sum[static_cast<size_t>(i)]);
    }
  }
}

}  // namespace cria::ops
