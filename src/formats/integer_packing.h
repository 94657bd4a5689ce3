// How MindRecord packs integer arrays: a big-endian count, two bits per element that name its
// width, then each element in as few bytes as hold it (docs/formats/mindrecord.md, "Packed
// integers").
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace cria {

/// Appends the packed form of `values` to `out`.
void pack_integers(std::span<const int32_t> values, std::vector<std::byte>& out);
void pack_integers(std::span<const int64_t> values, std::vector<std::byte>& out);

/// Unpacks; false when the bytes are not exactly one packed array or a value does not fit in T.
/// `out` is resized to the count.
bool unpack_integers(std::span<const std::byte> bytes, std::vector<int32_t>& out);
bool unpack_integers(std::span<const std::byte> bytes, std::vector<int64_t>& out);

}  // namespace cria
