#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "calibrate/feedback.h"
#include "formats/quantise.h"
#include "ops/linear.h"
#include "tensor/open_block.h"

namespace cria {
namespace {

constexpr int64_t kRowsOfPiece = 16;
constexpr size_t kMostColumns = 256;

/// factors[c, i] of a block's columns as [i, c], so that an error goes to all later columns in one run.
class BlockFactors {
 public:
  BlockFactors(ConstView factors, int64_t begin, int64_t count)
      : count_(static_cast<size_t>(count)), at_(count_ * count_) {
    for (int64_t c = 0; c < count; ++c) {
      for (int64_t i = 0; i < c; ++i)
        at_[static_cast<size_t>(i * count + c)] =
            factors.row<float>(begin + c)[static_cast<size_t>(begin + i)];
    }
  }
  [[nodiscard]] const float* of(size_t i) const { return at_.data() + i * count_; }
  [[nodiscard]] size_t count() const { return count_; }

 private:
  size_t count_;
  std::vector<float> at_;
};

/// A block of one row: from `w` and what is fed back into it so far to its numbers. Leaves what they stand for in `w` and what was
/// lost in `errors`.
void round_block(DType type, const BlockFactors& factors, std::span<const float> importance,
                 std::span<const float> fed, float* w, float* errors, std::span<std::byte> to) {
  const size_t count = factors.count();
  std::array<float, kMostColumns> target{};
  for (size_t c = 0; c < count; ++c) target[c] = w[c] + fed[c];
  // Scales by what the block is to hold; its numbers are then chosen one after the other.
  quantise(type, std::span(target).first(count), to, importance);
  OpenBlock block;
  open_block(type, to.data(), block);
  const BlockFormat format = block_format(type);
  const auto most = static_cast<float>(most_number(type));
  for (size_t c = 0; c < count; ++c) {
    const BlockLine line = line_of(format, block, c / static_cast<size_t>(format.group));
    const auto zero = static_cast<float>(format.zero);
    if (line.scale != 0) {
      const float number = std::nearbyint((target[c] - line.offset) / line.scale) + zero;
      block.numbers[c] = static_cast<uint8_t>(std::clamp(number, 0.0F, most));
    }
    const float stands_for =
        line.scale * (static_cast<float>(block.numbers[c]) - zero) + line.offset;
    errors[c] = w[c] - stands_for;
    w[c] = stands_for;
    const float* const factor = factors.of(c);
    const float error = errors[c];
#pragma omp simd
    for (size_t k = c + 1; k < count; ++k) target[k] += error * factor[k];
  }
  put_numbers(type, std::span(block.numbers).first(count), to.data());
}

}  // namespace

void round_with_feedback(DType type, View w, const Feedback& feedback, std::span<std::byte> blocks,
                         const ops::Exec& exec) {
  const int64_t columns = block_elements(type);
  check(w.dtype == DType::f32 && w.cols % columns == 0 && w.cols == feedback.factors.rows() &&
            std::ssize(blocks) == bytes_of(type, w.elements()),
        "a matrix is rounded with the feedback of its own inputs");
  const auto row_bytes = static_cast<size_t>(bytes_of(type, w.cols));
  const auto block_size = static_cast<size_t>(block_bytes(type));
  Tensor fed(DType::f32, w.rows, w.cols), errors(DType::f32, w.rows, columns);
  for (int64_t begin = 0; begin < w.cols; begin += columns) {
    const BlockFactors factors(feedback.factors, begin, columns);
    const auto importance = std::span(feedback.importance)
                                .subspan(static_cast<size_t>(begin), static_cast<size_t>(columns));
    exec.pool.parallel_for((w.rows + kRowsOfPiece - 1) / kRowsOfPiece, [&](int64_t piece) {
      const int64_t end = std::min(w.rows, (piece + 1) * kRowsOfPiece);
      for (int64_t r = piece * kRowsOfPiece; r < end; ++r)
        round_block(type, factors, importance,
                    fed.view().row<float>(r).subspan(static_cast<size_t>(begin)),
                    w.row<float>(r).data() + begin, errors.view().row<float>(r).data(),
                    blocks.subspan(static_cast<size_t>(r) * row_bytes +
                                       static_cast<size_t>(begin / columns) * block_size,
                                   block_size));
    });
    const int64_t rest = w.cols - begin - columns;
    if (rest == 0) break;
    ops::linear(errors,
                feedback.factors.view().row_range(begin + columns, rest).col_range(begin, columns),
                fed.view().col_range(begin + columns, rest), exec, ops::Into::add);
  }
}

}  // namespace cria
