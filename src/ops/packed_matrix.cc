// Weights into panels and back.
#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "ops/device.h"
#include "ops/door.h"
#include "ops/packed.h"
#include "ops/packed_layout.h"
#include "ops/packed_put.h"

namespace cria::ops {
namespace {

template <class T>
T at_bytes(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

int64_t panels_of(int64_t rows) { return (rows + kPanelRows - 1) / kPanelRows; }

/// A row's group as a panel stores it.
struct StoredGroup {
  float scale = 0, offset = 0;
  std::array<uint8_t, 128> numbers{};
};

/// Group g of row `row` of a panel.
StoredGroup stored_group(const PackedLayout& layout, const PackedPanel& at, const std::byte* panel,
                         int64_t row, int64_t g) {
  const int64_t in_unit = g % at.unit_groups;
  const std::byte* const unit = panel + g / at.unit_groups * at.unit_bytes;
  const auto scale = [&](int64_t half, int64_t small) {
    if (layout.wide) return at_bytes<float>(unit + half + row * 4);
    const int64_t group = layout.of_256 ? 0 : in_unit;
    const auto value =
        static_cast<float>(at_bytes<f16>(unit + half + (group * kPanelRows + row) * 2));
    if (!layout.of_256) return value;
    return value * static_cast<float>(at_bytes<int8_t>(unit + small + in_unit * kPanelRows + row));
  };
  StoredGroup stored;
  stored.scale = scale(at.scales, at.small_scales);
  // Types of 256 take their offsets away.
  if (layout.offsets)
    stored.offset = scale(at.offsets, at.small_offsets) * (layout.of_256 ? -1.0F : 1.0F);
  const std::byte* from =
      unit + at.numbers + in_unit * layout.group * kPanelRows / (layout.nibbles ? 2 : 1) + row * 4;
  uint8_t* to = stored.numbers.data();
  for (int64_t k = 0; k < layout.group; k += layout.nibbles ? 8 : 4, from += kPanelRows * 4) {
    for (size_t i = 0; i < 4; ++i) {
      const auto byte = static_cast<uint8_t>(from[i]);
      to[i] = layout.nibbles ? byte & 15 : byte;
      if (layout.nibbles) to[i + 4] = byte >> 4;
    }
    to += layout.nibbles ? 8 : 4;
  }
  return stored;
}

}  // namespace

bool PackedMatrix::takes(DType type) { return packed_layout(type).has_value(); }

PackedMatrix::PackedMatrix(DType type, int64_t rows, int64_t cols, Memory* memory)
    : type_(type), rows_(rows), cols_(cols) {
  const auto layout = packed_layout(type);
  require(layout.has_value(), "packed weights: {} is not packed, expected BF16 or a type of blocks",
          name_of(type));
  require(cols % block_elements(type) == 0,
          "packed weights: {} columns, expected a multiple of {} for {}", cols,
          block_elements(type), name_of(type));
  panel_bytes_ = packed_panel(*layout, cols).bytes;
  memory_ = Tensor(DType::u8, panels_of(rows), panel_bytes_, memory);
  panels_ = memory_.bytes().data();
}

int64_t PackedMatrix::bytes_of(DType type, int64_t rows, int64_t cols) {
  const auto layout = packed_layout(type);
  check(layout.has_value(), "the type is packed");
  return panels_of(rows) * packed_panel(*layout, cols).bytes;
}

size_t PackedMatrix::size_bytes() const {
  return static_cast<size_t>(panels_of(rows_) * panel_bytes_);
}

PackedMatrix PackedMatrix::row_range(int64_t first, int64_t count) const {
  static_assert(kRowsTogether == kPanelRows);
  check(first >= 0 && first % kPanelRows == 0 && count >= 0 && first + count <= rows_,
        "a range begins with a panel and ends inside the matrix");
  PackedMatrix range;
  range.type_ = type_;
  range.rows_ = count;
  range.cols_ = cols_;
  range.panel_bytes_ = panel_bytes_;
  range.panels_ = panel(first / kPanelRows);
  return range;
}

void PackedMatrix::put_rows(int64_t first, std::span<const std::byte> rows) {
  const int64_t row_bytes = cria::bytes_of(type_, cols_);
  check(row_bytes > 0 && std::ssize(rows) % row_bytes == 0, "whole rows are put");
  const int64_t end = first + std::ssize(rows) / row_bytes;
  check(first >= 0 && end <= rows_, "rows are inside the matrix");
  if (first == end) return;
  check(memory_.size_bytes() > 0, "rows are put where they are owned");
  std::byte* const panels = memory_.bytes().data() + first / kPanelRows * panel_bytes_;
  const auto put = [&](std::byte* to) {
    for (int64_t r = first; r < end;) {
      const int64_t in_panel = r % kPanelRows, count = std::min(kPanelRows - in_panel, end - r);
      put_panel_rows(type_, cols_, rows.data() + (r - first) * row_bytes, in_panel, count,
                     to + (r / kPanelRows - first / kPanelRows) * panel_bytes_);
      r += count;
    }
  };
  Memory* const memory = memory_.memory();
  if (memory == nullptr) return put(panels);
  // Laid out here and then uploaded. Panels of which rows were put before are fetched first.
  std::vector<std::byte> here(
      static_cast<size_t>((panels_of(end) - first / kPanelRows) * panel_bytes_));
  if (first % kPanelRows != 0 || (end % kPanelRows != 0 && end != rows_))
    memory->read(here.data(), panels, here.size());
  put(here.data());
  memory->write(panels, here.data(), here.size());
}

void PackedMatrix::numbers(int64_t r, std::span<PackedNumber> out) const {
  const PackedLayout layout = *packed_layout(type_);
  check(layout.group > 0 && r >= 0 && r < rows_ && std::ssize(out) == cols_,
        "a row in blocks is read");
  const PackedPanel at = packed_panel(layout, cols_);
  for (int64_t g = 0; g < at.groups; ++g) {
    const StoredGroup s = stored_group(layout, at, panel(r / kPanelRows), r % kPanelRows, g);
    for (int64_t k = 0; k < layout.group; ++k)
      out[static_cast<size_t>(g * layout.group + k)] = {s.numbers[static_cast<size_t>(k)], s.scale,
                                                        s.offset};
  }
}

void PackedMatrix::row(int64_t r, std::span<float> out) const {
  const PackedLayout layout = *packed_layout(type_);
  check(r >= 0 && r < rows_ && std::ssize(out) == cols_, "a row of the matrix is read");
  if (layout.group == 0) {
    const std::byte* const p = panel(r / kPanelRows) + r % kPanelRows * 4;
    for (int64_t k = 0; k < cols_; ++k)
      out[static_cast<size_t>(k)] =
          static_cast<float>(at_bytes<bf16>(p + k / 2 * kPanelRows * 4 + k % 2 * 2));
    return;
  }
  const PackedPanel at = packed_panel(layout, cols_);
  for (int64_t g = 0; g < at.groups; ++g) {
    const StoredGroup s = stored_group(layout, at, panel(r / kPanelRows), r % kPanelRows, g);
    float* const y = out.data() + g * layout.group;
    for (int64_t k = 0; k < layout.group; ++k) {
      y[k] = s.scale * static_cast<float>(s.numbers[static_cast<size_t>(k)] - layout.zero);
      if (layout.offsets) y[k] += s.offset;
    }
  }
}

void embedding_packed(std::span<const int32_t> ids, const PackedMatrix& table, View out,
                      const Exec& exec, int64_t first_row, int64_t total_rows) {
  require_compute("embedding_packed", "out", out);
  require_shape("embedding_packed", "out", out, std::ssize(ids), table.cols());
  const int64_t vocab_size = total_rows < 0 ? table.rows() : total_rows;
  for (const int32_t id : ids)
    require(id >= 0 && id < vocab_size, "embedding_packed: token {}, expected 0 to {}", id,
            vocab_size - 1);
  if (exec.device != nullptr) return exec.device->embedding_packed(ids, table, out, first_row);
  exec.pool.parallel_for(out.rows, [&](int64_t t) {
    const int64_t id = ids[static_cast<size_t>(t)] - first_row;
    if (id < 0 || id >= table.rows()) {
      std::memset(out.at(t, 0), 0, static_cast<size_t>(bytes_of(out.dtype, out.cols)));
      return;
    }
    if (out.dtype == DType::f32) return table.row(id, out.row<float>(t));
    thread_local std::vector<float> row;
    row.resize(static_cast<size_t>(out.cols));
    table.row(id, row);
    if (out.dtype == DType::bf16) {
      std::ranges::transform(row, out.row<bf16>(t).begin(), [](float v) { return bf16(v); });
    } else {
      std::ranges::transform(row, out.row<f16>(t).begin(), [](float v) { return f16(v); });
    }
  });
}

}  // namespace cria::ops
