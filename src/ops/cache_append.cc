// On the processor each KV head of each sequence's keys, and of its values, is a piece of work.
#include "ops/cache_append.h"

#include "ops/attention_door.h"
#include "ops/device.h"
#include "ops/door.h"
#include "ops/elementwise_kernels.h"
#include "ops/elementwise_ref.h"
#include "ops/int8_rows.h"

namespace cria::ops {
namespace {

constexpr std::string_view kOp = "append_to_caches";

void append_head(ConstView from, View to, bool reference) {
  if (to.dtype == DType::i8) {
    round_to_int8(from, to);
  } else if (reference) {
    convert_ref(from, to);
  } else {
    const auto& kernels = elementwise_kernels();
    for (int64_t r = 0; r < from.rows; ++r)
      kernels.convert(from.at(r, 0), from.dtype, to.at(r, 0), to.dtype, from.cols);
  }
}

}  // namespace

void append_to_caches(ConstView k, ConstView v, std::span<const CachedSequence> sequences,
                      const HeadShape& shape, const Exec& exec) {
  for (const auto& [name, rows] : {std::pair<std::string_view, ConstView>{"k", k}, {"v", v}}) {
    require_compute(kOp, name, rows);
    require_shape(kOp, name, rows, k.rows, shape.kv_heads * shape.head_dim);
  }
  for (size_t n = 0; n < sequences.size(); ++n)
    require_sequence(kOp, n, sequences[n], k.rows, shape);
  if (exec.device != nullptr) return exec.device->append_to_caches(k, v, sequences, shape);
  const int64_t dim = shape.head_dim, heads = 2 * shape.kv_heads;
  exec.pool.parallel_for(std::ssize(sequences) * heads, [&](int64_t i) {
    const CachedSequence& n = sequences[static_cast<size_t>(i / heads)];
    const int64_t head = i % heads / 2;
    const bool values = i % 2 != 0;
    const ConstView from =
        (values ? v : k).row_range(n.first_row, n.count).col_range(head * dim, dim);
    const View to = (values ? n.v : n.k).row_range(head * n.capacity + n.first_position, n.count);
    append_head(from, to, exec.reference);
  });
}

}  // namespace cria::ops
