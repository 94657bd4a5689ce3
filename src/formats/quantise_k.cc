#include "formats/quantise_k.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "formats/quantise_search.h"

// A block stores one or two f16 for all groups and a small whole number or two for each, the group's scale (and offset) being
// their product. First each group's own best line is searched. Then f16 and whole numbers are chosen in turns: the whole
// numbers next to those wanted, by the true error; and the f16 that fit all groups best, by least squares.
namespace cria::quantising {
namespace {

// After three turns hardly a block changes.
constexpr int kTurns = 3;

double sum_of(Lanes v) {
  double sum = 0;
  for (const float lane : values_of(v)) sum += lane;
  return sum;
}

// 1 / v, and 0 for 0.
double one_over(double v) { return v == 0 ? 0 : 1 / v; }

// The f16 for all groups that is not smaller than wanted: if it were, the greatest small number would not reach its group.
Stored stored_away(float in_units, const Unit& unit) {
  Stored s = stored(all(in_units), unit);
  const auto magnitude_bits = static_cast<uint16_t>(s.bits[0].bits & 0x7fff);
  constexpr uint16_t kLargest = 0x7bff;
  if (std::fabs(_mm256_cvtss_f32(s.value)) >= std::fabs(in_units) || magnitude_bits >= kLargest)
    return s;
  ++s.bits[0].bits;
  s.value = all(static_cast<float>(s.bits[0])) * unit.inverse;
  return s;
}

// q4_k and q5_k: y = (d s) q - (dmin o), s and o in 0 .. 63.
struct SmallLines {
  Stored d, dmin;  // the same in all lanes
  Lanes s, o;      // of each group
  double error = DBL_MAX;
  [[nodiscard]] Line line() const { return {d.value * s, -(dmin.value * o)}; }
};

Lanes small(Lanes v) { return within(nearest(v), 0, 63); }

// The best small numbers next to (s, o).
void choose_small(const Groups<32>& g, Range range, SmallLines& c) {
  const Lanes s0 = c.s, o0 = c.o;
  Lanes best_error = all(FLT_MAX);
  for (int ds = -1; ds <= 1; ++ds) {
    for (int dm = -1; dm <= 1; ++dm) {
      const Lanes s = within(s0 + all(static_cast<float>(ds)), 0, 63);
      const Lanes o = within(o0 + all(static_cast<float>(dm)), 0, 63);
      const Lanes error = error_of(g, {c.d.value * s, -(c.dmin.value * o)}, range);
      const Lanes better = is_less(error, best_error);
      c.s = choose(better, s, c.s);
      c.o = choose(better, o, c.o);
      best_error = lesser(error, best_error);
    }
  }
  c.error = sum_of(best_error);
}

// d and dmin of least error for the small numbers and their q.
void fit_large(const Groups<32>& g, Range range, const Unit& unit, SmallLines& c) {
  Sums sums;
  add_numbers(g, sums);
  const Line line = c.line();
  add_steps(g, inverse(line.scale), line.offset, range, sums);
  const double ss = sum_of(c.s * c.s * sums.wqq), so = sum_of(c.s * c.o * sums.wq),
               oo = sum_of(c.o * c.o * sums.w);
  const double sx = sum_of(c.s * sums.wqx), ox = sum_of(c.o * sums.wx);
  const double over_det = one_over(ss * oo - so * so);
  // Without offsets, or without scales, the other one alone.
  const double d = over_det != 0 ? (oo * sx - so * ox) * over_det : sx * one_over(ss);
  const double dmin = over_det != 0 ? (so * sx - ss * ox) * over_det : -ox * one_over(oo);
  c.d = stored(all(static_cast<float>(d)), unit);
  c.dmin = stored(all(static_cast<float>(dmin)), unit);
}

SmallLines choose_lines(const Groups<32>& g, Range range, const Unit& unit) {
  // Offsets are subtracted and have no sign: no group's line may begin above 0.
  const Line wanted = search_line(g, range.high, all(0));
  SmallLines c;
  c.d = stored_away(greatest_of(wanted.scale) / 63, unit);
  c.dmin = stored_away(greatest_of(-wanted.offset) / 63, unit);
  c.s = small(wanted.scale * inverse(c.d.value));
  c.o = small(-wanted.offset * inverse(c.dmin.value));
  SmallLines best;
  for (int turn = 0; turn < kTurns; ++turn) {
    if (turn > 0) fit_large(g, range, unit, c);
    choose_small(g, range, c);
    if (c.error < best.error) best = c;
  }
  return best;
}

// q6_k: y = (d s) (q - 32), s in -128 .. 127. Sixteen groups of 16 are two times eight.
constexpr Range kQ6{-32, 31};
using Halves = std::array<Groups<16>, 2>;
struct SmallScales {
  Stored d;
  Lanes s[2];
  double error = DBL_MAX;
};

void choose_small(const Halves& halves, SmallScales& c) {
  c.error = 0;
  for (size_t h = 0; h < 2; ++h) {
    const Lanes s0 = c.s[h];
    Lanes best_error = all(FLT_MAX);
    for (int ds = -1; ds <= 1; ++ds) {
      const Lanes s = within(s0 + all(static_cast<float>(ds)), -128, 127);
      const Lanes error = error_of(halves[h], {c.d.value * s, all(0)}, kQ6);
      c.s[h] = choose(is_less(error, best_error), s, c.s[h]);
      best_error = lesser(error, best_error);
    }
    c.error += sum_of(best_error);
  }
}

void fit_large(const Halves& halves, const Unit& unit, SmallScales& c) {
  double ss = 0, sx = 0;
  for (size_t h = 0; h < 2; ++h) {
    Sums sums;
    add_steps(halves[h], inverse(c.d.value * c.s[h]), all(0), kQ6, sums);
    ss += sum_of(c.s[h] * c.s[h] * sums.wqq);
    sx += sum_of(c.s[h] * sums.wqx);
  }
  c.d = stored(all(static_cast<float>(sx * one_over(ss))), unit);
}

SmallScales choose_scales(const Halves& halves, const Unit& unit) {
  const Lanes wanted[2] = {search_scale(halves[0], kQ6), search_scale(halves[1], kQ6)};
  const float high = greatest_of(greater(wanted[0], wanted[1]));
  const float low = -greatest_of(-lesser(wanted[0], wanted[1]));
  const float greatest = -low > high ? low : high;
  SmallScales c, best;
  c.d = stored_away(greatest / -128, unit);
  for (size_t h = 0; h < 2; ++h)
    c.s[h] = within(nearest(wanted[h] * inverse(c.d.value)), -128, 127);
  for (int turn = 0; turn < kTurns; ++turn) {
    if (turn > 0) fit_large(halves, unit, c);
    choose_small(halves, c);
    if (c.error < best.error) best = c;
  }
  return best;
}

Unit unit_of_block(Lanes greatest) { return unit_of(all(greatest_of(greatest))); }

// What q4_k and q5_k share. Returns q of all 256 numbers.
template <class Block>
std::array<uint8_t, 256> quantise_lines(const float* x, const float* importance, float factor,
                                        Range range, Block& out) {
  Groups<32> g;
  load(x, importance, factor, 8, g);
  const Unit unit = unit_of_block(greatest_magnitude(g));
  divide(g, unit);
  const SmallLines c = choose_lines(g, range, unit);
  std::array<uint8_t, 256> steps;
  write_steps(g, c.line(), range, steps.data());
  out.d = c.d.bits[0];
  out.dmin = c.dmin.bits[0];
  std::array<uint8_t, 8> s, o;
  for (size_t i = 0; i < 8; ++i) {
    s[i] = static_cast<uint8_t>(values_of(c.s)[i]);
    o[i] = static_cast<uint8_t>(values_of(c.o)[i]);
  }
  for (size_t i = 0; i < 4; ++i) {
    out.scales[i] = static_cast<uint8_t>(s[i] | s[i + 4] >> 4 << 6);
    out.scales[i + 4] = static_cast<uint8_t>(o[i] | o[i + 4] >> 4 << 6);
    out.scales[i + 8] = static_cast<uint8_t>((s[i + 4] & 15) | (o[i + 4] & 15) << 4);
  }
  for (size_t pair = 0; pair < 4; ++pair) {
    const uint8_t* q = steps.data() + pair * 64;
    for (size_t i = 0; i < 32; ++i)
      out.qs[pair * 32 + i] = static_cast<uint8_t>((q[i] & 15) | (q[i + 32] & 15) << 4);
  }
  return steps;
}

}  // namespace

void quantise_block(const float* x, const float* importance, float factor, blocks::Q4_K& out) {
  quantise_lines(x, importance, factor, Range{0, 15}, out);
}

void quantise_block(const float* x, const float* importance, float factor, blocks::Q5_K& out) {
  const std::array<uint8_t, 256> q = quantise_lines(x, importance, factor, Range{0, 31}, out);
  out.qh = {};
  for (size_t group = 0; group < 8; ++group) {
    for (size_t i = 0; i < 32; ++i)
      out.qh[i] = static_cast<uint8_t>(out.qh[i] | q[group * 32 + i] >> 4 << group);
  }
}

void quantise_block(const float* x, const float* importance, float factor, blocks::Q6_K& out) {
  Halves halves;
  for (size_t h = 0; h < 2; ++h)
    load(x + h * 128, importance == nullptr ? nullptr : importance + h * 128, factor, 8, halves[h]);
  const Unit unit =
      unit_of_block(greater(greatest_magnitude(halves[0]), greatest_magnitude(halves[1])));
  for (Groups<16>& g : halves) divide(g, unit);
  const SmallScales c = choose_scales(halves, unit);
  out.d = c.d.bits[0];
  for (size_t h = 0; h < 2; ++h) {
    for (size_t i = 0; i < 8; ++i)
      out.scales[h * 8 + i] = static_cast<int8_t>(values_of(c.s[h])[i]);
    std::array<uint8_t, 128> q;
    write_steps(halves[h], {c.d.value * c.s[h], all(0)}, kQ6, q.data());
    for (size_t i = 0; i < 64; ++i)
      out.ql[h * 64 + i] = static_cast<uint8_t>((q[i] & 15) | (q[i + 64] & 15) << 4);
    for (size_t i = 0; i < 32; ++i)
      out.qh[h * 32 + i] = static_cast<uint8_t>(q[i] >> 4 | q[i + 32] >> 4 << 2 |
                                                q[i + 64] >> 4 << 4 | q[i + 96] >> 4 << 6);
  }
}

}  // namespace cria::quantising
