#include "formats/integer_packing.h"

#include <cstring>

#include "base/bytes.h"
#include "base/error.h"

namespace cria {
namespace {

template <class T>
unsigned width_code(T v) {
  if (v == static_cast<int8_t>(v)) return 0;
  if (v == static_cast<int16_t>(v)) return 1;
  if (v == static_cast<int32_t>(v)) return 2;
  return 3;
}

template <class T>
void pack(std::span<const T> values, std::vector<std::byte>& out) {
  require(values.size() <= UINT32_MAX, "MindRecord: an array of {} elements, expected at most {}",
          values.size(), UINT32_MAX);
  append_be(out, static_cast<uint32_t>(values.size()));
  const size_t codes = out.size();
  size_t end = codes + (values.size() + 3) / 4;
  // Room for the widest form, so that every element is one whole store; cut at the end.
  out.resize(end + values.size() * sizeof(T));
  for (size_t i = 0; i < values.size(); ++i) {
    const unsigned code = width_code(values[i]);
    out[codes + i / 4] |= static_cast<std::byte>(code << (6 - 2 * (i % 4)));
    std::memcpy(&out[end], &values[i], sizeof(T));
    end += size_t{1} << code;
  }
  out.resize(end);
}

// Eight bytes at `at`, sign-extended from 2^code bytes.
int64_t wide_load(const std::byte* at, unsigned code) {
  int64_t word = 0;
  std::memcpy(&word, at, 8);
  const unsigned shift = 64 - (8U << code);
  return static_cast<int64_t>(static_cast<uint64_t>(word) << shift) >> shift;
}

template <class T>
bool unpack(std::span<const std::byte> bytes, std::vector<T>& out) {
  if (bytes.size() < 4) return false;
  const size_t count = load_be<uint32_t>(bytes, 0);
  const size_t code_bytes = (count + 3) / 4;
  // Every element has at least one byte, so the count is bounded before memory is taken.
  if (bytes.size() - 4 < code_bytes + count) return false;
  const auto codes = bytes.subspan(4, code_bytes);
  const auto data = bytes.subspan(4 + code_bytes);
  out.resize(count);
  size_t at = 0;
  int64_t misfits = 0;
  for (size_t i = 0; i < count; ++i) {
    const unsigned code = std::to_integer<unsigned>(codes[i / 4]) >> (6 - 2 * (i % 4)) & 3;
    const size_t width = size_t{1} << code;
    int64_t value = 0;
    if (at + 8 <= data.size()) {
      value = wide_load(&data[at], code);
    } else {
      if (width > data.size() - at) return false;
      std::byte last[8] = {};
      std::memcpy(last, &data[at], width);
      value = wide_load(last, code);
    }
    out[i] = static_cast<T>(value);
    misfits |= value ^ static_cast<int64_t>(out[i]);
    at += width;
  }
  const unsigned unused = static_cast<unsigned>(4 * code_bytes - count) * 2;
  if (unused > 0 && (std::to_integer<unsigned>(codes.back()) & ((1U << unused) - 1)) != 0)
    return false;
  return misfits == 0 && at == data.size();
}

}  // namespace

void pack_integers(std::span<const int32_t> values, std::vector<std::byte>& out) {
  pack(values, out);
}
void pack_integers(std::span<const int64_t> values, std::vector<std::byte>& out) {
  pack(values, out);
}
bool unpack_integers(std::span<const std::byte> bytes, std::vector<int32_t>& out) {
  return unpack(bytes, out);
}
bool unpack_integers(std::span<const std::byte> bytes, std::vector<int64_t>& out) {
  return unpack(bytes, out);
}

}  // namespace cria
