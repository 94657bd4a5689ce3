// The manifest of a training checkpoint: what it holds, and sums over every byte of it. docs/formats/checkpoint.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
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
/// Compares every block. Throws FormatError naming file, offset of the first bad block, expected and found sum.
void check_sums(std::span<const std::byte> bytes, const FileSums& expected, const std::string& path,
                ThreadPool& pool);

struct Manifest {
  int64_t step = 0;
  std::string config_sha256;                  // of config.json
  std::map<std::string, std::string> groups;  // group -> file that holds its tensors
  std::map<std::string, FileSums> files;
  std::string state_json = "{}";
};
/// The text carries a sum of itself.
std::string manifest_text(const Manifest& manifest);
/// Throws FormatError for anything but a whole manifest of a version we know.
Manifest parse_manifest(std::string_view text, const std::string& path);

}  // namespace cria
