// Where the numbers of a panel of packed weights lie, and those of a row of x that is multiplied with them. Internal to ops.
#pragma once

#include <cstdint>
#include <optional>

#include "tensor/open_block.h"

namespace cria::ops {

constexpr int64_t kPanelRows = 16;

/// What is stored of a type: its unsigned whole numbers in groups. Of bf16, numbers without scales, the group is 0.
struct PackedLayout : BlockFormat {
  bool nibbles = false;  // two numbers a byte
};
/// Nothing for types that are not packed.
std::optional<PackedLayout> packed_layout(DType type);

/// Numbers whose products make one whole sum: those of a group, but 32 of int8, where x rounded by more would lose more than the
/// weights do.
constexpr int64_t dot_numbers(const PackedLayout& layout) {
  return layout.wide && !layout.nibbles ? 32 : layout.group;
}

/// A panel is a row of units of neighbouring columns, each with its scales in front of its numbers, so that all of it is read in one
/// stream. Sections are bytes from the start of a unit, each a multiple of 64; [..][16] is one entry for each row of the panel.
struct PackedPanel {
  int64_t groups = 0;               // of a row; the last unit may have room for more
  int64_t unit_groups = 1;          // 256 numbers with of_256, one group with wide, else two
  int64_t scales = 0, offsets = 0;  // f16 [unit_groups][16], with of_256 [16], with wide f32 [16]
  int64_t small_scales = 0, small_offsets = 0;  // i8 [unit_groups][16], only with of_256
  // bytes: [numbers / 4][16][4]; nibbles: [numbers / 8][16][4], low half of a byte k, high half k + 4; bf16: [cols / 2][16][2]
  int64_t numbers = 0;
  int64_t unit_bytes = 0;
  int64_t bytes = 0;  // of the panel
};
PackedPanel packed_panel(const PackedLayout& layout, int64_t cols);

/// Rows of x, prepared in tiles of T rows. Sections of a tile begin T times these bytes after its start, and [..][T] is one entry
/// for each row of the tile: a kernel reads what it needs of T rows from one place.
struct PackedRow {
  int64_t group = 0;      // numbers that share a scale: dot_numbers(), but at least 32
  int64_t sum_group = 0;  // numbers that share a sum: dot_numbers()
  // At 0: i8 [cols / 4][T][4]; for bf16 weights pairs of bf16 or of f32, [cols / 2][T][2].
  int64_t scales = 0;  // f32 [cols / group][T]
  int64_t sums =
      0;  // [cols / sum_group][T], of whole numbers: -zero * sum as i32, or with offsets scale * sum as f32
  int64_t bytes = 0;  // of a row; a tile takes T times as many
  int64_t zero = 0;
  bool offsets = false;
};
/// `pairs`: of bf16 x that is multiplied as pairs.
PackedRow packed_row(const PackedLayout& layout, int64_t cols, bool pairs);

}  // namespace cria::ops
