// A weight as a layer multiplies with it: a matrix as it lies in an arena, or packed for generation.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/packed.h"
#include "tensor/tensor.h"

namespace cria {

/// One of the two; borrowed. Training knows plain weights only.
struct Weight {
  Weight() = default;
  Weight(ConstView matrix) : plain(matrix) {}  // NOLINT: a matrix serves as a weight
  explicit Weight(std::vector<const ops::PackedMatrix*> matrices) : packed(std::move(matrices)) {}
  operator ConstView() const { return plain; }  // NOLINT

  /// Outputs of the product.
  [[nodiscard]] int64_t rows() const {
    int64_t sum = plain.rows;
    for (const ops::PackedMatrix* m : packed) sum += m->rows();
    return sum;
  }

  ConstView plain;
  std::vector<const ops::PackedMatrix*> packed;  // their rows follow one another
};

}  // namespace cria
