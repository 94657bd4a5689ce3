// Attention close to the formula: every score of one query at a time, everything in double.
#include "ops/attention_ref.h"

#include <algorithm>
#include <cmath>

#include "ops/int8_rows.h"
#include "ops/reference.h"

namespace cria::ops {
namespace {

double dot(const double* a, const double* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

/// The keys and values one query sees: `count` rows, `stride` apart.
struct Seen {
  const double *k, *v;
  int64_t stride, count, dim;
};

/// Softmax weights of one query; returns log(sum(exp(score))).
double weights_of(const double* q, const Seen& seen, std::vector<double>& p) {
  p.resize(static_cast<size_t>(seen.count));
  const double scale = 1.0 / std::sqrt(static_cast<double>(seen.dim));
  for (int64_t j = 0; j < seen.count; ++j) {
    p[static_cast<size_t>(j)] = dot(q, seen.k + j * seen.stride, seen.dim) * scale;
  }
  const double most = *std::max_element(p.begin(), p.end());
  double sum = 0;
  for (double& x : p) sum += x = std::exp(x - most);
  for (double& x : p) x /= sum;
  return most + std::log(sum);
}

double attend(const double* q, const Seen& seen, std::vector<double>& p, double* out) {
  const double lse = weights_of(q, seen, p);
  for (int64_t j = 0; j < seen.count; ++j) {
    for (int64_t d = 0; d < seen.dim; ++d) {
      out[d] += p[static_cast<size_t>(j)] * seen.v[j * seen.stride + d];
    }
  }
  return lse;
}

/// Calls body(token, head, first column of the head, what it sees, the document's first token).
template <class Body>
void for_queries(const AttentionInputs& in, std::span<const int64_t> documents,
                 const HeadShape& shape, Body body) {
  for (size_t n = 1; n < documents.size(); ++n) {
    const int64_t begin = documents[n - 1];
    for (int64_t t = begin; t < documents[n]; ++t) {
      for (int64_t h = 0; h < shape.heads; ++h) {
        const int64_t column = h / (shape.heads / shape.kv_heads) * shape.head_dim;
        body(t, h, column,
             Seen{in.k.row(begin) + column, in.v.row(begin) + column, in.k.cols, t - begin + 1,
                  shape.head_dim},
             begin);
      }
    }
  }
}

}  // namespace

Doubles::Doubles(ConstView v) : Doubles(v.rows, v.cols) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) row(r)[c] = get(v, r, c);
  }
}

void Doubles::store(View to) const {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) set(to, r, c, row(r)[c]);
  }
}

AttentionResult attention_f64(const AttentionInputs& in, std::span<const int64_t> documents,
                              const HeadShape& shape) {
  AttentionResult result{Doubles(in.q.rows, in.q.cols), Doubles(in.q.rows, shape.heads)};
  std::vector<double> p;
  for_queries(in, documents, shape, [&](int64_t t, int64_t h, int64_t, const Seen& seen, int64_t) {
    const int64_t column = h * shape.head_dim;
    result.lse.row(t)[h] = attend(in.q.row(t) + column, seen, p, result.out.row(t) + column);
  });
  return result;
}

AttentionInputs attention_backward_f64(const AttentionInputs& in, const Doubles& dout,
                                       std::span<const int64_t> documents, const HeadShape& shape) {
  const int64_t dim = shape.head_dim;
  const double scale = 1.0 / std::sqrt(static_cast<double>(dim));
  AttentionInputs grad{Doubles(in.q.rows, in.q.cols), Doubles(in.k.rows, in.k.cols),
                       Doubles(in.v.rows, in.v.cols)};
  std::vector<double> p, dp;
  for_queries(in, documents, shape,
              [&](int64_t t, int64_t h, int64_t column, const Seen& seen, int64_t begin) {
                const double *q = in.q.row(t) + h * dim, *dy = dout.row(t) + h * dim;
                weights_of(q, seen, p);
                dp.resize(p.size());
                for (int64_t j = 0; j < seen.count; ++j) {
                  dp[static_cast<size_t>(j)] = dot(dy, seen.v + j * seen.stride, dim);
                }
                const double delta = dot(p.data(), dp.data(), seen.count);
                double* dq = grad.q.row(t) + h * dim;
                for (int64_t j = 0; j < seen.count; ++j) {
                  const double weight = p[static_cast<size_t>(j)];
                  const double dscore = weight * (dp[static_cast<size_t>(j)] - delta) * scale;
                  double *dk = grad.k.row(begin + j) + column, *dv = grad.v.row(begin + j) + column;
                  for (int64_t d = 0; d < dim; ++d) {
                    dq[d] += dscore * seen.k[j * seen.stride + d];
                    dk[d] += dscore * q[d];
                    dv[d] += weight * dy[d];
                  }
                }
              });
  return grad;
}

void attention_ref(ConstView q, ConstView k, ConstView v, std::span<const int64_t> documents,
                   const HeadShape& shape, View out, View lse) {
  const AttentionResult result =
      attention_f64({Doubles(q), Doubles(k), Doubles(v)}, documents, shape);
  result.out.store(out);
  if (lse.data != nullptr) result.lse.store(lse);
}

void attention_backward_ref(ConstView q, ConstView k, ConstView v, ConstView dout,
                            std::span<const int64_t> documents, const HeadShape& shape, View dq,
                            View dk, View dv) {
  const AttentionInputs grad =
      attention_backward_f64({Doubles(q), Doubles(k), Doubles(v)}, Doubles(dout), documents, shape);
  grad.q.store(dq);
  grad.k.store(dk);
  grad.v.store(dv);
}

namespace {
Doubles cached_rows(ConstView rows, int64_t dim) {
  if (rows.dtype != DType::i8) return Doubles(rows);
  Doubles all(rows.rows, dim);
  std::vector<float> row(static_cast<size_t>(dim));
  for (int64_t r = 0; r < rows.rows; ++r) {
    open_int8_row(rows.row_range(r, 1), dim, row.data());
    std::copy(row.begin(), row.end(), all.row(r));
  }
  return all;
}
}  // namespace

void attention_cached_ref(ConstView q, std::span<const CachedSequence> sequences,
                          const HeadShape& shape, View out) {
  const int64_t dim = shape.head_dim;
  std::vector<double> p;
  for (const CachedSequence& s : sequences) {
    const int64_t filled = s.first_position + s.count;
    for (int64_t g = 0; g < shape.kv_heads; ++g) {
      const Doubles k = cached_rows(s.k.row_range(g * s.capacity, filled), dim);
      const Doubles v = cached_rows(s.v.row_range(g * s.capacity, filled), dim);
      const int64_t group = shape.heads / shape.kv_heads;
      const Doubles queries(
          q.row_range(s.first_row, s.count).col_range(g * group * dim, group * dim));
      Doubles result(s.count, group * dim);
      for (int64_t i = 0; i < s.count; ++i) {
        for (int64_t h = 0; h < group; ++h) {
          const Seen seen{k.at.data(), v.at.data(), dim, s.first_position + i + 1, dim};
          attend(queries.row(i) + h * dim, seen, p, result.row(i) + h * dim);
        }
      }
      result.store(out.row_range(s.first_row, s.count).col_range(g * group * dim, group * dim));
    }
  }
}

}  // namespace cria::ops
