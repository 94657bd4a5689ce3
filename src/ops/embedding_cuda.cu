// Rows of a table by token id. In backward a block has one id, whose tokens it adds in order: no atomic addition, so the same
// bits on every run.
#include "ops/cuda/few.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/launchers.h"
#include "ops/cuda/reduce.h"

namespace cria::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kStep = kThreads * 8;

template <class Ids>
__global__ void __launch_bounds__(kThreads)
    take_rows(const __grid_constant__ Ids ids, ConstRows table, Rows out, int64_t tokens,
              int64_t first_row, int64_t table_rows, int64_t cols) {
  const int64_t col = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * 8;
  if (col >= cols) return;
  for (int64_t t = blockIdx.y; t < tokens; t += gridDim.y) {
    const int64_t row = ids[t] - first_row;
    float v[8] = {};
    if (row >= 0 && row < table_rows) load8(table, row, col, cols, v);
    store8(out, t, col, cols, v);
  }
}

__global__ void __launch_bounds__(kThreads)
    add_tokens(const int32_t* tokens, const int32_t* starts, const int32_t* rows, int64_t groups,
               ConstRows dout, Rows dtable, int64_t cols) {
  const int64_t col = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * 8;
  if (col >= cols) return;
  for (int64_t group = blockIdx.y; group < groups; group += gridDim.y) {
    float sum[8] = {}, v[8];
    for (int32_t i = starts[group]; i < starts[group + 1]; ++i) {
      load8(dout, tokens[i], col, cols, v);
      for (int e = 0; e < 8; ++e) sum[e] += v[e];
    }
    load8(dtable, rows[group], col, cols, v);
    for (int e = 0; e < 8; ++e) v[e] += sum[e];
    store8(dtable, rows[group], col, cols, v);
  }
}

}  // namespace

void embedding(Stream& stream, std::span<const int32_t> ids, ConstView table, View out,
               int64_t first_row) {
  with_list(stream, ids, [&](const auto& list) {
    launch(take_rows<std::decay_t<decltype(list)>>,
           dim3(blocks_for(out.cols, kStep), grid_rows(out.rows)), kThreads, 0, stream, list,
           rows_of(table), rows_of(out), out.rows, first_row, table.rows, out.cols);
  });
}

void embedding_backward(Stream& stream, std::span<const int32_t> tokens,
                        std::span<const int32_t> starts, std::span<const int32_t> rows,
                        ConstView dout, View dtable) {
  const auto groups = static_cast<int64_t>(rows.size());
  launch(add_tokens, dim3(blocks_for(dtable.cols, kStep), grid_rows(groups)), kThreads, 0, stream,
         stream.upload(tokens), stream.upload(starts), stream.upload(rows), groups, rows_of(dout),
         rows_of(dtable), dtable.cols);
}

}  // namespace cria::cuda
