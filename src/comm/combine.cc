#include "comm/combine.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/error.h"

namespace cria {
namespace {

constexpr int64_t kBlock = 512;  // elements: the running sums stay in the first-level cache

template <class T, class Sum>
void sum_row(std::span<const ConstView> terms, View out, int64_t row) {
  std::array<Sum, kBlock> sums;
  T* const to = out.row<T>(row).data();
  for (int64_t at = 0; at < out.cols; at += kBlock) {
    const int64_t n = std::min(kBlock, out.cols - at);
    const T* const first = terms[0].row<T>(row).data() + at;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) sums[static_cast<size_t>(i)] = static_cast<Sum>(first[i]);
    for (const ConstView& term : terms.subspan(1)) {
      const T* const from = term.row<T>(row).data() + at;
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) sums[static_cast<size_t>(i)] += static_cast<Sum>(from[i]);
    }
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) to[at + i] = T(sums[static_cast<size_t>(i)]);
  }
}

template <class T, class Sum>
void sum_rows(std::span<const ConstView> terms, View out) {
  for (int64_t r = 0; r < out.rows; ++r) sum_row<T, Sum>(terms, out, r);
}

}  // namespace

void sum_in_order(std::span<const ConstView> given, View out) {
  // Rows side by side are one long row.
  std::vector<ConstView> terms(given.begin(), given.end());
  bool contiguous = out.contiguous();
  for (const ConstView& t : terms) contiguous &= t.contiguous();
  if (contiguous) {
    for (ConstView& t : terms) t = {t.data, t.dtype, 1, t.elements()};
    out = {out.data, out.dtype, 1, out.elements()};
  }
  switch (out.dtype) {
    case DType::f32:
      return sum_rows<float, float>(terms, out);
    case DType::f64:
      return sum_rows<double, double>(terms, out);
    case DType::i64:
      return sum_rows<int64_t, int64_t>(terms, out);
    case DType::bf16:
      return sum_rows<bf16, float>(terms, out);
    case DType::f16:
      return sum_rows<f16, float>(terms, out);
    default:
      throw Error(ExitCode::bug, fmt::format("sums of {} are not known", name_of(out.dtype)));
  }
}

}  // namespace cria
