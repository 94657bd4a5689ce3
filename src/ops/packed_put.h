// Rows as they lie in a file into a panel of packed weights. Internal to ops.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/packed_layout.h"

namespace cria::ops {

/// Rows [first, first + count) of one panel, from rows that lie `bytes_of(type, cols)` apart. Whole panels go at the speed of
/// memory, 16 rows side by side; other rows one by one.
void put_panel_rows(DType type, int64_t cols, const std::byte* rows, int64_t first, int64_t count,
                    std::byte* panel);

}  // namespace cria::ops
