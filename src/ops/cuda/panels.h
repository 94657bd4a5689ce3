// Panels of packed weights (ops/packed_layout.h) as kernels read them: in chunks of 16 bytes, which have some columns of four
// rows. Threads that read neighbouring chunks read memory from front to back.
#pragma once

#include "ops/cuda/rows.h"
#include "ops/packed.h"
#include "ops/packed_layout.h"

namespace cria::cuda {

/// What a chunk has of each of its rows: two bf16, eight numbers of 4 bits, or four of 8.
enum class Stored : int { pairs, nibbles, bytes };
template <Stored S>
constexpr int kChunkCols = S == Stored::pairs     ? 2
                           : S == Stored::nibbles ? 8
                                                  : 4;

constexpr int kChunksAcross = static_cast<int>(ops::kPanelRows) / 4;  // chunks of the same columns

/// A PackedMatrix as a kernel takes it.
struct Panels {
  const unsigned char* data;
  Stored stored;
  int64_t rows, cols, panel_bytes, unit_bytes;
  int64_t chunks;    // of a panel; the last may lie beyond the last column
  int unit_chunks;   // of a unit
  int group_chunks;  // of a group
  int zero;
  bool offsets, of_256, wide;
  int at_scales, at_offsets, at_small_scales, at_small_offsets, at_numbers;
};
Panels panels_of(const ops::PackedMatrix& m);

/// Four rows' numbers stand for scale * (number - zero) + offset.
struct Chunk {
  int64_t col;  // the first
  uint32_t words[4];
  float scale[4], offset[4];
};

/// Four rows' scales of a group: f32, f16, or f16 for 256 numbers times whole numbers for groups.
__device__ inline void load_scales(const Panels& p, const unsigned char* unit, int at, int at_small,
                                   int group, int across, float (&s)[4]) {
  if (p.wide) {
    const float4 four = reinterpret_cast<const float4*>(unit + at)[across];
    s[0] = four.x, s[1] = four.y, s[2] = four.z, s[3] = four.w;
    return;
  }
  const int index = (p.of_256 ? 0 : group) * kChunksAcross + across;
  const uint2 halves = reinterpret_cast<const uint2*>(unit + at)[index];
  s[0] = half_of(halves.x, 0, DType::f16), s[1] = half_of(halves.x, 1, DType::f16);
  s[2] = half_of(halves.y, 0, DType::f16), s[3] = half_of(halves.y, 1, DType::f16);
  if (!p.of_256) return;
  const uint32_t small =
      reinterpret_cast<const uint32_t*>(unit + at_small)[group * kChunksAcross + across];
  for (int r = 0; r < 4; ++r)
    s[r] *= static_cast<float>(static_cast<signed char>(small >> (8 * r) & 255u));
}

/// Chunk c of a panel; false where it lies beyond the last column.
template <Stored S>
__device__ inline bool load_chunk(const Panels& p, const unsigned char* panel, int64_t c,
                                  Chunk& to) {
  to.col = c / kChunksAcross * kChunkCols<S>;
  if (to.col >= p.cols) return false;
  const int64_t unit_index = c / p.unit_chunks;
  const int in_unit = static_cast<int>(c - unit_index * p.unit_chunks);
  const unsigned char* const unit = panel + unit_index * p.unit_bytes;
  const uint4 words = reinterpret_cast<const uint4*>(unit + p.at_numbers)[in_unit];
  to.words[0] = words.x, to.words[1] = words.y, to.words[2] = words.z, to.words[3] = words.w;
  if (S == Stored::pairs) return true;
  const int group = in_unit / p.group_chunks, across = in_unit % kChunksAcross;
  load_scales(p, unit, p.at_scales, p.at_small_scales, group, across, to.scale);
  if (p.offsets) {
    load_scales(p, unit, p.at_offsets, p.at_small_offsets, group, across, to.offset);
    // Types of 256 take their offsets away.
    for (int r = 0; r < 4; ++r) to.offset[r] = p.of_256 ? -to.offset[r] : to.offset[r];
  } else {
    for (int r = 0; r < 4; ++r) to.offset[r] = 0.0f;
  }
  return true;
}

/// Number i of a row's word, as it is stored.
template <Stored S>
__device__ inline int stored_number(uint32_t word, int i) {
  return static_cast<int>(S == Stored::bytes ? word >> (8 * i) & 255u
                                             : word >> (8 * (i % 4) + 4 * (i / 4)) & 15u);
}

/// What numbers [0, kChunkCols) of row r stand for.
template <Stored S>
__device__ inline void open_row(const Panels& p, const Chunk& c, int r, float (&x)[kChunkCols<S>]) {
#pragma unroll
  for (int i = 0; i < kChunkCols<S>; ++i) {
    if (S == Stored::pairs) {
      x[i] = half_of(c.words[r], i, DType::bf16);
    } else {
      x[i] = c.scale[r] * static_cast<float>(stored_number<S>(c.words[r], i) - p.zero);
      if (p.offsets) x[i] += c.offset[r];
    }
  }
}

}  // namespace cria::cuda
