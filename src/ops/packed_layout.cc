#include "ops/packed_layout.h"

namespace cria::ops {
namespace {

constexpr int64_t kLine = 64;
int64_t lines(int64_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }

}  // namespace

std::optional<PackedLayout> packed_layout(DType type) {
  switch (type) {
    case DType::bf16:
      return PackedLayout{};
    case DType::q4_0:
      return PackedLayout{.group = 32, .zero = 8, .nibbles = true};
    case DType::q4_1:
      return PackedLayout{.group = 32, .nibbles = true, .offsets = true};
    case DType::q5_0:
      return PackedLayout{.group = 32, .zero = 16};
    case DType::q5_1:
      return PackedLayout{.group = 32, .offsets = true};
    case DType::q8_0:
      return PackedLayout{.group = 32, .zero = 128};
    case DType::q4_k:
      return PackedLayout{.group = 32, .nibbles = true, .offsets = true, .of_256 = true};
    case DType::q5_k:
      return PackedLayout{.group = 32, .offsets = true, .of_256 = true};
    case DType::q6_k:
      return PackedLayout{.group = 16, .zero = 32, .of_256 = true};
    default:
      return std::nullopt;
  }
}

PackedPanel packed_panel(const PackedLayout& layout, int64_t cols) {
  PackedPanel p;
  int64_t end = 0;
  const auto section = [&](int64_t bytes) {
    const int64_t begin = end;
    end += lines(bytes);
    return begin;
  };
  if (layout.group == 0) {
    p.numbers = section((cols + 1) / 2 * kPanelRows * 4);
    p.bytes = end;
    return p;
  }
  p.groups = cols / layout.group;
  p.bigs = (cols + 255) / 256;
  const int64_t halves = (layout.of_256 ? p.bigs : p.groups) * kPanelRows * 2;
  p.scales = section(halves);
  if (layout.offsets) p.offsets = section(halves);
  if (layout.of_256) {
    p.small_scales = section(p.groups * kPanelRows);
    if (layout.offsets) p.small_offsets = section(p.groups * kPanelRows);
  }
  p.numbers = section(cols * kPanelRows / (layout.nibbles ? 2 : 1));
  p.bytes = end;
  return p;
}

PackedRow packed_row(const PackedLayout& layout, int64_t cols, bool pairs) {
  PackedRow r;
  if (layout.group == 0) {
    r.bytes = (cols + 1) / 2 * (pairs ? 4 : 8);
    return r;
  }
  r.group = 32;
  r.sum_group = layout.group;
  r.zero = layout.zero;
  r.offsets = layout.offsets;
  r.scales = cols;
  r.sums = r.scales + cols / r.group * 4;
  r.bytes = r.sums + cols / r.sum_group * 4;
  return r;
}

}  // namespace cria::ops
