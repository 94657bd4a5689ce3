// What a collective will cost one rank of a group, by the rules that Comm follows: for plans made before anything runs.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace cria {

struct OperationCost {
  int64_t sent = 0;  // bytes that Comm::bytes_sent() will count
  int64_t kept = 0;  // bytes that the group keeps for its next operation
};

/// Rows [rows, cols] of one piece of memory, over `size` ranks of which this has block `rank` of the rows.
OperationCost all_reduce_cost(DType dtype, int64_t rows, int64_t cols, int size, int rank);
OperationCost reduce_scatter_cost(DType dtype, int64_t rows, int64_t cols, int size, int rank);
/// Of one that goes on while the rank computes: `kept` is freed when it is done.
OperationCost started_reduce_scatter_cost(DType dtype, int64_t rows, int64_t cols, int size,
                                          int rank);
OperationCost all_gather_cost(DType dtype, int64_t rows, int64_t cols, int size, int rank);
/// Sums and maxima of spans: everybody's go to everybody.
OperationCost small_sum_cost(int64_t bytes, int size);

/// Messages of up to this go to everybody at once; larger sums are divided over the ranks.
inline constexpr int64_t kSmallSumBytes = 32 << 10;
/// Rows that a large sum sends at a time, so that adding one piece overlaps with the arrival of the next.
int64_t rows_in_piece(int64_t row_bytes);

}  // namespace cria
