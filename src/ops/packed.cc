#include "ops/packed.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "ops/door.h"
#include "ops/packed_blocks.h"
#include "ops/packed_kernels.h"
#include "ops/packed_ref.h"

namespace cria::ops {
namespace {

constexpr int64_t kFewRows = 24;          // of x: the weights are read once, and their speed counts
constexpr int64_t kFewBytes = 128 << 10;  // of w, one thread's piece then: a few microseconds
constexpr int64_t kPanelsOfMany = 4;  // one thread's piece of a product with many rows: 64 outputs
constexpr int64_t kRowsOfMany = 192;  // ... of so many rows
constexpr int64_t kRowsToPrepare = 24;      // one thread's piece of x: whole tiles
constexpr int64_t kAloneBytes = 128 << 10;  // bytes of w times rows of x not worth a second thread

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// One block into row `row` of a panel: its `count` numbers are the columns from `col` on.
void put_block(const OpenBlock& block, const PackedLayout& layout, const PackedPanel& at,
               int64_t count, std::byte* panel, int64_t row, int64_t col) {
  for (int64_t begin = 0; begin < count; begin += layout.group) {
    const int64_t g = (col + begin) / layout.group, in_unit = g % at.unit_groups;
    std::byte* const unit = panel + g / at.unit_groups * at.unit_bytes;
    const int64_t half = ((layout.of_256 ? 0 : in_unit) * kPanelRows + row) * 2,
                  small = in_unit * kPanelRows + row;
    std::memcpy(unit + at.scales + half, &block.scale, 2);
    if (layout.offsets) std::memcpy(unit + at.offsets + half, &block.offset, 2);
    if (layout.of_256) {
      const auto s = static_cast<size_t>(begin / layout.group);
      unit[at.small_scales + small] = static_cast<std::byte>(block.small_scales[s]);
      if (layout.offsets)
        unit[at.small_offsets + small] = static_cast<std::byte>(block.small_offsets[s]);
    }
    std::byte* to = unit + at.numbers +
                    in_unit * layout.group * kPanelRows / (layout.nibbles ? 2 : 1) + row * 4;
    const uint8_t* const numbers = &block.numbers[static_cast<size_t>(begin)];
    if (!layout.nibbles) {
      for (int64_t k = 0; k < layout.group; k += 4, to += kPanelRows * 4)
        std::memcpy(to, numbers + k, 4);
      continue;
    }
    for (int64_t k = 0; k < layout.group; k += 8, to += kPanelRows * 4) {
      uint64_t eight = 0;
      std::memcpy(&eight, numbers + k, 8);
      const auto pairs = static_cast<uint32_t>(eight | eight >> 28);
      std::memcpy(to, &pairs, 4);
    }
  }
}

template <class T>
T at_bytes(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

/// Rows of x as the kernels want them for such weights. Kept by the calling thread, so that only the first calls allocate.
const std::byte* prepare(ConstView x, DType type, const PackedRow& row, bool pairs,
                         ThreadPool& pool) {
  thread_local Tensor memory;
  if (memory.cols() < x.rows * row.bytes) memory = Tensor(DType::u8, 1, x.rows * row.bytes);
  std::byte* const to = memory.bytes().data();
  const auto body = [&](int64_t i) {
    const int64_t end = std::min(x.rows, (i + 1) * kRowsToPrepare);
    for (int64_t t = i * kRowsToPrepare; t < end;) {
      const int64_t rows = packed_kernels().tile_rows(type, pairs, end - t);
      for (int64_t r = 0; r < rows; ++r)
        packed_prepare_kernels().prepare({.from = x.at(t + r, 0),
                                          .dtype = x.dtype,
                                          .cols = x.cols,
                                          .row = row,
                                          .pairs = pairs,
                                          .tile = to + t * row.bytes,
                                          .tile_rows = rows,
                                          .index = r});
      t += rows;
    }
  };
  const int64_t items = ceil_div(x.rows, kRowsToPrepare);
  if (items == 1) {
    body(0);
  } else {
    pool.parallel_for(items, body);
  }
  return to;
}

void product(ConstView x, const PackedMatrix& w, View y, bool add, ThreadPool& pool) {
  const PackedLayout layout = *packed_layout(w.type());
  PackedJob whole;
  whole.type = w.type();
  whole.panel = packed_panel(layout, w.cols());
  whole.cols = w.cols();
  whole.pairs = layout.group == 0 && x.dtype == DType::bf16 && packed_kernels().has_pairs;
  whole.row = packed_row(layout, w.cols(), whole.pairs);
  whole.x = prepare(x, w.type(), whole.row, whole.pairs, pool);
  whole.y_dtype = y.dtype;
  whole.y_stride = y.stride;
  whole.add = add;
  const int64_t panels = ceil_div(w.rows(), kPanelRows);
  const bool few = whole.streams = x.rows <= kFewRows;
  const int64_t piece =
      few ? std::max<int64_t>(1, kFewBytes / whole.panel.bytes) : std::min(panels, kPanelsOfMany);
  const int64_t rows = few ? x.rows : kRowsOfMany;
  const int64_t across = ceil_div(panels, piece);
  const auto body = [&](int64_t i) {
    const int64_t first = i % across * piece, t = i / across * rows;
    PackedJob job = whole;
    job.panels = w.panel(first);
    job.outs = std::min(piece * kPanelRows, w.rows() - first * kPanelRows);
    job.x = whole.x + t * job.row.bytes;
    job.x_rows = std::min(rows, x.rows - t);
    job.y = y.at(t, first * kPanelRows);
    packed_kernels().multiply(job);
  };
  const int64_t items = across * ceil_div(x.rows, rows);
  if (static_cast<int64_t>(w.size_bytes()) * x.rows < kAloneBytes) {
    for (int64_t i = 0; i < items; ++i) body(i);
  } else {
    pool.parallel_for(items, body);
  }
}

}  // namespace

bool PackedMatrix::takes(DType type) { return packed_layout(type).has_value(); }

PackedMatrix::PackedMatrix(DType type, int64_t rows, int64_t cols)
    : type_(type), rows_(rows), cols_(cols) {
  const auto layout = packed_layout(type);
  require(layout.has_value(),
          "packed weights: {} is not packed, expected BF16 or blocks of Q4_0 to Q8_0",
          name_of(type));
  require(cols % block_elements(type) == 0,
          "packed weights: {} columns, expected a multiple of {} for {}", cols,
          block_elements(type), name_of(type));
  panel_bytes_ = packed_panel(*layout, cols).bytes;
  memory_ = Tensor(DType::u8, ceil_div(rows, kPanelRows), panel_bytes_);
}

void PackedMatrix::put_rows(int64_t first, std::span<const std::byte> rows) {
  const PackedLayout layout = *packed_layout(type_);
  const PackedPanel at = packed_panel(layout, cols_);
  const int64_t row_bytes = bytes_of(type_, cols_);
  check(row_bytes > 0 && std::ssize(rows) % row_bytes == 0, "whole rows are put");
  check(first >= 0 && first + std::ssize(rows) / row_bytes <= rows_, "rows are inside the matrix");
  OpenBlock block;
  for (int64_t r = first; r < first + std::ssize(rows) / row_bytes; ++r) {
    const std::byte* from = rows.data() + (r - first) * row_bytes;
    std::byte* const panel = memory_.bytes().data() + r / kPanelRows * panel_bytes_;
    const int64_t row = r % kPanelRows;
    if (layout.group == 0) {
      for (int64_t k = 0; k < cols_; k += 2)
        std::memcpy(panel + at.numbers + k / 2 * kPanelRows * 4 + row * 4, from + k * 2,
                    k + 1 < cols_ ? 4 : 2);
      continue;
    }
    const int64_t count = block_elements(type_);
    for (int64_t b = 0; b < cols_ / count; ++b, from += block_bytes(type_)) {
      open_block(type_, from, block);
      put_block(block, layout, at, count, panel, row, b * count);
    }
  }
}

void PackedMatrix::numbers(int64_t r, std::span<PackedNumber> out) const {
  const PackedLayout layout = *packed_layout(type_);
  check(layout.group > 0 && r >= 0 && r < rows_ && std::ssize(out) == cols_,
        "a row in blocks is read");
  const PackedPanel at = packed_panel(layout, cols_);
  const std::byte* const p = panel(r / kPanelRows);
  const int64_t row = r % kPanelRows;
  for (int64_t k = 0; k < cols_; ++k) {
    const int64_t g = k / layout.group, in_unit = g % at.unit_groups;
    const std::byte* const unit = p + g / at.unit_groups * at.unit_bytes;
    const auto scale = [&](int64_t half, int64_t small) {
      const std::byte* const from =
          unit + half + ((layout.of_256 ? 0 : in_unit) * kPanelRows + row) * 2;
      const auto value = static_cast<float>(at_bytes<f16>(from));
      if (!layout.of_256) return value;
      return value *
             static_cast<float>(at_bytes<int8_t>(unit + small + in_unit * kPanelRows + row));
    };
    const int64_t column = in_unit * layout.group + k % layout.group;  // in the unit
    const int64_t line = column / (layout.nibbles ? 8 : 4) * kPanelRows * 4;
    const int byte = at_bytes<uint8_t>(unit + at.numbers + line + row * 4 + k % 4);
    PackedNumber& n = out[static_cast<size_t>(k)];
    n.stored = !layout.nibbles ? byte : k % 8 < 4 ? byte & 15 : byte >> 4;
    n.scale = scale(at.scales, at.small_scales);
    // The types of 256 take their offsets away.
    n.offset =
        !layout.offsets ? 0 : scale(at.offsets, at.small_offsets) * (layout.of_256 ? -1.0F : 1.0F);
  }
}

void PackedMatrix::row(int64_t r, std::span<float> out) const {
  const PackedLayout layout = *packed_layout(type_);
  if (layout.group == 0) {
    check(r >= 0 && r < rows_ && std::ssize(out) == cols_, "a row of the matrix is read");
    const std::byte* const p = panel(r / kPanelRows) + r % kPanelRows * 4;
    for (int64_t k = 0; k < cols_; ++k)
      out[static_cast<size_t>(k)] =
          static_cast<float>(at_bytes<bf16>(p + k / 2 * kPanelRows * 4 + k % 2 * 2));
    return;
  }
  thread_local std::vector<PackedNumber> stored;
  stored.resize(out.size());
  numbers(r, stored);
  for (size_t k = 0; k < out.size(); ++k) {
    const PackedNumber& n = stored[k];
    out[k] = n.scale * static_cast<float>(n.stored - static_cast<int>(layout.zero));
    if (layout.offsets) out[k] += n.offset;
  }
}

void linear_packed(ConstView x, std::span<const PackedMatrix* const> w, View y, const Exec& exec,
                   Into into) {
  int64_t outs = 0;
  for (const PackedMatrix* m : w) {
    require(m->cols() == x.cols, "linear_packed: x is [{}, {}], but w is [{}, {}]", x.rows, x.cols,
            m->rows(), m->cols());
    outs += m->rows();
  }
  require(exec.device == nullptr,
          "linear_packed: packed weights cannot be multiplied on a GPU; try: weights in bf16");
  require_compute("linear_packed", "x", x);
  require_compute("linear_packed", "y", y);
  require_shape("linear_packed", "y", y, x.rows, outs);
  if (x.rows == 0) return;
  int64_t first = 0;
  for (const PackedMatrix* m : w) {
    const View part = y.col_range(first, m->rows());
    first += m->rows();
    if (m->rows() == 0) continue;
    if (exec.reference) {
      linear_packed_ref(x, *m, part, into);
    } else {
      product(x, *m, part, into == Into::add, exec.pool);
    }
  }
}

}  // namespace cria::ops
