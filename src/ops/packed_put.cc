#include "ops/packed_put.h"

#include <immintrin.h>

#include <array>
#include <cstring>

namespace cria::ops {
namespace {

constexpr int64_t kLineBytes = kPanelRows * 4;

/// Where a group of a panel lies.
struct GroupPlace {
  std::byte* unit;
  int64_t in_unit;
  std::byte* numbers;
};
GroupPlace place_of(const PackedLayout& layout, const PackedPanel& at, std::byte* panel,
                    int64_t g) {
  GroupPlace p{panel + g / at.unit_groups * at.unit_bytes, g % at.unit_groups, nullptr};
  p.numbers =
      p.unit + at.numbers + p.in_unit * layout.group * kPanelRows / (layout.nibbles ? 2 : 1);
  return p;
}

/// Scales of group `s` of a block.
void put_scales(const OpenBlock& block, size_t s, const PackedLayout& layout, const PackedPanel& at,
                const GroupPlace& p, int64_t row) {
  if (layout.wide) {
    std::memcpy(p.unit + at.scales + row * 4, &block.wide_scale, 4);
    return;
  }
  const int64_t half = ((layout.of_256 ? 0 : p.in_unit) * kPanelRows + row) * 2,
                small = p.in_unit * kPanelRows + row;
  std::memcpy(p.unit + at.scales + half, &block.scale, 2);
  if (layout.offsets) std::memcpy(p.unit + at.offsets + half, &block.offset, 2);
  if (!layout.of_256) return;
  p.unit[at.small_scales + small] = static_cast<std::byte>(block.small_scales[s]);
  if (layout.offsets)
    p.unit[at.small_offsets + small] = static_cast<std::byte>(block.small_offsets[s]);
}

/// Of eight numbers below 16 the first four as low halves of bytes, the others as high halves.
uint32_t nibbles_of(const uint8_t* numbers) {
  uint64_t eight = 0;
  std::memcpy(&eight, numbers, 8);
  return static_cast<uint32_t>(eight | eight >> 28);
}

void put_numbers(const uint8_t* numbers, const PackedLayout& layout, std::byte* to, int64_t row) {
  to += row * 4;
  for (int64_t k = 0; k < layout.group; k += layout.nibbles ? 8 : 4, to += kLineBytes) {
    if (layout.nibbles) {
      const uint32_t pairs = nibbles_of(numbers + k);
      std::memcpy(to, &pairs, 4);
    } else {
      std::memcpy(to, numbers + k, 4);
    }
  }
}

/// Four bytes four times of each of the 16 rows: four lines.
struct SixteenRows {
  __m128i row[kPanelRows];
};
void put_four_lines(const SixteenRows& rows, std::byte* to) {
  for (size_t r = 0; r < kPanelRows; r += 4, to += 16) {
    const __m128i a = _mm_unpacklo_epi32(rows.row[r], rows.row[r + 1]),
                  b = _mm_unpackhi_epi32(rows.row[r], rows.row[r + 1]),
                  c = _mm_unpacklo_epi32(rows.row[r + 2], rows.row[r + 3]),
                  d = _mm_unpackhi_epi32(rows.row[r + 2], rows.row[r + 3]);
    const __m128i lines[] = {_mm_unpacklo_epi64(a, c), _mm_unpackhi_epi64(a, c),
                             _mm_unpacklo_epi64(b, d), _mm_unpackhi_epi64(b, d)};
    for (int64_t i = 0; i < 4; ++i)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i * kLineBytes), lines[i]);
  }
}

__m128i load16(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }

/// nibbles_of() of 32 numbers.
__m128i nibbles_of_32(const uint8_t* numbers) {
  const auto pairs = [](const void* p) {
    const __m128i v = load16(p);
    return _mm_castsi128_ps(_mm_or_si128(v, _mm_srli_epi64(v, 28)));
  };
  return _mm_castps_si128(_mm_shuffle_ps(pairs(numbers), pairs(numbers + 16), 0x88));
}

using SixteenBlocks = std::array<OpenBlock, kPanelRows>;

/// Numbers of group `s` of all rows' blocks.
void put_numbers_of_all(const SixteenBlocks& blocks, size_t s, const PackedLayout& layout,
                        std::byte* to) {
  const auto begin = s * static_cast<size_t>(layout.group);
  SixteenRows rows;
  for (int64_t k = 0; k < layout.group; k += layout.nibbles ? 32 : 16, to += 4 * kLineBytes) {
    for (size_t r = 0; r < kPanelRows; ++r) {
      const uint8_t* const from = &blocks[r].numbers[begin + static_cast<size_t>(k)];
      rows.row[r] = layout.nibbles ? nibbles_of_32(from) : load16(from);
    }
    put_four_lines(rows, to);
  }
}

void put_blocks(DType type, int64_t cols, const std::byte* rows, int64_t first, int64_t count,
                std::byte* panel) {
  const PackedLayout layout = *packed_layout(type);
  const PackedPanel at = packed_panel(layout, cols);
  const int64_t row_bytes = bytes_of(type, cols), elements = block_elements(type);
  const auto groups = static_cast<size_t>(elements / layout.group);
  SixteenBlocks blocks;
  for (int64_t b = 0; b < cols / elements; ++b, rows += block_bytes(type)) {
    open_blocks(type, rows, row_bytes, std::span(blocks).first(static_cast<size_t>(count)));
    for (size_t s = 0; s < groups; ++s) {
      const GroupPlace p =
          place_of(layout, at, panel, b * static_cast<int64_t>(groups) + static_cast<int64_t>(s));
      for (int64_t r = 0; r < count; ++r)
        put_scales(blocks[static_cast<size_t>(r)], s, layout, at, p, first + r);
      if (count == kPanelRows) {
        put_numbers_of_all(blocks, s, layout, p.numbers);
        continue;
      }
      for (int64_t r = 0; r < count; ++r)
        put_numbers(&blocks[static_cast<size_t>(r)].numbers[s * static_cast<size_t>(layout.group)],
                    layout, p.numbers, first + r);
    }
  }
}

/// Columns [begin, cols) of rows of bf16, two at a time; the last one may stand alone.
void put_pairs(int64_t begin, int64_t cols, const std::byte* rows, int64_t first, int64_t count,
               std::byte* panel) {
  for (int64_t r = 0; r < count; ++r, rows += cols * 2) {
    for (int64_t k = begin; k < cols; k += 2)
      std::memcpy(panel + k / 2 * kLineBytes + (first + r) * 4, rows + k * 2, k + 1 < cols ? 4 : 2);
  }
}

void put_bf16(int64_t cols, const std::byte* rows, int64_t first, int64_t count, std::byte* panel) {
  if (count < kPanelRows) return put_pairs(0, cols, rows, first, count, panel);
  int64_t k = 0;
  for (; k + 8 <= cols; k += 8) {
    SixteenRows eight;
    for (size_t r = 0; r < kPanelRows; ++r)
      eight.row[r] = load16(rows + (static_cast<int64_t>(r) * cols + k) * 2);
    put_four_lines(eight, panel + k / 2 * kLineBytes);
  }
  put_pairs(k, cols, rows, first, count, panel);
}

}  // namespace

void put_panel_rows(DType type, int64_t cols, const std::byte* rows, int64_t first, int64_t count,
                    std::byte* panel) {
  if (type == DType::bf16) return put_bf16(cols, rows, first, count, panel);
  put_blocks(type, cols, rows, first, count, panel);
}

}  // namespace cria::ops
