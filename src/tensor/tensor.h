// Memory and windows on it. A Tensor owns; a View borrows and is passed by value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>

#include "tensor/dtype.h"
#include "tensor/memory.h"

namespace cria {

/// A window of rows x cols elements: the elements of a row lie side by side, rows `stride` elements
/// apart. All mathematics here is on such windows: activations are [tokens, features], weights
/// [out, in], a norm's weight is [1, features]. The dtype is known at run time and looked at once,
/// at the door of an op.
template <class Void>
struct BasicView {
  Void* data = nullptr;
  DType dtype = DType::f32;
  int64_t rows = 0, cols = 0, stride = 0;

  BasicView() = default;
  BasicView(Void* d, DType t, int64_t r, int64_t c) : BasicView(d, t, r, c, c) {}
  BasicView(Void* d, DType t, int64_t r, int64_t c, int64_t s)
      : data(d), dtype(t), rows(r), cols(c), stride(s) {}
  /// A View of memory that may be written serves where reading is enough.
  template <class Other>
    requires(std::is_const_v<Void> && !std::is_const_v<Other>)
  BasicView(BasicView<Other> o)
      : data(o.data), dtype(o.dtype), rows(o.rows), cols(o.cols), stride(o.stride) {}  // NOLINT

  [[nodiscard]] int64_t elements() const { return rows * cols; }
  [[nodiscard]] bool contiguous() const { return stride == cols || rows <= 1; }
  /// Rows [begin, begin + count), all columns.
  [[nodiscard]] BasicView row_range(int64_t begin, int64_t count) const {
    return {at(begin, 0), dtype, count, cols, stride};
  }
  /// Columns [begin, begin + count) of every row.
  [[nodiscard]] BasicView col_range(int64_t begin, int64_t count) const {
    return {at(0, begin), dtype, rows, count, stride};
  }
  /// The elements of row r; T must be the dtype.
  template <class T>
  [[nodiscard]] auto row(int64_t r) const {
    using Element = std::conditional_t<std::is_const_v<Void>, const T, T>;
    return std::span<Element>(static_cast<Element*>(data) + r * stride, static_cast<size_t>(cols));
  }
  [[nodiscard]] Void* at(int64_t r, int64_t c) const {
    using Byte = std::conditional_t<std::is_const_v<Void>, const std::byte, std::byte>;
    return static_cast<Byte*>(data) + (r * stride + c) * block_bytes(dtype);
  }
};
using View = BasicView<void>;
using ConstView = BasicView<const void>;

/// All bytes of rows that lie side by side; a bug where they do not.
std::span<std::byte> bytes_of(View view);
std::span<const std::byte> bytes_of(ConstView view);

namespace internal {
struct Unmap {
  size_t size = 0;
  Memory* memory = nullptr;  // null: the host's
  void operator()(std::byte* p) const;
};
}  // namespace internal

/// Owns 64-byte aligned, zeroed memory for [rows, cols] elements, contiguous. Moves, does not copy;
/// clone() says the cost. Throws Error(memory) with the size when there is not enough.
class Tensor {
 public:
  Tensor() = default;
  Tensor(DType dtype, int64_t rows, int64_t cols) : Tensor(dtype, rows, cols, nullptr) {}
  /// In a device's memory, which outlives the tensor: no function here may then read the bytes but
  /// copy_to() and clone(). `memory` null: the host's.
  Tensor(DType dtype, int64_t rows, int64_t cols, Memory* memory);

  [[nodiscard]] View view() { return {data_.get(), dtype_, rows_, cols_}; }
  [[nodiscard]] ConstView view() const { return {data_.get(), dtype_, rows_, cols_}; }
  operator View() { return view(); }  // NOLINT: a Tensor serves wherever a View is asked for
  operator ConstView() const { return view(); }  // NOLINT
  [[nodiscard]] DType dtype() const { return dtype_; }
  [[nodiscard]] int64_t rows() const { return rows_; }
  [[nodiscard]] int64_t cols() const { return cols_; }
  /// Where it lies; null: in the host's.
  [[nodiscard]] Memory* memory() const { return data_.get_deleter().memory; }
  [[nodiscard]] size_t size_bytes() const {
    return static_cast<size_t>(bytes_of(dtype_, rows_ * cols_));
  }
  [[nodiscard]] std::span<std::byte> bytes() { return {data_.get(), size_bytes()}; }
  [[nodiscard]] std::span<const std::byte> bytes() const { return {data_.get(), size_bytes()}; }
  template <class T>
  [[nodiscard]] std::span<T> span() {
    return {reinterpret_cast<T*>(data_.get()), static_cast<size_t>(rows_ * cols_)};
  }
  template <class T>
  [[nodiscard]] std::span<const T> span() const {
    return {reinterpret_cast<const T*>(data_.get()), static_cast<size_t>(rows_ * cols_)};
  }
  /// In the same memory.
  [[nodiscard]] Tensor clone() const { return copy_to(memory()); }
  /// A copy in another memory; null: the host's.
  [[nodiscard]] Tensor copy_to(Memory* memory) const;

 private:
  std::unique_ptr<std::byte, internal::Unmap> data_;
  DType dtype_ = DType::f32;
  int64_t rows_ = 0, cols_ = 0;
};

}  // namespace cria
