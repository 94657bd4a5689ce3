#include "ops/packed_layout.h"

#include <algorithm>

namespace cria::ops {
namespace {

constexpr int64_t kLine = 64;
int64_t lines(int64_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }

}  // namespace

std::optional<PackedLayout> packed_layout(DType type) {
  if (type == DType::bf16) return PackedLayout{};
  if (!is_quantised(type)) return std::nullopt;
  return PackedLayout{block_format(type), most_number(type) == 15};
}

PackedPanel packed_panel(const PackedLayout& layout, int64_t cols) {
  PackedPanel p;
  const auto section = [&](int64_t bytes) {
    const int64_t begin = p.unit_bytes;
    p.unit_bytes += lines(bytes);
    return begin;
  };
  if (layout.group == 0) {
    p.numbers = section((cols + 1) / 2 * kPanelRows * 4);
    p.bytes = p.unit_bytes;
    return p;
  }
  p.groups = cols / layout.group;
  p.unit_groups = layout.of_256 ? 256 / layout.group : layout.wide ? 1 : 2;
  const int64_t scales = (layout.of_256 ? 1 : p.unit_groups) * kPanelRows * (layout.wide ? 4 : 2);
  p.scales = section(scales);
  if (layout.offsets) p.offsets = section(scales);
  if (layout.of_256) {
    p.small_scales = section(p.unit_groups * kPanelRows);
    if (layout.offsets) p.small_offsets = section(p.unit_groups * kPanelRows);
  }
  p.numbers = section(p.unit_groups * layout.group * kPanelRows / (layout.nibbles ? 2 : 1));
  p.bytes = (p.groups + p.unit_groups - 1) / p.unit_groups * p.unit_bytes;
  return p;
}

PackedRow packed_row(const PackedLayout& layout, int64_t cols, bool pairs) {
  PackedRow r;
  if (layout.group == 0) {
    r.bytes = (cols + 1) / 2 * (pairs ? 4 : 8);
    return r;
  }
  r.group = std::max<int64_t>(32, dot_numbers(layout));
  r.sum_group = dot_numbers(layout);
  r.zero = layout.zero;
  r.offsets = layout.offsets;
  r.scales = cols;
  r.sums = r.scales + cols / r.group * 4;
  r.bytes = r.sums + cols / r.sum_group * 4;
  return r;
}

}  // namespace cria::ops
