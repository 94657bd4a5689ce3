// The way back of open_block.cc, for the whole numbers alone.
#include <cstring>

#include "base/error.h"
#include "tensor/blocks.h"
#include "tensor/open_block.h"

namespace cria {
namespace {

using namespace blocks;

void put_nibbles(const uint8_t* numbers, std::array<uint8_t, 16>& qs) {
  for (size_t i = 0; i < 16; ++i)
    qs[i] = static_cast<uint8_t>((numbers[i] & 15) | (numbers[i + 16] & 15) << 4);
}

void put_fifth_bits(const uint8_t* numbers, std::array<uint8_t, 4>& qh) {
  uint32_t bits = 0;
  for (uint32_t i = 0; i < 32; ++i) bits |= static_cast<uint32_t>(numbers[i] >> 4 & 1) << i;
  std::memcpy(qh.data(), &bits, 4);
}

void put_pairs_of_groups(const uint8_t* numbers, std::array<uint8_t, 128>& qs) {
  for (size_t g = 0; g < 8; g += 2) {
    for (size_t i = 0; i < 32; ++i)
      qs[g / 2 * 32 + i] =
          static_cast<uint8_t>((numbers[g * 32 + i] & 15) | (numbers[(g + 1) * 32 + i] & 15) << 4);
  }
}

void put(const uint8_t* numbers, Q4_0& b) { put_nibbles(numbers, b.qs); }
void put(const uint8_t* numbers, Q4_1& b) { put_nibbles(numbers, b.qs); }
void put(const uint8_t* numbers, Q5_0& b) {
  put_nibbles(numbers, b.qs);
  put_fifth_bits(numbers, b.qh);
}
void put(const uint8_t* numbers, Q5_1& b) {
  put_nibbles(numbers, b.qs);
  put_fifth_bits(numbers, b.qh);
}
void put(const uint8_t* numbers, Q8_0& b) {
  for (size_t i = 0; i < 32; ++i) b.qs[i] = static_cast<int8_t>(numbers[i] ^ 0x80);
}
void put(const uint8_t* numbers, Q4_K& b) { put_pairs_of_groups(numbers, b.qs); }
void put(const uint8_t* numbers, Q5_K& b) {
  put_pairs_of_groups(numbers, b.qs);
  b.qh.fill(0);
  for (size_t g = 0; g < 8; ++g) {
    for (size_t i = 0; i < 32; ++i)
      b.qh[i] = static_cast<uint8_t>(b.qh[i] | (numbers[g * 32 + i] >> 4 & 1) << g);
  }
}
void put(const uint8_t* numbers, Q6_K& b) {
  b.ql.fill(0);
  b.qh.fill(0);
  for (size_t g = 0; g < 16; ++g) {
    const size_t half = g / 8, quarter = g / 2 % 4, begin = g % 2 * 16;
    const size_t low = half * 64 + quarter % 2 * 32 + begin, high = half * 32 + begin;
    const size_t low_shift = quarter / 2 * 4, high_shift = quarter * 2;
    for (size_t i = 0; i < 16; ++i) {
      const uint8_t n = numbers[g * 16 + i];
      b.ql[low + i] = static_cast<uint8_t>(b.ql[low + i] | (n & 15) << low_shift);
      b.qh[high + i] = static_cast<uint8_t>(b.qh[high + i] | (n >> 4 & 3) << high_shift);
    }
  }
}

template <size_t Group>
void put(const uint8_t* numbers, IntGroup<4, Group>& b) {
  for (size_t i = 0; i < b.qs.size(); ++i)
    b.qs[i] = static_cast<uint8_t>((numbers[2 * i] & 15) | (numbers[2 * i + 1] & 15) << 4);
}
template <size_t Group>
void put(const uint8_t* numbers, IntGroup<8, Group>& b) {
  std::memcpy(b.qs.data(), numbers, Group);
}

template <class Block>
void put_as(const uint8_t* numbers, std::byte* bytes) {
  Block b;
  std::memcpy(&b, bytes, sizeof(Block));
  put(numbers, b);
  std::memcpy(bytes, &b, sizeof(Block));
}

}  // namespace

int most_number(DType type) {
  switch (type) {
    case DType::q4_0:
    case DType::q4_1:
    case DType::q4_k:
    case DType::int4_g32:
    case DType::int4_g64:
    case DType::int4_g128:
      return 15;
    case DType::q5_0:
    case DType::q5_1:
    case DType::q5_k:
      return 31;
    case DType::q6_k:
      return 63;
    default:
      return 255;
  }
}

void put_numbers(DType type, std::span<const uint8_t> numbers, std::byte* block) {
  check(std::ssize(numbers) == block_elements(type), "all numbers of a block are put");
  const uint8_t* const from = numbers.data();
  switch (type) {
    case DType::q4_0:
      return put_as<Q4_0>(from, block);
    case DType::q4_1:
      return put_as<Q4_1>(from, block);
    case DType::q5_0:
      return put_as<Q5_0>(from, block);
    case DType::q5_1:
      return put_as<Q5_1>(from, block);
    case DType::q8_0:
      return put_as<Q8_0>(from, block);
    case DType::q4_k:
      return put_as<Q4_K>(from, block);
    case DType::q5_k:
      return put_as<Q5_K>(from, block);
    case DType::int4_g32:
      return put_as<IntGroup<4, 32>>(from, block);
    case DType::int4_g64:
      return put_as<IntGroup<4, 64>>(from, block);
    case DType::int4_g128:
      return put_as<IntGroup<4, 128>>(from, block);
    case DType::int8_g32:
      return put_as<IntGroup<8, 32>>(from, block);
    case DType::int8_g64:
      return put_as<IntGroup<8, 64>>(from, block);
    case DType::int8_g128:
      return put_as<IntGroup<8, 128>>(from, block);
    default:
      return put_as<Q6_K>(from, block);
  }
}

}  // namespace cria
