// Protobuf's wire format, as far as MindSpore's files use it: fields of varints and byte strings,
// read in place and without a size limit on the whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cria {

struct WireField {
  uint32_t number = 0;
  enum class Kind { varint, fixed64, bytes, fixed32 } kind = Kind::varint;
  uint64_t value = 0;                // of all kinds but bytes
  std::span<const std::byte> bytes;  // of kind bytes
  uint64_t offset = 0;               // in the file: where the field's content begins
};

/// Reads a message field by field. Throws FormatError for anything that is not sound: varints over
/// 10 bytes or longer than needed, groups, field number 0, byte strings of 2^31 bytes or more or
/// beyond the end.
class WireReader {
 public:
  /// `offset` is where `message` begins in the file, for messages; `path` must outlive the reader.
  WireReader(std::span<const std::byte> message, uint64_t offset, std::string_view what,
             const std::string& path)
      : message_(message), base_(offset), what_(what), path_(&path) {}
  /// A reader of a field of kind bytes that is itself a message.
  WireReader(const WireField& field, const WireReader& outer)
      : WireReader(field.bytes, field.offset, outer.what_, *outer.path_) {}

  std::optional<WireField> next();
  /// For a field of kind bytes that holds packed varints: the next one.
  std::optional<uint64_t> next_varint();
  /// Throws a FormatError with the given reason at `offset`.
  [[noreturn]] void fail(uint64_t offset, std::string reason, std::string expected = {},
                         std::string found = {}) const;

 private:
  uint64_t varint();
  template <class T>
  uint64_t fixed();

  std::span<const std::byte> message_;
  uint64_t base_;
  std::string_view what_;
  const std::string* path_;
  size_t at_ = 0;
};

void append_varint(std::vector<std::byte>& out, uint64_t value);
void append_varint_field(std::vector<std::byte>& out, uint32_t number, uint64_t value);
/// Tag and length only: the `size` bytes follow.
void append_bytes_header(std::vector<std::byte>& out, uint32_t number, uint64_t size);
void append_text_field(std::vector<std::byte>& out, uint32_t number, std::string_view text);

}  // namespace cria
