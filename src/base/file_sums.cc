#include "base/file_sums.h"

#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/sha256.h"
#include "base/thread_pool.h"

namespace cria {
namespace {

// The sum stands first, so that it covers the exact bytes of everything behind it.
constexpr std::string_view kOpen = "{\"sum\":\"";
constexpr std::string_view kMiddle = "\",\"manifest\":";
constexpr std::string_view kClose = "}\n";
constexpr size_t kHexDigits = 64;

std::span<const std::byte> block(std::span<const std::byte> bytes, size_t index) {
  const uint64_t begin = index * FileSums::kBlockBytes;
  return bytes.subspan(begin, std::min<uint64_t>(FileSums::kBlockBytes, bytes.size() - begin));
}

uint64_t block_count(uint64_t size) {
  return size / FileSums::kBlockBytes + (size % FileSums::kBlockBytes == 0 ? 0 : 1);
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

void check_size(std::span<const std::byte> bytes, const FileSums& expected, const std::string& path,
                std::string_view what, std::string_view hint) {
  if (bytes.size() == expected.size && expected.blocks.size() == block_count(expected.size)) return;
  throw FormatError(describe({.what = what,
                              .path = path,
                              .reason = "the file has another size than its sums say",
                              .expected = fmt::format("{} bytes", expected.size),
                              .found = fmt::format("{}", bytes.size()),
                              .hint = std::string(hint)}));
}

void check_block(std::span<const std::byte> bytes, size_t index, const FileSums& expected,
                 const std::string& path, std::string_view what, std::string_view hint) {
  const uint32_t found = crc32c(block(bytes, index));
  if (found == expected.blocks[index]) return;
  throw FormatError(describe({.what = what,
                              .path = path,
                              .offset = static_cast<int64_t>(index * FileSums::kBlockBytes),
                              .reason = "this 4 MiB block is damaged",
                              .expected = fmt::format("CRC-32C {:08x}", expected.blocks[index]),
                              .found = fmt::format("{:08x}", found),
                              .hint = std::string(hint)}));
}

void check_sums(std::span<const std::byte> bytes, const FileSums& expected, const std::string& path,
                ThreadPool& pool, std::string_view what, std::string_view hint) {
  check_size(bytes, expected, path, what, hint);
  // The first bad block is named, whichever thread finds one first.
  std::vector<char> bad(expected.blocks.size());
  pool.parallel_for(static_cast<int64_t>(bad.size()), [&](int64_t i) {
    const auto b = static_cast<size_t>(i);
    bad[b] = crc32c(block(bytes, b)) == expected.blocks[b] ? 0 : 1;
  });
  const auto first = std::ranges::find(bad, 1);
  if (first != bad.end())
    check_block(bytes, static_cast<size_t>(first - bad.begin()), expected, path, what, hint);
}

Json sums_json(const FileSums& sums) {
  return {{"size", sums.size}, {"sha256", sums.sha256}, {"crc32c", sums.blocks}};
}

FileSums sums_from_json(const Json& json, std::string_view what, const std::string& path) {
  const auto member = [&](const char* key, Json::value_t type) -> const Json& {
    const auto found = json.find(key);
    if (found != json.end() && found->type() == type) return *found;
    throw FormatError(describe({.what = what,
                                .path = path,
                                .reason = fmt::format("`{}` of a file is missing or wrong", key)}));
  };
  FileSums sums;
  sums.size = member("size", Json::value_t::number_unsigned).get<uint64_t>();
  sums.sha256 = member("sha256", Json::value_t::string).get<std::string>();
  for (const Json& sum : member("crc32c", Json::value_t::array)) {
    // nlohmann itself would cut fractions, negative and too large numbers without a word.
    const bool good = sum.is_number_unsigned() && sum.get<uint64_t>() <= UINT32_MAX;
    require<FormatError>(good, "{}: {}: {} is no CRC-32C", what, path, escaped(sum.dump(), 40));
    sums.blocks.push_back(sum.get<uint32_t>());
  }
  return sums;
}

std::string with_own_sum(std::string_view body) {
  const std::string sum = sha256_hex(std::as_bytes(std::span(body)));
  return fmt::format("{}{}{}{}{}", kOpen, sum, kMiddle, body, kClose);
}

std::string_view check_own_sum(std::string_view text, std::string_view what,
                               const std::string& path) {
  const size_t head = kOpen.size() + kHexDigits + kMiddle.size();
  if (text.size() < head + kClose.size() || !text.starts_with(kOpen) || !text.ends_with(kClose) ||
      text.substr(kOpen.size() + kHexDigits, kMiddle.size()) != kMiddle) {
    throw FormatError(describe({.what = what, .path = path, .reason = "not a whole manifest"}));
  }
  const std::string_view body = text.substr(head, text.size() - head - kClose.size());
  if (sha256_hex(std::as_bytes(std::span(body))) != text.substr(kOpen.size(), kHexDigits)) {
    throw FormatError(
        describe({.what = what, .path = path, .reason = "the manifest's own sum is wrong"}));
  }
  return body;
}

}  // namespace cria
