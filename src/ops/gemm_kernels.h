// What the blocked product (gemm.cc) asks of each instruction-set level.
#pragma once

#include <cstdint>

#include "ops/gemm.h"
#include "ops/isa.h"

namespace cria::ops {

// A side is packed into panels of a few outer entries: panel p holds, for each k, the entries
// [p * taken, p * taken + taken) side by side in `width` 32-bit cells, width >= taken. Cells past
// the last entry hold copies of valid numbers; nothing that is stored depends on them. A cell is an
// f32, or with `pairs` two bf16 of neighbouring k (an odd last k is paired with 0).

struct PackJob {
  GemmSide side;
  int64_t first_panel = 0, panels = 0;
  int64_t k_begin = 0, k_end = 0;
  int64_t taken = 0, width = 0;
  bool pairs = false;
  float* to = nullptr;  // panel first_panel; panels are cells(k_end - k_begin) * width apart
};

/// One thread's piece of the product: whole panels of A times whole panels of B.
struct TileJob {
  const float* a = nullptr;  // packed panels
  const float* b = nullptr;
  int64_t cells = 0;  // depth of the panels
  bool pairs = false;
  int64_t rows = 0, cols = 0;    // of c; the last panels may be only partly used
  const float* start = nullptr;  // sums so far, or nullptr for 0
  float* sums = nullptr;         // where sums go on, or nullptr when this was the last k
  int64_t sums_stride = 0;       // of start and sums, whole panels wide
  void* c = nullptr;             // where the finished product goes
  int64_t c_stride = 0;
  DType dtype = DType::f32;
  bool add = false;
};

struct GemmKernels {
  int64_t tile_rows, tile_cols;  // entries taken by a panel of A, of B
  int64_t a_width, b_width;      // cells of a panel of A, of B
  bool has_pairs;                // can multiply pairs of bf16
  void (*multiply)(const TileJob&);
};
CRIA_KERNEL_TABLE(GemmKernels, gemm_kernels)

struct PackKernels {
  void (*pack)(const PackJob&);
};
CRIA_KERNEL_TABLE(PackKernels, pack_kernels)

}  // namespace cria::ops
