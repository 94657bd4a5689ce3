#include "formats/wire.h"

#include "base/bytes.h"
#include "base/error.h"

namespace cria {

void WireReader::fail(uint64_t offset, std::string reason, std::string expected,
                      std::string found) const {
  throw FormatError(describe({.what = what_,
                              .path = *path_,
                              .offset = static_cast<int64_t>(offset),
                              .reason = std::move(reason),
                              .expected = std::move(expected),
                              .found = std::move(found)}));
}

uint64_t WireReader::varint() {
  const uint64_t start = base_ + at_;
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 70; shift += 7) {
    if (at_ == message_.size()) fail(start, "the message ends inside a number");
    const auto byte = std::to_integer<uint64_t>(message_[at_++]);
    if (shift == 63 && byte > 1) fail(start, "a number beyond 64 bits");
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) {
      if (byte == 0 && shift > 0) fail(start, "a number written longer than needed");
      return value;
    }
  }
  fail(start, "a number of more than 10 bytes");
}

template <class T>
uint64_t WireReader::fixed() {
  if (message_.size() - at_ < sizeof(T)) fail(base_ + at_, "the message ends inside a number");
  at_ += sizeof(T);
  return load_le<T>(message_, at_ - sizeof(T));
}

std::optional<uint64_t> WireReader::next_varint() {
  if (at_ == message_.size()) return std::nullopt;
  return varint();
}

std::optional<WireField> WireReader::next() {
  if (at_ == message_.size()) return std::nullopt;
  const uint64_t start = base_ + at_;
  const uint64_t tag = varint();
  if (tag > UINT32_MAX || tag >> 3 == 0)
    fail(start, "bad field tag", "a field number from 1 to 2^29-1", std::to_string(tag));
  WireField field{.number = static_cast<uint32_t>(tag >> 3)};
  switch (tag & 7) {
    case 0:
      field.offset = base_ + at_;
      field.value = varint();
      return field;
    case 1:
      field.kind = WireField::Kind::fixed64;
      field.offset = base_ + at_;
      field.value = fixed<uint64_t>();
      return field;
    case 5:
      field.kind = WireField::Kind::fixed32;
      field.offset = base_ + at_;
      field.value = fixed<uint32_t>();
      return field;
    case 2: {
      const uint64_t size = varint();
      if (size >= uint64_t{1} << 31 || size > message_.size() - at_)
        fail(start, fmt::format("field {} does not fit", field.number),
             fmt::format("at most {} bytes", message_.size() - at_), std::to_string(size));
      field.kind = WireField::Kind::bytes;
      field.offset = base_ + at_;
      field.bytes = message_.subspan(at_, size);
      at_ += size;
      return field;
    }
    default:
      fail(start, "unknown wire type", "0, 1, 2 or 5", std::to_string(tag & 7));
  }
}

void append_varint(std::vector<std::byte>& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<std::byte>(value | 0x80));
  out.push_back(static_cast<std::byte>(value));
}
void append_varint_field(std::vector<std::byte>& out, uint32_t number, uint64_t value) {
  append_varint(out, uint64_t{number} << 3);
  append_varint(out, value);
}
void append_bytes_header(std::vector<std::byte>& out, uint32_t number, uint64_t size) {
  append_varint(out, uint64_t{number} << 3 | 2);
  append_varint(out, size);
}
void append_text_field(std::vector<std::byte>& out, uint32_t number, std::string_view text) {
  append_bytes_header(out, number, text.size());
  append_bytes(out, raw_bytes(text));
}

}  // namespace cria
