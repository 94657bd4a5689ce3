#include "formats/gguf.h"

#include <cstring>
#include <unordered_set>

#include "base/checked.h"
#include "base/error.h"
#include "formats/gguf_cursor.h"

namespace cria {
namespace {

constexpr uint64_t kMaxItems = 65'536;

void check_head(GgufCursor& in) {
  if (in.remaining() < 24)
    in.fail(in.position(), "too short for a GGUF", "24 bytes", in.remaining());
  if (in.text(4) != "GGUF") in.fail(0, "not a GGUF file", "magic \"GGUF\"", "");
  const auto version = in.number<uint32_t>();
  if (version == 0x02000000 || version == 0x03000000)
    in.fail(4, "the file is big-endian", "a little-endian GGUF", "");
  if (version != 2 && version != 3) in.fail(4, "unknown version", "2 or 3", version);
}

uint64_t item_count(GgufCursor& in, const char* what, uint64_t smallest) {
  const uint64_t at = in.position();
  const auto count = in.number<uint64_t>();
  const uint64_t most = std::min(kMaxItems, in.remaining() / smallest);
  if (count > most)
    in.fail(at, fmt::format("more {} than the file can hold", what),
            fmt::format("at most {}", most), count);
  return count;
}

GgufType value_type(GgufCursor& in) {
  const uint64_t at = in.position();
  const auto type = in.number<uint32_t>();
  if (type > static_cast<uint32_t>(GgufType::f64))
    in.fail(at, "unknown value type", "0 to 12", type);
  return static_cast<GgufType>(type);
}

// Walks over `count` elements and leaves the cursor behind them.
void skip_elements(GgufCursor& in, GgufType type, uint64_t count) {
  if (type == GgufType::string) {
    for (uint64_t i = 0; i < count; ++i) in.string(uint64_t{16} << 20);
    return;
  }
  const uint64_t at = in.position();
  const auto bytes = in.take(count * gguf_size_of(type));
  if (type != GgufType::boolean) return;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] > std::byte{1})
      in.fail(at + i, "not a boolean", "0 or 1", std::to_integer<int>(bytes[i]));
  }
}

GgufEntry read_entry(GgufCursor& in) {
  GgufEntry entry;
  const uint64_t at = in.position();
  entry.key = in.string(65'535);
  if (entry.key.empty()) in.fail(at, "empty key", "1 to 65535 bytes", "");
  entry.type = value_type(in);
  if (entry.type == GgufType::array) {
    entry.is_array = true;
    const uint64_t type_at = in.position();
    entry.type = value_type(in);
    if (entry.type == GgufType::array)
      in.fail(type_at, "array of arrays", "an array of values", "");
    const uint64_t count_at = in.position();
    entry.count = in.number<uint64_t>();
    const uint64_t most = in.remaining() / gguf_size_of(entry.type);
    if (entry.count > most)
      in.fail(count_at, fmt::format("array \"{}\" is longer than the file", escaped(entry.key)),
              fmt::format("at most {} elements", most), entry.count);
  }
  const uint64_t begin = in.position();
  skip_elements(in, entry.type, entry.count);
  entry.bytes = in.since(begin);
  return entry;
}

struct TensorHead {
  TensorInfo info;
  uint64_t offset = 0;
  uint64_t at = 0;
};

TensorHead read_tensor_head(GgufCursor& in) {
  TensorHead head;
  head.at = in.position();
  head.info.name = in.string(63);
  if (head.info.name.empty()) in.fail(head.at, "tensor without a name", "1 to 63 bytes", "");
  const auto rank = in.number<uint32_t>();
  if (rank > 4) in.fail(head.at, "too many dims", "at most 4", rank);
  head.info.shape.resize(rank);
  for (size_t i = rank; i-- > 0;) {  // the file has the innermost dim first
    const uint64_t at = in.position();
    const auto dim = in.number<uint64_t>();
    if (dim == 0 || dim > (uint64_t{1} << 62))
      in.fail(at, fmt::format("bad dim of tensor \"{}\"", escaped(head.info.name)), "1 to 2^62",
              dim);
    head.info.shape[i] = static_cast<int64_t>(dim);
  }
  const uint64_t type_at = in.position();
  const auto type = in.number<uint32_t>();
  const auto dtype = gguf_dtype(type);
  if (!dtype)
    in.fail(type_at,
            fmt::format("tensor \"{}\" has a type we cannot read", escaped(head.info.name)),
            "F32, F16, BF16, F64, integers, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K or Q6_K",
            fmt::format("type {}", type));
  head.info.dtype = *dtype;
  head.offset = in.number<uint64_t>();
  return head;
}

// Tensors lie one after another in the order of their heads, each start rounded up.
std::vector<uint64_t> place_tensors(const GgufCursor& in, const std::vector<TensorHead>& heads,
                                    uint64_t alignment) {
  const auto data = checked_round_up(in.position(), alignment);
  std::vector<uint64_t> offsets;
  uint64_t end = 0;  // of the last tensor, from the start of the data
  for (const TensorHead& head : heads) {
    validate_tensor(head.info, "read GGUF", in.path());
    const auto begin = checked_round_up(end, alignment);
    if (!begin || head.offset != *begin)
      in.fail(head.at, fmt::format("tensor \"{}\" is out of place", escaped(head.info.name)),
              fmt::format("offset {}", begin.value_or(0)), head.offset);
    const auto stop = checked_add(*begin, static_cast<uint64_t>(head.info.size_bytes()));
    const auto absolute = stop ? checked_add(*data, *stop) : std::nullopt;
    if (!absolute || *absolute > in.size())
      in.fail(head.at,
              fmt::format("tensor \"{}\" ends behind the end of the file", escaped(head.info.name)),
              fmt::format("{} bytes", absolute.value_or(UINT64_MAX)), in.size());
    offsets.push_back(*data + *begin);
    end = *stop;
  }
  const uint64_t stop = heads.empty() ? in.position() : *data + end;
  if (in.size() - stop >= alignment)
    in.fail(stop, "bytes behind the last tensor", fmt::format("fewer than {}", alignment),
            in.size() - stop);
  return offsets;
}

}  // namespace

std::unique_ptr<GgufReader> GgufReader::open(const std::string& path) {
  auto file = std::make_unique<MappedFile>(path);
  const auto bytes = file->bytes();
  return std::unique_ptr<GgufReader>(new GgufReader(std::move(file), bytes, path));
}

GgufReader::GgufReader(std::span<const std::byte> bytes, std::string path)
    : GgufReader(nullptr, bytes, std::move(path)) {}

GgufReader::GgufReader(std::unique_ptr<MappedFile> file, std::span<const std::byte> bytes,
                       std::string path)
    : file_(std::move(file)), bytes_(bytes), path_(std::move(path)) {
  GgufCursor in(bytes_, path_);
  check_head(in);
  const uint64_t tensor_count = item_count(in, "tensors", 24);
  const uint64_t entry_count = item_count(in, "keys", 13);
  for (uint64_t i = 0; i < entry_count; ++i) {
    const uint64_t at = in.position();
    entries_.push_back(read_entry(in));
    if (!keys_.emplace(entries_.back().key, i).second)
      in.fail(at, fmt::format("key \"{}\" appears twice", escaped(entries_.back().key)), "", "");
  }
  uint64_t alignment = 32;
  if (const auto* e = typed("general.alignment", false, {GgufType::u32})) {
    alignment = *uint("general.alignment");
    if (alignment < 8 || alignment > (1 << 20) || (alignment & (alignment - 1)) != 0)
      in.fail(static_cast<uint64_t>(e->bytes.data() - bytes_.data()), "bad general.alignment",
              "a power of two from 8 to 1048576", alignment);
  }
  check_known_keys();

  std::vector<TensorHead> heads;
  for (uint64_t i = 0; i < tensor_count; ++i) heads.push_back(read_tensor_head(in));
  offsets_ = place_tensors(in, heads, alignment);
  std::vector<TensorInfo> infos;
  for (TensorHead& head : heads) infos.push_back(std::move(head.info));
  set_tensors(std::move(infos), path_);
}

void GgufReader::read(size_t index, uint64_t offset, std::span<std::byte> out) const {
  const auto bytes = mapped(index);
  check(offset <= bytes.size() && out.size() <= bytes.size() - offset, "reads stay in the tensor");
  if (!out.empty()) std::memcpy(out.data(), bytes.data() + offset, out.size());
}

std::span<const std::byte> GgufReader::mapped(size_t index) const {
  return bytes_.subspan(offsets_.at(index), static_cast<size_t>(tensors()[index].size_bytes()));
}

}  // namespace cria
