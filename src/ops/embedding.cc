// Checks, then rows on all threads; in backward tokens are first sorted by id, so that each row of
// the table is written by one thread, in token order.
#include "ops/embedding.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "ops/device.h"
#include "ops/door.h"
#include "ops/elementwise_kernels.h"
#include "ops/embedding_groups.h"
#include "ops/embedding_kernels.h"
#include "ops/embedding_ref.h"

namespace cria::ops {
namespace {

void check_ids(std::string_view op, std::span<const int32_t> ids, int64_t table_rows,
               int64_t first_row, int64_t total_rows) {
  const int64_t vocab_size = total_rows < 0 ? table_rows : total_rows;
  require(first_row >= 0 && first_row <= vocab_size && table_rows <= vocab_size - first_row,
          "{}: a table of {} rows from row {} on, expected a slice of {} rows", op, table_rows,
          first_row, vocab_size);
  for (size_t t = 0; t < ids.size(); ++t) {
    require(ids[t] >= 0 && ids[t] < vocab_size,
            "{}: token {} has id {}, expected an id of at least 0 and less than {}", op, t, ids[t],
            vocab_size);
  }
}

}  // namespace

void embedding(std::span<const int32_t> ids, ConstView table, View out, const Exec& exec,
               int64_t first_row, int64_t total_rows) {
  require_compute("embedding", "table", table);
  require_compute("embedding", "out", out);
  require_shape("embedding", "out", out, static_cast<int64_t>(ids.size()), table.cols);
  check_ids("embedding", ids, table.rows, first_row, total_rows);
  if (exec.device != nullptr) return exec.device->embedding(ids, table, out, first_row);
  if (exec.reference) return embedding_ref(ids, table, out, first_row);
  const Pieces pieces(out.rows, out.cols);
  const auto& kernels = elementwise_kernels();
  exec.pool.parallel_for(pieces.count(), [&](int64_t i) {
    pieces.for_rows(i, [&](int64_t t, int64_t c, int64_t n) {
      const int64_t row = ids[static_cast<size_t>(t)] - first_row;
      if (row >= 0 && row < table.rows) {
        kernels.convert(table.at(row, c), table.dtype, out.at(t, c), out.dtype, n);
      } else {
        std::memset(out.at(t, c), 0, static_cast<size_t>(bytes_of(out.dtype, n)));
      }
    });
  });
}

void embedding_backward(std::span<const int32_t> ids, ConstView dout, View dtable, const Exec& exec,
                        int64_t first_row, int64_t total_rows) {
  constexpr std::string_view op = "embedding_backward";
  require_compute(op, "dout", dout);
  require_dtype(op, "dtable", dtable, DType::f32);
  require_shape(op, "dout", dout, static_cast<int64_t>(ids.size()), dtable.cols);
  check_ids(op, ids, dtable.rows, first_row, total_rows);
  if (exec.reference) return embedding_backward_ref(ids, dout, dtable, first_row);
  if (ids.empty() || dtable.cols == 0) return;

  thread_local EmbeddingGroups memory;
  EmbeddingGroups& groups = memory;
  groups.sort(ids, first_row, dtable.rows);
  if (exec.device != nullptr)
    return exec.device->embedding_backward(groups.tokens, groups.starts, groups.rows, dout, dtable);
  // Columns are cut too: one id (a template's token) may have most of the tokens.
  constexpr int64_t columns = 1024;
  const int64_t parts = (dtable.cols + columns - 1) / columns;
  const auto count = static_cast<int64_t>(groups.next.size());
  const auto& kernels = embedding_kernels();
  exec.pool.parallel_for(count * parts, [&](int64_t i) {
    const auto g = static_cast<size_t>(i / parts);
    const int64_t c = i % parts * columns, n = std::min(columns, dtable.cols - c);
    const int32_t* tokens = groups.tokens.data() + groups.starts[g];
    const int64_t row = ids[static_cast<size_t>(tokens[0])] - first_row;
    kernels.add_rows(dout.at(0, c), dout.dtype, dout.stride, tokens,
                     groups.starts[g + 1] - groups.starts[g],
                     static_cast<float*>(dtable.at(row, c)), n);
  });
}

}  // namespace cria::ops
