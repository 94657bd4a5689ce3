// Reading a GGUF byte by byte, never past the end. Shared by the sources of the reader.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/error.h"
#include "formats/gguf.h"

namespace cria {

/// Bytes of one value; for strings the smallest possible (its length).
uint64_t gguf_size_of(GgufType type);
/// Tensor types as numbered in the file, both ways.
std::optional<DType> gguf_dtype(uint32_t type);
std::optional<uint32_t> gguf_type_of(DType dtype);

/// Every step throws FormatError when the file ends before it is done.
class GgufCursor {
 public:
  GgufCursor(std::span<const std::byte> bytes, const std::string& path)
      : bytes_(bytes), path_(path) {}

  [[nodiscard]] uint64_t position() const { return position_; }
  [[nodiscard]] uint64_t size() const { return bytes_.size(); }
  [[nodiscard]] uint64_t remaining() const { return bytes_.size() - position_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  /// The bytes passed since position `begin`.
  [[nodiscard]] std::span<const std::byte> since(uint64_t begin) const {
    return bytes_.subspan(begin, position_ - begin);
  }

  std::span<const std::byte> take(uint64_t count) {
    if (count > remaining())
      fail(position_, "the file ends too early", fmt::format("{} more bytes", count), remaining());
    position_ += count;
    return bytes_.subspan(position_ - count, count);
  }
  std::string_view text(uint64_t count) { return text_of(take(count)); }
  template <class T>
  T number() {
    return load_le<T>(take(sizeof(T)), 0);
  }
  /// A u64 length and that many bytes.
  std::string_view string(uint64_t limit) {
    const uint64_t at = position_;
    const auto length = number<uint64_t>();
    if (length > limit) fail(at, "string too long", fmt::format("at most {} bytes", limit), length);
    return text(length);
  }

  [[noreturn]] void fail(uint64_t at, std::string reason, std::string expected,
                         std::string found) const {
    throw FormatError(describe({.what = "read GGUF",
                                .path = path_,
                                .offset = static_cast<int64_t>(at),
                                .reason = std::move(reason),
                                .expected = std::move(expected),
                                .found = std::move(found)}));
  }
  template <class T>
    requires std::is_arithmetic_v<T>
  [[noreturn]] void fail(uint64_t at, std::string reason, std::string expected, T found) const {
    fail(at, std::move(reason), std::move(expected), std::to_string(found));
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& path_;
  uint64_t position_ = 0;
};

}  // namespace cria
