// Sums over the bytes of a file, by which damage is found and placed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace cria {

class ThreadPool;

/// CRC-32C (Castagnoli) of bytes, by the processor's instruction.
uint32_t crc32c(std::span<const std::byte> bytes);

/// Sums of one file: CRC-32C of every 4 MiB block, to find where damage is, and SHA-256 of the whole.
struct FileSums {
  static constexpr uint64_t kBlockBytes = 4 << 20;
  uint64_t size = 0;
  std::string sha256;
  std::vector<uint32_t> blocks;
};
FileSums sums_of(std::span<const std::byte> bytes, ThreadPool& pool);
/// Throws FormatError unless the file has the expected size, and the sums are of as many blocks.
void check_size(std::span<const std::byte> bytes, const FileSums& expected,
                const std::string& path);
/// Compares one block of a file of the right size. Throws FormatError naming file, offset, expected and found sum.
void check_block(std::span<const std::byte> bytes, size_t block, const FileSums& expected,
                 const std::string& path);
/// Compares size and every block.
void check_sums(std::span<const std::byte> bytes, const FileSums& expected, const std::string& path,
                ThreadPool& pool);

}  // namespace cria
