// The part of MessagePack that MindRecord's raw records need: one map from text to plain values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

namespace cria {

/// A plain value; std::monostate stands for nil, arrays, maps, extensions: nothing a column holds.
/// Unsigned integers above the range of int64_t are monostate too.
using MsgpackValue = std::variant<std::monostate, int64_t, double, bool, std::string_view>;

void append_map_header(std::vector<std::byte>& out, uint32_t entries);
/// The shortest form, as MindSpore writes it; a double that is a float takes four bytes.
void append_msgpack(std::vector<std::byte>& out, std::string_view text);
void append_msgpack(std::vector<std::byte>& out, int64_t value);
void append_msgpack(std::vector<std::byte>& out, double value);

/// Calls `entry` for every entry of the one map that `bytes` hold; texts point into `bytes`. False
/// when the bytes are not exactly one map with text keys, in any valid encoding. Needs no stack: a
/// nested value is skipped by counting what is still to come.
bool read_msgpack_map(std::span<const std::byte> bytes,
                      const std::function<void(std::string_view key, const MsgpackValue&)>& entry);

}  // namespace cria
