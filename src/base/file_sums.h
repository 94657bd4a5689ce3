// Sums over the bytes of a file: where damage is, and which file it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace cria {

class ThreadPool;

/// CRC-32C (Castagnoli) of bytes, by the processor's instruction.
uint32_t crc32c(std::span<const std::byte> bytes);

/// Sums of one file: CRC-32C of every 4 MiB block, to find where damage is, and SHA-256 of the
/// whole.
struct FileSums {
  static constexpr uint64_t kBlockBytes = 4 << 20;
  uint64_t size = 0;
  std::string sha256;
  std::vector<uint32_t> blocks;
  bool operator==(const FileSums&) const = default;
};
FileSums sums_of(std::span<const std::byte> bytes, ThreadPool& pool);
/// Throws FormatError unless the file has the expected size, and the sums are of as many blocks.
void check_size(std::span<const std::byte> bytes, const FileSums& expected, const std::string& path,
                std::string_view what, std::string_view hint);
/// Compares one block of a file of the right size.
void check_block(std::span<const std::byte> bytes, size_t index, const FileSums& expected,
                 const std::string& path, std::string_view what, std::string_view hint);
/// Compares size and every block. Throws FormatError naming file, offset of the first bad block, expected
/// and found sum; `what` and `hint` are those of its message.
void check_sums(std::span<const std::byte> bytes, const FileSums& expected, const std::string& path,
                ThreadPool& pool, std::string_view what, std::string_view hint);

/// {"size", "sha256", "crc32c"}.
Json sums_json(const FileSums& sums);
/// Throws FormatError about `path` when a member is missing or of another kind.
FileSums sums_from_json(const Json& json, std::string_view what, const std::string& path);

/// `body` inside an object that carries the SHA-256 of its exact bytes:
/// {"sum":"<64 hex digits>","manifest":<body>} and a newline.
std::string with_own_sum(std::string_view body);
/// The body again, a view into `text`. Throws FormatError when the text is not whole or its sum is
/// wrong; `what` and `path` for the message.
std::string_view check_own_sum(std::string_view text, std::string_view what,
                               const std::string& path);

}  // namespace cria
