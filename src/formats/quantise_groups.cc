#include "formats/quantise_groups.h"

#include <algorithm>
#include <cstring>

#include "formats/quantise_search.h"
#include "tensor/blocks.h"

namespace cria::quantising {
namespace {

using blocks::IntGroup;

struct WideStored {
  Lanes in_units;
  std::array<float, 8> values;
};
/// The scales as a bf16 holds them, at most as large as `largest`.
WideStored rounded(Lanes in_units, const Unit& unit, float largest) {
  WideStored s{{}, values_of(within(in_units * unit.value, -largest, largest))};
  for (float& v : s.values) v = static_cast<float>(bf16(v));
  s.in_units = _mm256_loadu_ps(s.values.data()) * unit.inverse;
  return s;
}

template <size_t Bits, size_t Group>
void put_steps(const uint8_t* steps, std::array<uint8_t, Group * Bits / 8>& qs) {
  if constexpr (Bits == 8) {
    std::memcpy(qs.data(), steps, Group);
  } else {
    for (size_t i = 0; i < qs.size(); ++i)
      qs[i] = static_cast<uint8_t>(steps[2 * i] | steps[2 * i + 1] << 4);
  }
}

/// Up to eight groups at once, one a lane. Rounding of scales comes after the search, so that the plain choice may win.
template <size_t Bits, size_t Group>
void quantise_eight(const float* x, const float* importance, float factor, size_t count,
                    std::byte* out) {
  constexpr float kMiddle = 1 << (Bits - 1);
  constexpr Range range{-kMiddle, kMiddle - 1};
  constexpr float kLargest = 0x1.fep127F / kMiddle;  // no number becomes infinite
  Groups<Group> g;
  load(x, importance, factor, count, g);
  const Unit unit = unit_of(greatest_magnitude(g));
  divide(g, unit);
  const WideStored searched = rounded(search_scale(g, range), unit, kLargest);
  const WideStored plain = rounded(plain_scale(g, range), unit, kLargest);
  const Lanes worse = is_less(error_of(g, {plain.in_units, all(0)}, range),
                              error_of(g, {searched.in_units, all(0)}, range));
  uint8_t steps[8 * Group];
  write_steps(g, {choose(worse, plain.in_units, searched.in_units), all(0)}, range, steps);
  const int plain_lanes = _mm256_movemask_ps(worse);
  for (size_t b = 0; b < count; ++b) {
    IntGroup<Bits, Group> block;
    block.d = (plain_lanes >> b & 1 ? plain : searched).values[b];
    put_steps<Bits, Group>(steps + b * Group, block.qs);
    std::memcpy(out + b * sizeof(block), &block, sizeof(block));
  }
}

template <size_t Bits, size_t Group>
void quantise_all(std::span<const float> row, std::span<const float> importance, float factor,
                  std::span<std::byte> out) {
  const size_t groups = row.size() / Group;
  for (size_t b = 0; b < groups; b += 8)
    quantise_eight<Bits, Group>(
        row.data() + b * Group, importance.empty() ? nullptr : importance.data() + b * Group,
        factor, std::min<size_t>(8, groups - b), out.data() + b * sizeof(IntGroup<Bits, Group>));
}

}  // namespace

void quantise_groups(DType to, std::span<const float> row, std::span<const float> importance,
                     float factor, std::span<std::byte> out) {
  switch (to) {
    case DType::int4_g32:
      return quantise_all<4, 32>(row, importance, factor, out);
    case DType::int4_g64:
      return quantise_all<4, 64>(row, importance, factor, out);
    case DType::int4_g128:
      return quantise_all<4, 128>(row, importance, factor, out);
    case DType::int8_g32:
      return quantise_all<8, 32>(row, importance, factor, out);
    case DType::int8_g64:
      return quantise_all<8, 64>(row, importance, factor, out);
    default:
      return quantise_all<8, 128>(row, importance, factor, out);
  }
}

}  // namespace cria::quantising
