#include "calibrate/feedback.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "ops/linear.h"

namespace cria {
namespace {

// Columns that are eliminated together.
constexpr int64_t kPanel = 64;
// Rows of one product of the rest, of which only what lies below the diagonal is made.
constexpr int64_t kRows = 512;
constexpr double kDamping = 0.01;

/// The matrix with its last row and column first: upper triangles become lower ones.
void turn_round(View m) {
  for (int64_t a = 0, b = m.rows - 1; a < b; ++a, --b)
    std::ranges::swap_ranges(m.row<float>(a), m.row<float>(b));
  for (int64_t r = 0; r < m.rows; ++r) std::ranges::reverse(m.row<float>(r));
}

void damp(View m) {
  double sum = 0;
  for (int64_t i = 0; i < m.rows; ++i)
    sum += static_cast<double>(m.row<float>(i)[static_cast<size_t>(i)]);
  // Inputs that are all 0 leave nothing to feed back.
  const double added = sum > 0 ? kDamping * sum / static_cast<double>(m.rows) : 1;
  if (!std::isfinite(sum))
    throw Error(ExitCode::numbers,
                "calibrate: a layer's input is not finite; are these weights damaged?");
  for (int64_t i = 0; i < m.rows; ++i)
    m.row<float>(i)[static_cast<size_t>(i)] += static_cast<float>(added);
}

/// Rows [begin, begin + count) of L where all that lies left of the panel is subtracted already: first the rows of the diagonal
/// block itself, then each of the others on its own.
void solve_row(View m, int64_t begin, int64_t count, int64_t r) {
  float* const row = m.row<float>(r).data() + begin;
  const int64_t columns = std::min(count, r - begin + 1);
  for (int64_t c = 0; c < columns; ++c) {
    const float* const other = m.row<float>(begin + c).data() + begin;
    double sum = static_cast<double>(row[c]);
    for (int64_t k = 0; k < c; ++k)
      sum -= static_cast<double>(row[k]) * static_cast<double>(other[k]);
    if (begin + c == r) {
      // What rounding made of a number that should be positive: as good as the damping.
      row[c] = static_cast<float>(std::sqrt(std::max(sum, 1e-30)));
    } else {
      row[c] = static_cast<float>(sum / static_cast<double>(other[c]));
    }
  }
}

/// m = L L^T, L in the lower triangle. Source: Golub & Van Loan, "Matrix Computations", 4th ed., algorithm 4.2.3.
void factorise(View m, const ops::Exec& exec) {
  for (int64_t begin = 0; begin < m.rows; begin += kPanel) {
    const int64_t count = std::min(kPanel, m.rows - begin), end = begin + count;
    for (int64_t r = begin; r < end; ++r) solve_row(m, begin, count, r);
    exec.pool.parallel_for(m.rows - end, [&](int64_t i) { solve_row(m, begin, count, end + i); });
    if (end == m.rows) break;
    // What the panel takes off the rest.
    Tensor minus(DType::f32, m.rows - end, count);
    for (int64_t r = end; r < m.rows; ++r)
      std::ranges::transform(
          m.row<float>(r).subspan(static_cast<size_t>(begin), static_cast<size_t>(count)),
          minus.view().row<float>(r - end).begin(), std::negate<>());
    const View panel = m.row_range(end, m.rows - end).col_range(begin, count);
    for (int64_t r = 0; r < panel.rows; r += kRows) {
      const int64_t rows = std::min(kRows, panel.rows - r);
      ops::linear(minus.view().row_range(r, rows), panel.row_range(0, r + rows),
                  m.row_range(end + r, rows).col_range(end, r + rows), exec, ops::Into::add);
    }
  }
}

}  // namespace

Feedback feedback_of(View products, const ops::Exec& exec) {
  check(products.rows == products.cols && products.dtype == DType::f32, "products are square");
  damp(products);
  turn_round(products);
  factorise(products, exec);
  const int64_t n = products.rows;
  Feedback f{Tensor(DType::f32, n, n), std::vector<float>(static_cast<size_t>(n))};
  // V[i, c] = L[n - 1 - i, n - 1 - c]
  exec.pool.parallel_for(n, [&](int64_t c) {
    const auto turned = static_cast<size_t>(n - 1 - c);
    const float diagonal = products.row<float>(n - 1 - c)[turned];
    f.importance[static_cast<size_t>(c)] = diagonal * diagonal;
    for (int64_t i = 0; i < c; ++i)
      f.factors.view().row<float>(c)[static_cast<size_t>(i)] =
          products.row<float>(n - 1 - i)[turned] / diagonal;
  });
  return f;
}

}  // namespace cria
