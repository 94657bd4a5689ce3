#include "checkpoint/manifest.h"

#include <immintrin.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "base/thread_pool.h"

namespace cria {
namespace {

constexpr std::string_view kFormat = "cria training checkpoint";
constexpr int kVersion = 1;
// The sum stands first, so that it covers the exact bytes of everything behind it.
constexpr std::string_view kOpen = "{\"sum\":\"";
constexpr std::string_view kMiddle = "\",\"manifest\":";
constexpr std::string_view kClose = "}\n";
constexpr size_t kHexDigits = 64;

FormatError broken(const std::string& path, std::string reason) {
  return FormatError(describe({.what = "checkpoint", .path = path, .reason = std::move(reason)}));
}

std::span<const std::byte> block(std::span<const std::byte> bytes, size_t index) {
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
      sums.blocks[static_cast<size_t>(i - 1)] = crc32c(block(bytes, static_cast<size_t>(i - 1)));
    }
  });
  return sums;
}

void check_sums(std::span<const std::byte> bytes, const FileSums& expected, const std::string& path,
                ThreadPool& pool) {
  require<FormatError>(
      bytes.size() == expected.size && expected.blocks.size() == block_count(expected.size),
      "checkpoint: {}: the file has {} bytes, expected {}", path, bytes.size(), expected.size);
  pool.parallel_for(static_cast<int64_t>(expected.blocks.size()), [&](int64_t i) {
    const uint32_t found = crc32c(block(bytes, static_cast<size_t>(i)));
    if (found == expected.blocks[static_cast<size_t>(i)]) return;
    throw FormatError(describe(
        {.what = "checkpoint",
         .path = path,
         .offset = i * static_cast<int64_t>(FileSums::kBlockBytes),
         .reason = "this 4 MiB block is damaged",
         .expected = fmt::format("CRC-32C {:08x}", expected.blocks[static_cast<size_t>(i)]),
         .found = fmt::format("{:08x}", found),
         .hint = "an older checkpoint"}));
  });
}

std::string manifest_text(const Manifest& m) {
  Json json = Json::object();
  json["format"] = kFormat;
  json["version"] = kVersion;
  json["step"] = m.step;
  json["config_sha256"] = m.config_sha256;
  json["topology"] = {{"dp", 1}, {"tp", 1}, {"pp", 1}};
  json["groups"] = Json(m.groups);
  json["block_bytes"] = FileSums::kBlockBytes;
  Json files = Json::object();
  for (const auto& [name, sums] : m.files)
    files[name] = {{"size", sums.size}, {"sha256", sums.sha256}, {"crc32c", sums.blocks}};
  json["files"] = std::move(files);
  json["state"] = Json::parse(m.state_json);
  const std::string body = json.dump();
  const std::string sum = sha256_hex(std::as_bytes(std::span(body)));
  return fmt::format("{}{}{}{}{}", kOpen, sum, kMiddle, body, kClose);
}

Manifest parse_manifest(std::string_view text, const std::string& path) {
  const size_t head = kOpen.size() + kHexDigits + kMiddle.size();
  if (text.size() < head + kClose.size() || !text.starts_with(kOpen) || !text.ends_with(kClose) ||
      text.substr(kOpen.size() + kHexDigits, kMiddle.size()) != kMiddle) {
    throw broken(path, "not a whole manifest");
  }
  const std::string_view body = text.substr(head, text.size() - head - kClose.size());
  if (sha256_hex(std::as_bytes(std::span(body))) != text.substr(kOpen.size(), kHexDigits))
    throw broken(path, "the manifest's own sum is wrong");
  const Json json = parse_json(body, "checkpoint", path, static_cast<int64_t>(head));
  Manifest m;
  try {
    if (json.at("format").get<std::string>() != kFormat ||
        json.at("version").get<int>() != kVersion)
      throw broken(path, fmt::format("not version {} of our format", kVersion));
    m.step = json.at("step").get<int64_t>();
    m.config_sha256 = json.at("config_sha256").get<std::string>();
    if (json.at("block_bytes").get<uint64_t>() != FileSums::kBlockBytes)
      throw broken(path, "unknown size of blocks");
    for (const auto& [group, file] : json.at("groups").items())
      m.groups[group] = file.get<std::string>();
    for (const auto& [name, sums] : json.at("files").items()) {
      if (!is_plain_name(name))
        throw broken(path, fmt::format("\"{}\" is not a plain file name", escaped(name)));
      m.files[name] = {sums.at("size").get<uint64_t>(), sums.at("sha256").get<std::string>(),
                       sums.at("crc32c").get<std::vector<uint32_t>>()};
    }
    m.state_json = json.at("state").dump();
  } catch (const nlohmann::json::exception& e) {
    throw broken(path, escaped(e.what(), 120));
  }
  for (const auto& [group, file] : m.groups) {
    if (!m.files.contains(file))
      throw broken(path,
                   fmt::format("group \"{}\" names a file that is not listed", escaped(group)));
  }
  return m;
}

}  // namespace cria
