// Weights laid out once for products with few or many rows alike, and the product with them. The numbers keep the bits they have
// in files: bf16, or blocks of 4 to 8 bits, GGUF's or groups of 32, 64 or 128, which are multiplied as integers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "ops/exec.h"
#include "ops/linear.h"
#include "tensor/tensor.h"

namespace cria::ops {

/// What is stored of one number: it stands for scale * (stored - zero of its type), or scale * stored + offset.
struct PackedNumber {
  int stored = 0;
  float scale = 0, offset = 0;
};

/// A weight [rows, cols] in panels of 16 rows that lie side by side (docs/packed-weights.md), so that one number of x meets 16
/// rows at once and memory is read from front to back. Takes as many bytes as the same numbers in a GGUF file, give or take one
/// in twenty; q5_0, q5_1, q5_k and q6_k take a whole byte a number. int4_* and int8_* take what they take in memory, 2 bytes a
/// group more than in a file with scales in bf16.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  /// Of bf16 or a type that is_quantised(); throws UsageError for another type or when the type's blocks do not divide cols. All
  /// zero until put_rows(). `memory`: a device's, whose ops then read it; null: the host's.
  PackedMatrix(DType type, int64_t rows, int64_t cols, Memory* memory = nullptr);

  [[nodiscard]] DType type() const { return type_; }
  [[nodiscard]] int64_t rows() const { return rows_; }
  [[nodiscard]] int64_t cols() const { return cols_; }
  [[nodiscard]] size_t size_bytes() const;

  /// Rows begin at multiples of this where a matrix is divided.
  static constexpr int64_t kRowsTogether = 16;
  /// Rows [first, first + count), borrowed: this one's memory outlives it. `first` is a multiple of kRowsTogether.
  [[nodiscard]] PackedMatrix row_range(int64_t first, int64_t count) const;

  /// Rows [first, first + count) as they lie in a file: elements or blocks, row after row. Loses nothing. Threads may put
  /// different rows at the same time; into a device's memory different panels, so `first` is best a multiple of kRowsTogether.
  void put_rows(int64_t first, std::span<const std::byte> rows);
  /// The numbers of a row as f32, with the bits that dequantise() (formats/dequantise.h) gives for the same blocks. Only in the
  /// host's memory, as numbers().
  void row(int64_t r, std::span<float> out) const;

  /// The same as it is stored, for types in blocks.
  void numbers(int64_t r, std::span<PackedNumber> out) const;

  [[nodiscard]] static bool takes(DType type);
  /// size_bytes() of such a matrix.
  [[nodiscard]] static int64_t bytes_of(DType type, int64_t rows, int64_t cols);
  [[nodiscard]] const std::byte* panel(int64_t p) const { return panels_ + p * panel_bytes_; }

 private:
  DType type_ = DType::bf16;
  int64_t rows_ = 0, cols_ = 0, panel_bytes_ = 0;
  const std::byte* panels_ = nullptr;
  Tensor memory_;  // empty where it is borrowed
};

/// y[t, o] = sum_i x[t, i] * w[o, i]   (or +=, the finished sum added once)
///
///   x  [T, I]  f32, f16 or bf16
///   w  rows of one or more matrices, one after the other: O in all, I columns each
///   y  [T, O]  f32, f16 or bf16; overlaps no input
///
/// A row's bits are the same alone and in any batch, on any number of threads.
///
/// bf16 weights: one chain of f32 multiply-adds, i ascending; the same bits as linear() with those weights and x.
/// Weights in blocks: each row of x is rounded to 8 bits, 32 numbers to a scale (largest / 127, halves to even); 64 or 128 beside
/// int4_g64 and int4_g128. The dot products of a group, of int8_* of each 32 columns, are whole numbers; they are scaled and added
/// in f32, columns ascending:
///   y += (w_scale * x_scale) * dot, and where the type has offsets, y += w_offset * (x_scale * sum of x's whole numbers).
/// Every instruction-set level gives the same bits.
///
/// On a GPU up to 32 rows of x are multiplied so, with sums in another order. More rows are multiplied with the numbers that the
/// weights stand for, rounded to x's dtype, as linear() does: a row alone and in a large batch then differ as x's rounding makes them.
void linear_packed(ConstView x, std::span<const PackedMatrix* const> w, View y, const Exec& exec,
                   Into into = Into::write);
inline void linear_packed(ConstView x, const PackedMatrix& w, View y, const Exec& exec,
                          Into into = Into::write) {
  const PackedMatrix* const one = &w;
  linear_packed(x, {&one, 1}, y, exec, into);
}

/// out[t] = row ids[t] of the table, rounded to out's dtype: embedding() of packed weights.
///   out [ids, cols]  f32, f16 or bf16
/// A table that holds only the rows from first_row on of a vocabulary of total_rows (-1: its own) gives zeros for ids in other slices,
/// so that the slices' outputs add up to the whole one's. Throws UsageError for an id that is no row of the vocabulary.
void embedding_packed(std::span<const int32_t> ids, const PackedMatrix& table, View out,
                      const Exec& exec, int64_t first_row = 0, int64_t total_rows = -1);

}  // namespace cria::ops
