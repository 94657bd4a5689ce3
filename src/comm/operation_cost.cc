#include "comm/operation_cost.h"

#include <algorithm>

namespace cria {
namespace {

constexpr int64_t kPieceBytes = 1 << 20;

int64_t rows_of_rank(int64_t rows, int size, int rank) {
  return rows * (rank + 1) / size - rows * rank / size;
}

}  // namespace

int64_t rows_in_piece(int64_t row_bytes) { return std::max<int64_t>(1, kPieceBytes / row_bytes); }

OperationCost small_sum_cost(int64_t bytes, int size) { return {.sent = bytes * (size - 1)}; }

OperationCost reduce_scatter_cost(DType dtype, int64_t rows, int64_t cols, int size, int rank) {
  if (size == 1) return {};
  const int64_t row_bytes = bytes_of(dtype, cols), mine = rows_of_rank(rows, size, rank);
  // Two pieces of every other rank: one is added while the next arrives.
  const int64_t piece = std::min(rows_in_piece(row_bytes), std::max<int64_t>(1, mine)) * row_bytes;
  return {.sent = (rows - mine) * row_bytes, .kept = 2 * piece * (size - 1)};
}

OperationCost started_reduce_scatter_cost(DType dtype, int64_t rows, int64_t cols, int size,
                                          int rank) {
  const int64_t mine = rows_of_rank(rows, size, rank), row_bytes = bytes_of(dtype, cols);
  return {.sent = (rows - mine) * row_bytes, .kept = mine * row_bytes * (size - 1)};
}

OperationCost all_gather_cost(DType dtype, int64_t rows, int64_t cols, int size, int rank) {
  return {.sent = rows_of_rank(rows, size, rank) * bytes_of(dtype, cols) * (size - 1)};
}

OperationCost all_reduce_cost(DType dtype, int64_t rows, int64_t cols, int size, int rank) {
  const int64_t elements = rows * cols, bytes = bytes_of(dtype, elements);
  if (size == 1 || elements == 0) return {};
  if (dtype == DType::f32 && bytes <= kSmallSumBytes) return small_sum_cost(bytes, size);
  const OperationCost sums = reduce_scatter_cost(dtype, elements, 1, size, rank);
  return {.sent = sums.sent + all_gather_cost(dtype, elements, 1, size, rank).sent,
          .kept = sums.kept};
}

}  // namespace cria
