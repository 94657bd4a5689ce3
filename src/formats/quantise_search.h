// The search for scales and offsets behind quantise.h: eight groups of numbers at once, one in each lane of a vector, so
// that a sum over a group needs no sum over lanes, and a choice between lines is a choice in each lane.
#pragma once

#include <immintrin.h>

#include <array>
#include <cfloat>
#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace cria::quantising {

// GCC and clang give __m256 the operators of its lanes. Each is one rounding, never fused
// (-ffp-contract=off), so that every compiler and processor finds the same bits.
using Lanes = __m256;

inline Lanes all(float value) { return _mm256_set1_ps(value); }
inline Lanes lesser(Lanes a, Lanes b) { return _mm256_min_ps(a, b); }
inline Lanes greater(Lanes a, Lanes b) { return _mm256_max_ps(a, b); }
inline Lanes within(Lanes v, float low, float high) {
  return lesser(greater(v, all(low)), all(high));
}
inline Lanes is_less(Lanes a, Lanes b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
inline Lanes choose(Lanes mask, Lanes yes, Lanes no) { return _mm256_blendv_ps(no, yes, mask); }
inline Lanes magnitude(Lanes v) { return _mm256_andnot_ps(all(-0.0F), v); }
inline Lanes nearest(Lanes v) {
  return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/// 1 / v, and 0 for 0: a group without a scale has no steps.
inline Lanes inverse(Lanes v) {
  return _mm256_andnot_ps(_mm256_cmp_ps(v, all(0), _CMP_EQ_OQ), all(1) / v);
}
inline std::array<float, 8> values_of(Lanes v) {
  std::array<float, 8> out;
  _mm256_storeu_ps(out.data(), v);
  return out;
}

inline float greatest_of(Lanes v) {
  v = greater(v, _mm256_permute2f128_ps(v, v, 1));
  v = greater(v, _mm256_permute_ps(v, 0x4e));
  v = greater(v, _mm256_permute_ps(v, 0xb1));
  return _mm256_cvtss_f32(v);
}

/// N numbers of each of eight groups: x[i] holds the i-th of each, w[i] their weights in the error.
template <int N>
struct Groups {
  Lanes x[N], w[N];
};

/// Reads `count` groups that lie one after another; the lanes of missing groups are 0. Weights are importance * factor, or 1
/// without importance and in groups without weight.
template <int N>
void load(const float* x, const float* importance, float factor, size_t count, Groups<N>& g) {
  alignas(32) float turned[N][8] = {};
  const auto turn = [&](const float* from) {
    for (size_t group = 0; group < count; ++group)
      for (size_t i = 0; i < N; ++i) turned[i][group] = from[group * N + i];
  };
  turn(x);
  for (int i = 0; i < N; ++i) g.x[i] = _mm256_load_ps(turned[i]);
  for (int i = 0; i < N; ++i) g.w[i] = all(1);
  if (importance == nullptr) return;
  turn(importance);
  Lanes sum = all(0);
  for (int i = 0; i < N; ++i) sum = sum + (g.w[i] = _mm256_load_ps(turned[i]) * all(factor));
  const Lanes weighs = is_less(all(0), sum);
  for (int i = 0; i < N; ++i) g.w[i] = choose(weighs, g.w[i], all(1));
}

template <int N>
Lanes greatest_magnitude(const Groups<N>& g) {
  Lanes greatest = all(0);
  for (int i = 0; i < N; ++i) greatest = greater(greatest, magnitude(g.x[i]));
  return greatest;
}

/// A power of two and its inverse, for each lane: numbers divided by it are below 4, so that no square overflows or vanishes,
/// and no bit of them is lost.
struct Unit {
  Lanes value, inverse;
};
inline Unit unit_of(Lanes greatest) {
  __m256i bits = _mm256_castps_si256(greatest);
  bits = _mm256_and_si256(bits, _mm256_set1_epi32(0x7f800000));
  bits = _mm256_max_epi32(bits, _mm256_set1_epi32(1 << 23));
  bits = _mm256_min_epi32(bits, _mm256_set1_epi32(253 << 23));
  return {_mm256_castsi256_ps(bits),
          _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_set1_epi32(254 << 23), bits))};
}
template <int N>
void divide(Groups<N>& g, const Unit& unit) {
  for (int i = 0; i < N; ++i) g.x[i] = g.x[i] * unit.inverse;
}

/// Numbers as the f16 that a block stores, and what those are worth in the unit. Too large ones become the largest f16.
struct Stored {
  Lanes value;
  std::array<f16, 8> bits;
};
inline Stored stored(Lanes in_units, const Unit& unit) {
  constexpr float kLargest = 65504;
  const __m128i halves = _mm256_cvtps_ph(within(in_units * unit.value, -kLargest, kLargest),
                                         _MM_FROUND_TO_NEAREST_INT);
  Stored s{_mm256_cvtph_ps(halves) * unit.inverse, {}};
  static_assert(sizeof(s.bits) == sizeof(halves));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(s.bits.data()), halves);
  return s;
}

/// The whole numbers that q may be, and numbers as scale * q + offset.
struct Range {
  float low, high;
};
struct Line {
  Lanes scale, offset;
};

/// The best q of number x.
inline Lanes step_of(Lanes x, Lanes inverse_scale, Lanes offset, Range range) {
  return within(nearest((x - offset) * inverse_scale), range.low, range.high);
}

/// sum of w (x - (scale q + offset))^2 with the best q of each number.
template <int N>
Lanes error_of(const Groups<N>& g, const Line& line, Range range) {
  const Lanes inverse_scale = inverse(line.scale);
  Lanes sum = all(0);
  for (int i = 0; i < N; ++i) {
    const Lanes from_offset = g.x[i] - line.offset;
    const Lanes q = within(nearest(from_offset * inverse_scale), range.low, range.high);
    const Lanes e = from_offset - line.scale * q;
    sum = sum + g.w[i] * e * e;
  }
  return sum;
}

/// steps[group * N + i]: the best q of each number, counted from range.low.
template <int N>
void write_steps(const Groups<N>& g, const Line& line, Range range, uint8_t* steps) {
  const Lanes inverse_scale = inverse(line.scale);
  for (int i = 0; i < N; ++i) {
    const Lanes q = step_of(g.x[i], inverse_scale, line.offset, range) - all(range.low);
    alignas(32) int32_t whole[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(whole), _mm256_cvtps_epi32(q));
    for (int group = 0; group < 8; ++group)
      steps[group * N + i] = static_cast<uint8_t>(whole[group]);
  }
}

/// What least squares need of a group: sums of its numbers, and sums with their q.
struct Sums {
  Lanes w, wx, wxx;
  Lanes wq, wqq, wqx;
};

template <int N>
void add_numbers(const Groups<N>& g, Sums& s) {
  s.w = s.wx = s.wxx = all(0);
  for (int i = 0; i < N; ++i) {
    const Lanes wx = g.w[i] * g.x[i];
    s.w = s.w + g.w[i];
    s.wx = s.wx + wx;
    s.wxx = s.wxx + wx * g.x[i];
  }
}

template <int N>
void add_steps(const Groups<N>& g, Lanes inverse_scale, Lanes offset, Range range, Sums& s) {
  s.wq = s.wqq = s.wqx = all(0);
  for (int i = 0; i < N; ++i) {
    const Lanes q = step_of(g.x[i], inverse_scale, offset, range);
    const Lanes wq = g.w[i] * q;
    s.wq = s.wq + wq;
    s.wqq = s.wqq + wq * q;
    s.wqx = s.wqx + wq * g.x[i];
  }
}

/// The line of least error for given q whose offset is at most `ceiling`, and that error.
inline Line best_line(const Sums& s, Lanes ceiling, Lanes& error) {
  const Lanes over_det = inverse(s.w * s.wqq - s.wq * s.wq);
  Line line{(s.w * s.wqx - s.wx * s.wq) * over_det, (s.wqq * s.wx - s.wq * s.wqx) * over_det};
  // Above the ceiling, the best line that touches it.
  const Lanes above = is_less(ceiling, line.offset);
  line.offset = lesser(line.offset, ceiling);
  line.scale = choose(above, (s.wqx - ceiling * s.wq) * inverse(s.wqq), line.scale);
  const Lanes a = line.scale, b = line.offset;
  error =
      s.wxx - all(2) * (a * s.wqx + b * s.wx) + a * a * s.wqq + all(2) * a * b * s.wq + b * b * s.w;
  return line;
}

// How far from a group's ends the first and last step are tried, in steps. On Gaussian numbers a grid four times as fine and
// twice as wide, improved twice as long, gains 0.2 % of the error.
constexpr float kLineGrid = 0.4F;
constexpr int kLineOut = 1, kLineIn = 3;
constexpr float kScaleGrid = 0.25F;
constexpr int kScaleOut = 4, kScaleIn = 10;
constexpr int kImprovements = 3;

/// The line with the least error found for q in 0 .. top: its first and last step are tried near a group's least and greatest
/// number that weighs, each time with the best line for the q that follow; the best one is improved further. Offsets are at most `ceiling`.
template <int N>
Line search_line(const Groups<N>& g, float top, Lanes ceiling) {
  Lanes low = ceiling, high = all(-FLT_MAX);
  for (int i = 0; i < N; ++i) {
    const Lanes weighs = is_less(all(0), g.w[i]);
    low = lesser(low, choose(weighs, g.x[i], low));
    high = greater(high, choose(weighs, g.x[i], high));
  }
  low = lesser(low, high);
  const Range range{0, top};
  const Lanes step = (high - low) * all(1 / top);
  // Around the middle, sums of squares are not large beside the error.
  const Lanes middle = (low + high) * all(0.5F);
  Groups<N> c;
  for (int i = 0; i < N; ++i) {
    c.x[i] = g.x[i] - middle;
    c.w[i] = g.w[i];
  }
  Sums sums;
  add_numbers(c, sums);
  Line best{step, low - middle};
  Lanes best_error = error_of(c, best, range);
  const auto attempt = [&](Lanes scale, Lanes offset) {
    add_steps(c, inverse(scale), offset, range, sums);
    Lanes error;
    const Line line = best_line(sums, ceiling - middle, error);
    const Lanes better = is_less(error, best_error);
    best.scale = choose(better, line.scale, best.scale);
    best.offset = choose(better, line.offset, best.offset);
    best_error = lesser(error, best_error);
  };
  for (int in_low = -kLineOut; in_low <= kLineIn; ++in_low) {
    for (int in_high = -kLineOut; in_high <= kLineIn; ++in_high)
      attempt(step * all(1 - kLineGrid * static_cast<float>(in_low + in_high) / top),
              low - middle + step * all(kLineGrid * static_cast<float>(in_low)));
  }
  for (int i = 0; i < kImprovements; ++i) attempt(best.scale, best.offset);
  best.offset = best.offset + middle;
  return best;
}

/// The scale that puts the number of greatest magnitude, of those that weigh, on the lowest q: llama.cpp's choice.
template <int N>
Lanes plain_scale(const Groups<N>& g, Range range) {
  Lanes greatest = all(0);
  for (int i = 0; i < N; ++i) {
    const Lanes x = choose(is_less(all(0), g.w[i]), g.x[i], all(0));
    greatest = choose(is_less(magnitude(greatest), magnitude(x)), x, greatest);
  }
  return greatest * all(1 / range.low);
}

/// The scale (offset 0) with the least error found: the number of greatest magnitude falls near the lowest or near the
/// highest q, so that scales may be negative.
template <int N>
Lanes search_scale(const Groups<N>& g, Range range) {
  Lanes best = plain_scale(g, range);
  const Lanes inverse_greatest = inverse(best * all(range.low));
  Lanes best_error = error_of(g, {best, all(0)}, range);
  Sums sums;
  add_numbers(g, sums);
  const auto attempt = [&](Lanes inverse_scale) {
    add_steps(g, inverse_scale, all(0), range, sums);
    const Lanes scale = sums.wqx * inverse(sums.wqq);
    const Lanes error = sums.wxx - scale * sums.wqx;
    best = choose(is_less(error, best_error), scale, best);
    best_error = lesser(error, best_error);
  };
  for (int k = -kScaleOut; k <= kScaleIn; ++k) {
    const float in = kScaleGrid * static_cast<float>(k);
    attempt(inverse_greatest * all(range.low + in));
    attempt(inverse_greatest * all(range.high - in));
  }
  for (int i = 0; i < kImprovements; ++i) attempt(inverse(best));
  return best;
}

}  // namespace cria::quantising
