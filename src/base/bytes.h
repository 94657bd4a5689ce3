// Numbers in byte buffers, little- and big-endian, at any alignment.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace cria {

static_assert(std::endian::native == std::endian::little, "file formats here are little-endian");

/// The T at byte `at`; the caller has made sure that it lies inside (checked again by subspan's
/// assertion in hardened builds).
template <class T>
T load_le(std::span<const std::byte> bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.subspan(at, sizeof(T)).data(), sizeof(T));
  return value;
}

template <class T>
T load_be(std::span<const std::byte> bytes, size_t at) {
  std::byte turned[sizeof(T)];
  const auto from = bytes.subspan(at, sizeof(T));
  for (size_t i = 0; i < sizeof(T); ++i) turned[i] = from[sizeof(T) - 1 - i];
  return std::bit_cast<T>(turned);
}

template <class T>
void append_le(std::vector<std::byte>& out, T value) {
  const auto* p = reinterpret_cast<const std::byte*>(&value);
  out.insert(out.end(), p, p + sizeof(T));
}

template <class T>
void append_be(std::vector<std::byte>& out, T value) {
  const auto* p = reinterpret_cast<const std::byte*>(&value);
  for (size_t i = sizeof(T); i-- > 0;) out.push_back(p[i]);
}

inline void append_bytes(std::vector<std::byte>& out, std::span<const std::byte> bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}
inline std::span<const std::byte> raw_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}
inline std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace cria
