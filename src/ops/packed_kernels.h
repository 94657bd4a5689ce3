// What linear_packed asks of each instruction-set level.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/isa.h"
#include "ops/packed_layout.h"

namespace cria::ops {

/// A row of x, made ready for the kernels.
struct PackedPrepareJob {
  const void* from = nullptr;
  DType dtype = DType::f32;
  int64_t cols = 0;
  PackedRow row;
  bool pairs = false;
  std::byte* tile = nullptr;  // of so many rows, this one at `index`
  int64_t tile_rows = 1, index = 0;
};

/// Some panels of w times some prepared rows of x.
struct PackedJob {
  const std::byte* panels = nullptr;  // side by side
  DType type = DType::bf16;
  PackedPanel panel;
  int64_t cols = 0;  // summed
  int64_t outs = 0;  // rows of w from the first panel on; the last panel may be only partly used
  const std::byte* x = nullptr;  // tiles of prepared rows, one after the other
  PackedRow row;
  bool pairs = false;
  int64_t x_rows = 0;
  void* y = nullptr;  // of the first panel's first row and the first row of x
  DType y_dtype = DType::f32;
  int64_t y_stride = 0;
  bool add = false;
  bool streams = false;  // few rows of x: the panels come from memory
};

struct PackedKernels {
  void (*multiply)(const PackedJob&);
  /// How many rows of x the next tile takes when so many are left. Every multiple of 24 rows ends a tile.
  int64_t (*tile_rows)(DType type, bool pairs, int64_t left);
  bool has_pairs;  // multiplies pairs of bf16
};
CRIA_KERNEL_TABLE(PackedKernels, packed_kernels)

struct PackedPrepareKernels {
  void (*prepare)(const PackedPrepareJob&);
};
CRIA_KERNEL_TABLE(PackedPrepareKernels, packed_prepare_kernels)

}  // namespace cria::ops
