// Collectives over rows of matrices: each rank sums, or has, its own block of them.
#include <algorithm>
#include <array>
#include <cstring>
#include <functional>

#include "base/error.h"
#include "comm/combine.h"
#include "comm/noted.h"
#include "comm/operation_cost.h"

namespace cria {

void Comm::copy_rows(ConstView from, View to) const {
  if (from.data == to.data || to.elements() == 0) return;
  if (world_.settings.memory != nullptr) return world_.settings.memory->convert(from, to);
  for (int64_t r = 0; r < from.rows; ++r)
    std::memcpy(to.at(r, 0), from.at(r, 0), static_cast<size_t>(bytes_of(from.dtype, from.cols)));
}

void Comm::sum_rows(std::span<const ConstView> terms, View out) const {
  if (world_.settings.memory != nullptr) return world_.settings.memory->sum_in_order(terms, out);
  sum_in_order(terms, out);
}

std::span<const std::byte> Comm::one_piece(ConstView rows, Tensor& space) const {
  if (rows.contiguous()) return bytes_of(rows);
  space = Tensor(rows.dtype, rows.rows, rows.cols, world_.settings.memory);
  copy_rows(rows, space);
  settle();
  return space.bytes();
}

void Comm::all_reduce(View data) {
  if (alone() || data.elements() == 0) return;
  const int64_t bytes = bytes_of(data.dtype, data.elements());
  if (data.dtype == DType::f32 && data.contiguous() && bytes <= kSmallSumBytes) {
    return add_small(data);
  }
  const Noted noted(world_, "all_reduce", name_, bytes);
  compare_calls(noted, bytes, static_cast<int>(data.dtype));
  // One long row may be cut anywhere; rows apart only between rows.
  const View rows = data.contiguous() ? View{data.data, data.dtype, data.elements(), 1} : data;
  const View mine = rows_of(rows, rank_);
  reduce_rows(rows, mine, noted);
  gather_rows(mine, rows, noted);
}

void Comm::reduce_scatter(ConstView partial, View mine) {
  if (alone()) return copy_rows(partial, mine);
  const int64_t bytes = bytes_of(partial.dtype, partial.elements());
  const Noted noted(world_, "reduce_scatter", name_, bytes);
  compare_calls(noted, bytes, static_cast<int>(partial.dtype));
  reduce_rows(partial, mine, noted);
}

void Comm::all_gather(ConstView mine, View all) {
  if (alone()) return copy_rows(mine, all);
  const int64_t bytes = bytes_of(all.dtype, all.elements());
  const Noted noted(world_, "all_gather", name_, bytes);
  compare_calls(noted, bytes, static_cast<int>(all.dtype));
  gather_rows(mine, all, noted);
}

/// Rows in pieces: every rank sends each other rank that one's rows, and adds what arrives for its own in the order of the ranks.
void Comm::reduce_rows(ConstView partial, View mine, const Noted& operation) {
  check(mine.dtype == partial.dtype && mine.cols == partial.cols &&
            mine.rows == rows_of(partial, rank_).rows,
        "reduce_scatter: a rank's rows of the whole");
  settle();
  const int64_t row_bytes = bytes_of(partial.dtype, partial.cols);
  const int64_t step = rows_in_piece(row_bytes);
  std::vector<Tensor> packed(ranks_.size());
  std::vector<Piece> sends;
  for (int r = 0; r < size(); ++r) {
    if (r == rank_) continue;
    const ConstView theirs = rows_of(partial, r);
    const auto bytes = one_piece(theirs, packed[static_cast<size_t>(r)]);
    for (int64_t at = 0; at < theirs.rows; at += step) {
      const int64_t rows = std::min(step, theirs.rows - at);
      sends.push_back(send_piece(
          bytes.subspan(static_cast<size_t>(at * row_bytes), static_cast<size_t>(rows * row_bytes)),
          r));
    }
  }
  const auto piece_bytes =
      static_cast<size_t>(std::min(step, std::max<int64_t>(1, mine.rows)) * row_bytes);
  const auto peers = static_cast<size_t>(size() - 1);
  if (scratch_.size_bytes() < 2 * peers * piece_bytes) {
    scratch_ = Tensor();  // before the larger one is there
    scratch_ =
        Tensor(DType::u8, 1, static_cast<int64_t>(2 * peers * piece_bytes), world_.settings.memory);
  }
  std::array<std::vector<Piece>, 2> arriving;
  const auto place = [&](int64_t half, size_t peer) {
    return scratch_.bytes().data() + (static_cast<size_t>(half) * peers + peer) * piece_bytes;
  };
  const auto expect = [&](int64_t at, int64_t half) {
    const int64_t rows = std::min(step, mine.rows - at);
    arriving[static_cast<size_t>(half)].clear();
    size_t peer = 0;
    for (int r = 0; r < size(); ++r) {
      if (r == rank_) continue;
      arriving[static_cast<size_t>(half)].push_back(
          receive_piece({place(half, peer++), static_cast<size_t>(rows * row_bytes)}, r));
    }
  };
  if (mine.rows > 0) expect(0, 0);
  for (int64_t at = 0, half = 0; at < mine.rows; at += step, half = 1 - half) {
    wait(arriving[static_cast<size_t>(half)], operation);
    if (at + step < mine.rows) expect(at + step, 1 - half);
    const int64_t rows = std::min(step, mine.rows - at);
    std::vector<ConstView> terms;
    size_t peer = 0;
    for (int r = 0; r < size(); ++r) {
      terms.push_back(r == rank_
                          ? rows_of(partial, rank_).row_range(at, rows)
                          : ConstView(place(half, peer++), partial.dtype, rows, partial.cols));
    }
    sum_rows(terms, mine.row_range(at, rows));
    settle();  // its place takes the next piece but one
  }
  wait(sends, operation);
}

void Comm::gather_rows(ConstView mine, View all, const Noted& operation) {
  check(mine.dtype == all.dtype && mine.cols == all.cols && mine.rows == rows_of(all, rank_).rows,
        "all_gather: a rank's rows of the whole");
  copy_rows(mine, rows_of(all, rank_));
  settle();
  Tensor packed;
  const std::span<const std::byte> out = one_piece(mine, packed);
  std::vector<Tensor> spaces(ranks_.size());
  std::vector<Piece> pieces;
  for (int r = 0; r < size(); ++r) {
    if (r == rank_) continue;
    const View theirs = rows_of(all, r);
    Tensor& space = spaces[static_cast<size_t>(r)];
    if (!all.contiguous())
      space = Tensor(theirs.dtype, theirs.rows, theirs.cols, world_.settings.memory);
    const std::span<std::byte> in = all.contiguous() ? bytes_of(theirs) : space.bytes();
    if (!in.empty()) pieces.push_back(receive_piece(in, r));
    if (!out.empty()) pieces.push_back(send_piece(out, r));
  }
  wait(pieces, operation);
  if (all.contiguous()) return;
  for (int r = 0; r < size(); ++r) {
    if (r == rank_) continue;
    copy_rows(spaces[static_cast<size_t>(r)], rows_of(all, r));
  }
  settle();  // the spaces go
}

}  // namespace cria
