#include "formats/quantise.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "formats/quantise_groups.h"
#include "formats/quantise_k.h"
#include "formats/quantise_search.h"

namespace cria {
namespace {

using namespace blocks;
using namespace quantising;
using quantising::quantise_block;

// Halves away from 0, as lround. Not v + 0.5 cut off, which is wrong just below 0.5.
__m256i rounded_away(Lanes v) {
  const Lanes whole = _mm256_round_ps(v, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
  const Lanes one = _mm256_or_ps(all(1), _mm256_and_ps(v, all(-0.0F)));
  const Lanes away = _mm256_cmp_ps(magnitude(v - whole), all(0.5F), _CMP_GE_OQ);
  return _mm256_cvtps_epi32(whole + _mm256_and_ps(away, one));
}

// llama.cpp's plain code: the greatest magnitude becomes 127.
void quantise_block(const float* x, const float* /*importance*/, float /*factor*/, Q8_0& out) {
  Lanes v[4];
  for (size_t i = 0; i < 4; ++i) v[i] = _mm256_loadu_ps(x + i * 8);
  const float greatest = greatest_of(greater(greater(magnitude(v[0]), magnitude(v[1])),
                                             greater(magnitude(v[2]), magnitude(v[3]))));
  const float scale = greatest / 127.0F;
  const float inverse_scale = scale != 0 ? 1.0F / scale : 0.0F;
  out.d = f16(scale);
  __m256i q[4];
  // Past 127 only where 1 / scale overflows; d is 0 then.
  for (size_t i = 0; i < 4; ++i) q[i] = rounded_away(within(v[i] * all(inverse_scale), -127, 127));
  // Packing works within halves of a vector: the fours of bytes come out as 0 4 1 5 2 6 3 7.
  const __m256i bytes = _mm256_permutevar8x32_epi32(
      _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3])),
      _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out.qs.data()), bytes);
}

void put_low_bits(const uint8_t* steps, std::array<uint8_t, 16>& qs) {
#pragma omp simd
  for (size_t i = 0; i < 16; ++i)
    qs[i] = static_cast<uint8_t>((steps[i] & 15) | (steps[i + 16] & 15) << 4);
}

void put_fifth_bits(const uint8_t* steps, std::array<uint8_t, 4>& qh) {
  uint32_t bits = 0;
  for (uint32_t i = 0; i < 32; ++i) bits |= static_cast<uint32_t>(steps[i] >> 4) << i;
  std::memcpy(qh.data(), &bits, 4);
}

// A type of blocks of 32: what it stores, and the q it has.
template <class Block>
constexpr bool kHasOffset = std::is_same_v<Block, Q4_1> || std::is_same_v<Block, Q5_1>;
template <class Block>
constexpr bool kHasFifthBit = std::is_same_v<Block, Q5_0> || std::is_same_v<Block, Q5_1>;
template <class Block>
constexpr Range kRange = kHasOffset<Block> ? Range{0, kHasFifthBit<Block> ? 31.0F : 15.0F}
                                           : (kHasFifthBit<Block> ? Range{-16, 15} : Range{-8, 7});

struct StoredLine {
  Stored scale, offset;
  Lanes error;
};

template <class Block>
StoredLine store(const Groups<32>& g, const Line& line, const Unit& unit) {
  StoredLine s{stored(line.scale, unit), stored(line.offset, unit), {}};
  s.error = error_of(g, {s.scale.value, s.offset.value}, kRange<Block>);
  return s;
}

// llama.cpp's plain choice: the ends of the range on the first and last q.
Line plain_line(const Groups<32>& g, float top) {
  Lanes low = g.x[0], high = g.x[0];
  for (const Lanes& x : g.x) {
    low = lesser(low, x);
    high = greater(high, x);
  }
  return {(high - low) * all(1 / top), low};
}

// Up to eight blocks at once, one a lane. Rounding to f16 comes after the search, so that the plain choice may win.
template <class Block>
void quantise_blocks(const float* x, const float* importance, float factor, size_t count,
                     std::byte* out) {
  constexpr Range range = kRange<Block>;
  Groups<32> g;
  load(x, importance, factor, count, g);
  const Unit unit = unit_of(greatest_magnitude(g));
  divide(g, unit);
  StoredLine searched, plain;
  if constexpr (kHasOffset<Block>) {
    searched = store<Block>(g, search_line(g, range.high, all(FLT_MAX)), unit);
    plain = store<Block>(g, plain_line(g, range.high), unit);
  } else {
    searched = store<Block>(g, {search_scale(g, range), all(0)}, unit);
    plain = store<Block>(g, {plain_scale(g, range), all(0)}, unit);
  }
  const Lanes worse = is_less(plain.error, searched.error);
  const Line line{choose(worse, plain.scale.value, searched.scale.value),
                  choose(worse, plain.offset.value, searched.offset.value)};
  uint8_t steps[8 * 32];
  write_steps(g, line, range, steps);
  const int plain_lanes = _mm256_movemask_ps(worse);
  for (size_t b = 0; b < count; ++b) {
    const StoredLine& chosen = plain_lanes >> b & 1 ? plain : searched;
    Block block;
    block.d = chosen.scale.bits[b];
    if constexpr (kHasOffset<Block>) block.m = chosen.offset.bits[b];
    if constexpr (kHasFifthBit<Block>) put_fifth_bits(steps + b * 32, block.qh);
    put_low_bits(steps + b * 32, block.qs);
    std::memcpy(out + b * sizeof(Block), &block, sizeof(Block));
  }
}

struct Weights {
  const float* values;  // or null
  float factor;         // makes their mean 1
  [[nodiscard]] const float* from(size_t i) const {
    return values == nullptr ? nullptr : values + i;
  }
};

template <class Block>
void quantise_all(std::span<const float> row, const Weights& weights, std::span<std::byte> out) {
  constexpr bool small = Block::kElements == 32 && !std::is_same_v<Block, Q8_0>;
  constexpr size_t together = small ? 8 : 1;
  const size_t count = row.size() / Block::kElements;
  for (size_t b = 0; b < count; b += together) {
    const size_t at = b * Block::kElements;
    std::byte* to = out.data() + b * sizeof(Block);
    if constexpr (small) {
      quantise_blocks<Block>(row.data() + at, weights.from(at), weights.factor,
                             std::min(together, count - b), to);
    } else {
      Block block;
      quantise_block(row.data() + at, weights.from(at), weights.factor, block);
      std::memcpy(to, &block, sizeof(Block));
    }
  }
}

Weights weights_of(std::span<const float> importance) {
  double sum = 0;
  for (const float w : importance) sum += w;
  if (!(sum > 0)) return {nullptr, 1};
  return {importance.data(), static_cast<float>(static_cast<double>(importance.size()) / sum)};
}

}  // namespace

void quantise(DType to, std::span<const float> row, std::span<std::byte> out,
              std::span<const float> importance) {
  check(is_quantised(to), "quantise makes a type of blocks");
  check(row.size() % static_cast<size_t>(block_elements(to)) == 0 &&
            out.size() == static_cast<size_t>(bytes_of(to, static_cast<int64_t>(row.size()))),
        "quantise gets whole blocks and room for exactly these");
  check(importance.empty() || importance.size() == row.size(),
        "every number has an importance, or none has");
  const Weights weights = weights_of(importance);
  switch (to) {
    case DType::q4_0:
      return quantise_all<Q4_0>(row, weights, out);
    case DType::q4_1:
      return quantise_all<Q4_1>(row, weights, out);
    case DType::q5_0:
      return quantise_all<Q5_0>(row, weights, out);
    case DType::q5_1:
      return quantise_all<Q5_1>(row, weights, out);
    case DType::q8_0:
      return quantise_all<Q8_0>(row, weights, out);
    case DType::q4_k:
      return quantise_all<Q4_K>(row, weights, out);
    case DType::q5_k:
      return quantise_all<Q5_K>(row, weights, out);
    case DType::q6_k:
      return quantise_all<Q6_K>(row, weights, out);
    default:
      return quantise_groups(to, row, weights.values ? importance : std::span<const float>(),
                             weights.factor, out);
  }
}

}  // namespace cria
