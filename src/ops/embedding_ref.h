// The plain versions of embedding.h.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/tensor.h"

namespace cria::ops {

void embedding_ref(std::span<const int32_t> ids, ConstView table, View out, int64_t first_row);
void embedding_backward_ref(std::span<const int32_t> ids, ConstView dout, View dtable,
                            int64_t first_row);

}  // namespace cria::ops
