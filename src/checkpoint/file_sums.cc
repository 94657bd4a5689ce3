#include "checkpoint/file_sums.h"

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/sha256.h"
#include "base/thread_pool.h"

namespace cria {
namespace {

std::span<const std::byte> block_of(std::span<const std::byte> bytes, size_t index) {
  const uint64_t begin = index * FileSums::kBlockBytes;
  return bytes.subspan(begin, std::min<uint64_t>(FileSums::kBlockBytes, bytes.size() - begin));
}

size_t block_count(uint64_t size) {
  return (size + FileSums::kBlockBytes - 1) / FileSums::kBlockBytes;
}

}  // namespace

uint32_t crc32c(std::span<const std::byte> bytes) {
  uint64_t crc = 0xffffffff;
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, 8);
    crc = _mm_crc32_u64(crc, word);
  }
  auto tail = static_cast<uint32_t>(crc);
  for (; i < bytes.size(); ++i) tail = _mm_crc32_u8(tail, static_cast<unsigned char>(bytes[i]));
  return ~tail;
}

FileSums sums_of(std::span<const std::byte> bytes, ThreadPool& pool) {
  FileSums sums;
  sums.size = bytes.size();
  sums.blocks.resize(block_count(bytes.size()));
  // The whole file's SHA-256 is one chain; the blocks are cut over the other threads meanwhile.
  pool.parallel_for(static_cast<int64_t>(sums.blocks.size()) + 1, [&](int64_t i) {
    if (i == 0) {
      sums.sha256 = sha256_hex(bytes);
    } else {
      sums.blocks[static_cast<size_t>(i - 1)] = crc32c(block_of(bytes, static_cast<size_t>(i - 1)));
    }
  });
  return sums;
}

void check_size(std::span<const std::byte> bytes, const FileSums& expected,
                const std::string& path) {
  require<FormatError>(
      bytes.size() == expected.size && expected.blocks.size() == block_count(expected.size),
      "checkpoint: {}: the file has {} bytes, expected {}", path, bytes.size(), expected.size);
}

void check_block(std::span<const std::byte> bytes, size_t block, const FileSums& expected,
                 const std::string& path) {
  const uint32_t found = crc32c(block_of(bytes, block));
  if (found == expected.blocks[block]) return;
  throw FormatError(describe({.what = "checkpoint",
                              .path = path,
                              .offset = static_cast<int64_t>(block * FileSums::kBlockBytes),
                              .reason = "this 4 MiB block is damaged",
                              .expected = fmt::format("CRC-32C {:08x}", expected.blocks[block]),
                              .found = fmt::format("{:08x}", found),
                              .hint = "an older checkpoint"}));
}

void check_sums(std::span<const std::byte> bytes, const FileSums& expected, const std::string& path,
                ThreadPool& pool) {
  check_size(bytes, expected, path);
  pool.parallel_for(static_cast<int64_t>(expected.blocks.size()),
                    [&](int64_t i) { check_block(bytes, static_cast<size_t>(i), expected, path); });
}

}  // namespace cria
