// Any bytes as a MindRecord shard; the rows of an accepted one are decoded too. The format puts
// pages at least 16 KiB into the file, where a fuzzer would hardly find them: the input is spread
// over such a file. Its first two bytes give the header's length, the rest after the header goes to
// the pages, a quarter of it to the second.
#include <algorithm>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "formats/mindrecord_codec.h"
#include "formats/mindrecord_shard.h"

namespace {

void open_and_read(std::span<const std::byte> bytes) {
  try {
    const std::string path = "fuzz.mindrecord";
    const cria::MindRecordShard shard(bytes, path);
    const cria::MindRecordCodec codec(shard.header().schema, shard.header().packed_integers);
    for (uint64_t row = 0; row < shard.rows(); ++row) {
      const auto blob = shard.blob(row), raw = shard.raw(row);
      (void)codec.decode(blob.content, raw.content, {path, blob.offset}, {path, raw.offset});
    }
  } catch (const cria::FormatError&) {
  }
}

std::vector<std::byte> spread(std::span<const std::byte> input) {
  constexpr size_t header_size = 16384, page_size = 32768;
  uint16_t wanted = 0;
  std::memcpy(&wanted, input.data(), 2);
  input = input.subspan(2);
  const uint64_t length = std::min<size_t>({wanted, input.size(), header_size - 8});
  const auto rest = input.subspan(length);
  const auto raw = rest.last(rest.size() / 4).first(std::min(rest.size() / 4, page_size));
  const auto blob = rest.first(std::min(rest.size() - rest.size() / 4, page_size));
  std::vector<std::byte> file(header_size + page_size + raw.size());
  std::memcpy(file.data(), &length, 8);
  std::copy_n(input.begin(), length, file.begin() + 8);
  std::copy(blob.begin(), blob.end(), file.begin() + header_size);
  std::copy(raw.begin(), raw.end(), file.begin() + header_size + page_size);
  return file;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  open_and_read(bytes);
  if (size >= 2) open_and_read(spread(bytes));
  return 0;
}
