// The two building blocks of the attention kernels: f32 panels made from rows of any dtype, and a
// register-tiled product of panels. Only for *_cpu.cc files.
#pragma once

#include "ops/attention_kernels.h"
#include "ops/int8_rows.h"
#include "ops/simd.h"

namespace cria::ops::CRIA_ISA {

// ---- panels ------------------------------------------------------------------------------------

/// to[r] = from[r] * scale for `rows` rows of D; columns D .. padded D become 0.
template <class T>
static void load_rows(const T* from, int64_t stride, int64_t rows, int64_t head_dim, float scale,
                      float* to) {
  const int64_t padded = padded_dim(head_dim);
  const Vec s = set1(scale);
  for (int64_t r = 0; r < rows; ++r, from += stride, to += padded) {
    int64_t d = 0;
    for (; d + kLanes <= head_dim; d += kLanes) store(to + d, mul(load(from + d), s));
    for (; d < padded; d += kLanes) store(to + d, mul(load(from + d, first(head_dim - d)), s));
  }
}

/// A vector of whole numbers; zeros from `count` on.
static inline Vec load_ints(const int8_t* p, int64_t count) {
  alignas(16) int8_t some[kLanes] = {};
  if (count < kLanes) {
    for (int64_t i = 0; i < count; ++i) some[i] = p[i];
    p = some;
  }
#ifdef __AVX512F__
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)));
#else
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)));
#endif
}

/// The same from rows of 8 bits (ops/int8_rows.h).
static inline void load_int8_rows(const HeadRows& m, int64_t begin, int64_t rows, int64_t head_dim,
                                  float scale, float* to) {
  const int64_t padded = padded_dim(head_dim);
  const Vec s = set1(scale);
  for (int64_t r = 0; r < rows; ++r, to += padded) {
    const int8_t* const from = static_cast<const int8_t*>(m.data) + (begin + r) * m.stride;
    const int8_t* const scales = from + (head_dim + 1) / 2 * 2;
    for (int64_t d = 0; d < padded; d += kLanes) {
      const int64_t count = head_dim - d;
      uint16_t half = 0;
      if (count > 0) __builtin_memcpy(&half, scales + d / kInt8Group * 2, 2);
      const Vec numbers = load_ints(from + d, count > 0 ? count : 0);
      store(to + d, mul(mul(numbers, set1(_cvtsh_ss(half))), s));
    }
  }
}

/// `rows` rows from row `begin` on, as a contiguous f32 panel [rows, padded D].
static inline void load_panel(const HeadRows& m, int64_t begin, int64_t rows, int64_t head_dim,
                              float scale, float* to) {
  if (m.dtype == DType::i8) return load_int8_rows(m, begin, rows, head_dim, scale, to);
  with_type(m.dtype, [&](auto t) {
    using T = typename decltype(t)::type;
    load_rows(static_cast<const T*>(m.data) + begin * m.stride, m.stride, rows, head_dim, scale,
              to);
  });
}

/// 8 x 8 floats in registers.
static inline void transpose8(__m256 r[8]) {
  const __m256 a0 = _mm256_unpacklo_ps(r[0], r[1]), a1 = _mm256_unpackhi_ps(r[0], r[1]);
  const __m256 a2 = _mm256_unpacklo_ps(r[2], r[3]), a3 = _mm256_unpackhi_ps(r[2], r[3]);
  const __m256 a4 = _mm256_unpacklo_ps(r[4], r[5]), a5 = _mm256_unpackhi_ps(r[4], r[5]);
  const __m256 a6 = _mm256_unpacklo_ps(r[6], r[7]), a7 = _mm256_unpackhi_ps(r[6], r[7]);
  const __m256 b0 = _mm256_shuffle_ps(a0, a2, 0x44), b1 = _mm256_shuffle_ps(a0, a2, 0xee);
  const __m256 b2 = _mm256_shuffle_ps(a1, a3, 0x44), b3 = _mm256_shuffle_ps(a1, a3, 0xee);
  const __m256 b4 = _mm256_shuffle_ps(a4, a6, 0x44), b5 = _mm256_shuffle_ps(a4, a6, 0xee);
  const __m256 b6 = _mm256_shuffle_ps(a5, a7, 0x44), b7 = _mm256_shuffle_ps(a5, a7, 0xee);
  r[0] = _mm256_permute2f128_ps(b0, b4, 0x20), r[4] = _mm256_permute2f128_ps(b0, b4, 0x31);
  r[1] = _mm256_permute2f128_ps(b1, b5, 0x20), r[5] = _mm256_permute2f128_ps(b1, b5, 0x31);
  r[2] = _mm256_permute2f128_ps(b2, b6, 0x20), r[6] = _mm256_permute2f128_ps(b2, b6, 0x31);
  r[3] = _mm256_permute2f128_ps(b3, b7, 0x20), r[7] = _mm256_permute2f128_ps(b3, b7, 0x31);
}
/// to[d, r] = from[r, d] for a panel of rows; rows of `to` are kRowTile long, columns from `rows` to
/// the next multiple of 16 become 0.
static inline void transpose_panel(const float* from, int64_t rows, int64_t head_dim, float* to) {
  const int64_t stride = padded_dim(head_dim), columns = whole_lines(rows);
  for (int64_t r = 0; r < columns; r += 8) {
    const int64_t whole = rows - r >= 8 ? head_dim / 8 * 8 : 0;
    for (int64_t d = 0; d < whole; d += 8) {
      __m256 m[8];
      for (int i = 0; i < 8; ++i) m[i] = _mm256_loadu_ps(from + (r + i) * stride + d);
      transpose8(m);
      for (int i = 0; i < 8; ++i) _mm256_storeu_ps(to + (d + i) * kRowTile + r, m[i]);
    }
    for (int64_t d = whole; d < head_dim; ++d) {
      for (int64_t i = r; i < r + 8; ++i) {
        to[d * kRowTile + i] = i < rows ? from[i * stride + d] : 0.0f;
      }
    }
  }
}

// ---- products ----------------------------------------------------------------------------------

/// What the product is added to: nothing, c, or factor[a] * c[a].
enum class Start { zero, sum, scaled };

#ifdef __AVX512F__
constexpr int kTileRows = 6, kTileVecs = 4;  // 24 sums + 4 loads + 1 broadcast of 32 registers
#else
constexpr int kTileRows = 6, kTileVecs = 2;  // 12 sums + 2 loads + 1 broadcast of 16 registers
#endif

/// One operand of a product, c, and where c starts from.
struct Product {
  const float* x;  // element (a, k) at x[a * ldx + k], or at x[k * ldx + a] when kAcross
  int64_t ldx;
  const float* y;  // [depth, lanes]
  int64_t ldy;
  int64_t depth;
  float* c;  // [rows, lanes]
  int64_t ldc;
  Start start = Start::zero;
  const float* factor = nullptr;
};

template <int kRows, int kVecs, bool kAcross>
static inline void product_tile(const Product& p, int64_t row, int64_t lane) {
  Vec sums[kRows][kVecs];
  float* c = p.c + row * p.ldc + lane;
#pragma GCC unroll 8
  for (int a = 0; a < kRows; ++a) {
#pragma GCC unroll 8
    for (int v = 0; v < kVecs; ++v) {
      sums[a][v] = p.start == Start::zero ? zero() : load(c + a * p.ldc + v * kLanes);
      if (p.start == Start::scaled) sums[a][v] = mul(sums[a][v], set1(p.factor[row + a]));
    }
  }
  const float* x = p.x + (kAcross ? row : row * p.ldx);
  const float* y = p.y + lane;
  const int64_t ldx = p.ldx, ldy = p.ldy;
  for (int64_t k = p.depth; k > 0; --k, y += ldy, x += kAcross ? ldx : 1) {
    Vec b[kVecs];
#pragma GCC unroll 8
    for (int v = 0; v < kVecs; ++v) b[v] = load(y + v * kLanes);
#pragma GCC unroll 8
    for (int a = 0; a < kRows; ++a) {
      const Vec s = set1(x[kAcross ? a : a * ldx]);
#pragma GCC unroll 8
      for (int v = 0; v < kVecs; ++v) sums[a][v] = fma(s, b[v], sums[a][v]);
    }
  }
#pragma GCC unroll 8
  for (int a = 0; a < kRows; ++a) {
#pragma GCC unroll 8
    for (int v = 0; v < kVecs; ++v) store(c + a * p.ldc + v * kLanes, sums[a][v]);
  }
}

template <int kRows, bool kAcross>
static inline void product_row_tile(const Product& p, int64_t row, int64_t lane, int64_t vecs) {
  if constexpr (kTileVecs == 4) {
    if (vecs >= 4) return product_tile<kRows, 4, kAcross>(p, row, lane);
    if (vecs == 3) return product_tile<kRows, 3, kAcross>(p, row, lane);
  }
  if (vecs >= 2) return product_tile<kRows, 2, kAcross>(p, row, lane);
  product_tile<kRows, 1, kAcross>(p, row, lane);
}

/// c[a, lanes] = start + sum_k x(a, k) * y[k, lanes] for a < rows and `vecs` vectors of lanes; k in
/// ascending order, one fused multiply-add each, so that an element's bits do not depend on its
/// neighbours.
template <bool kAcross>
static void product(const Product& p, int64_t rows, int64_t vecs) {
  for (int64_t v = 0; v < vecs; v += kTileVecs) {
    const int64_t lane = v * kLanes, left = vecs - v;
    int64_t a = 0;
    for (; a + kTileRows <= rows; a += kTileRows) {
      product_row_tile<kTileRows, kAcross>(p, a, lane, left);
    }
    switch (rows - a) {
      case 5:
        product_row_tile<5, kAcross>(p, a, lane, left);
        break;
      case 4:
        product_row_tile<4, kAcross>(p, a, lane, left);
        break;
      case 3:
        product_row_tile<3, kAcross>(p, a, lane, left);
        break;
      case 2:
        product_row_tile<2, kAcross>(p, a, lane, left);
        break;
      case 1:
        product_row_tile<1, kAcross>(p, a, lane, left);
        break;
      default:
        break;
    }
  }
}

static inline int64_t vecs_of(int64_t lanes) { return (lanes + kLanes - 1) / kLanes; }

// ---- running softmax ---------------------------------------------------------------------------

/// The state of one row's softmax over the keys seen so far: weighted values [rows, padded D], and
/// for each row the largest score and the sum of exp(score - largest).
struct Running {
  float *values, *largest, *weight;
};

/// A score below every real one; finite, so that a difference of two of them is 0 and not NaN.
constexpr float kHidden = -3e38f;

static inline void reset(const Running& s, int64_t rows, int64_t padded) {
  for (int64_t i = 0; i < rows * padded; i += kLanes) store(s.values + i, zero());
  for (int64_t r = 0; r < rows; ++r) s.largest[r] = kHidden, s.weight[r] = 0;
}

/// total = total and then part. The arrays of `largest` and `weight` are whole vectors long.
static inline void combine(const Running& total, const Running& part, int64_t rows,
                           int64_t padded) {
  for (int64_t r = 0; r < rows; r += kLanes) {
    const Mask in = first(rows - r);
    const Vec mt = load(total.largest + r, in), mp = load(part.largest + r, in);
    const Vec m = max(mt, mp);
    const Vec ft = exp(sub(mt, m)), fp = exp(sub(mp, m));
    store(total.largest + r, m, in);
    store(total.weight + r, fma(load(part.weight + r, in), fp, mul(load(total.weight + r, in), ft)),
          in);
    alignas(64) float factor_total[kLanes], factor_part[kLanes];
    store(factor_total, ft);
    store(factor_part, fp);
    for (int64_t i = 0; i < kLanes && r + i < rows; ++i) {
      float* t = total.values + (r + i) * padded;
      const float* q = part.values + (r + i) * padded;
      for (int64_t d = 0; d < padded; d += kLanes) {
        store(t + d,
              fma(load(q + d), set1(factor_part[i]), mul(load(t + d), set1(factor_total[i]))));
      }
    }
  }
}

/// out = values / weight for row r, rounded to out's dtype.
static inline void write_row(const Running& s, int64_t r, int64_t head_dim, DType dtype, void* out,
                             int64_t at) {
  const Vec inverse = div(set1(1.0f), set1(s.weight[r]));
  const float* from = s.values + r * padded_dim(head_dim);
  with_type(dtype, [&](auto t) {
    using T = typename decltype(t)::type;
    T* to = static_cast<T*>(out) + at;
    for_lanes(head_dim, [&](int64_t d, Mask m) { store(to + d, mul(load(from + d), inverse), m); });
  });
}

}  // namespace cria::ops::CRIA_ISA
