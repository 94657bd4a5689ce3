// GGUF, the file of llama.cpp: typed key/values, then named tensors, often in blocks of few bits.
// Layout and limits: docs/formats/gguf.md.
#pragma once

#include <memory>
#include <variant>

#include "base/file.h"
#include "formats/tensor_file.h"

namespace cria {

/// Value types as numbered in the file.
enum class GgufType : uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64,
};
/// "u32", "string", "array".
std::string_view name_of(GgufType type);

/// A key and where its value lies. The bytes are checked (lengths, strings, booleans) and stay in
/// the file; the getters of GgufReader decode them.
struct GgufEntry {
  std::string_view key;
  GgufType type = GgufType::u32;  // what the elements are, for an array
  bool is_array = false;
  uint64_t count = 1;                // elements of an array
  std::span<const std::byte> bytes;  // elements side by side; strings with their u64 lengths
};

/// Reads GGUF versions 2 and 3, little-endian. Everything is validated in the constructor.
///
/// Getters answer nothing when the key is absent and throw FormatError, naming key and type, when
/// it has another type: `uint` takes unsigned integers, `ints` arrays of any integer type, `number`
/// and `floats` f32 or f64. Nothing is converted between kinds. Views live as long as the reader.
class GgufReader : public TensorReader {
 public:
  /// Throws IoError or FormatError.
  static std::unique_ptr<GgufReader> open(const std::string& path);
  /// A whole file in memory, borrowed; `path` for messages.
  GgufReader(std::span<const std::byte> bytes, std::string path);

  /// In file order.
  [[nodiscard]] const std::vector<GgufEntry>& entries() const { return entries_; }
  [[nodiscard]] const GgufEntry* entry(std::string_view key) const;
  [[nodiscard]] std::optional<uint64_t> uint(std::string_view key) const;
  [[nodiscard]] std::optional<double> number(std::string_view key) const;
  [[nodiscard]] std::optional<bool> flag(std::string_view key) const;
  [[nodiscard]] std::optional<std::string_view> text(std::string_view key) const;
  /// One pass over the array, no copies of the strings.
  [[nodiscard]] std::optional<std::vector<std::string_view>> strings(std::string_view key) const;
  [[nodiscard]] std::optional<std::vector<float>> floats(std::string_view key) const;
  [[nodiscard]] std::optional<std::vector<int64_t>> ints(std::string_view key) const;
  [[nodiscard]] const std::string& path() const { return path_; }
  /// A file may hold weights alone: no "tokenizer.ggml.model", or "none" or "no_vocab" in it.
  [[nodiscard]] bool has_vocabulary() const;

  void read(size_t index, uint64_t offset, std::span<std::byte> out) const override;
  [[nodiscard]] std::span<const std::byte> mapped(size_t index) const override;
  [[nodiscard]] std::string path_of(size_t /*index*/) const override { return path_; }

 private:
  GgufReader(std::unique_ptr<MappedFile> file, std::span<const std::byte> bytes, std::string path);
  /// The entry of that key if it has one of the types; throws on another type.
  [[nodiscard]] const GgufEntry* typed(std::string_view key, bool array,
                                       std::initializer_list<GgufType> types) const;
  void check_known_keys() const;

  std::unique_ptr<MappedFile> file_;
  std::span<const std::byte> bytes_;
  std::string path_;
  std::vector<GgufEntry> entries_;
  std::map<std::string_view, size_t> keys_;
  std::vector<uint64_t> offsets_;  // of tensor contents, from the start of the file
};

/// A value to write; the C++ type decides the type in the file.
using GgufValue = std::variant<uint32_t, int32_t, float, bool, std::string, uint64_t, int64_t,
                               double, std::vector<int32_t>, std::vector<uint32_t>,
                               std::vector<float>, std::vector<std::string>>;
/// Written in this order; keys must be unique and not empty.
using GgufMetadata = std::vector<std::pair<std::string, GgufValue>>;

/// Writes version 3. `general.alignment` is added when `alignment` is not 32. Throws UsageError
/// when the metadata or tensors break the format's rules (names over 63 bytes, more than 4 dims, a
/// key twice) and IoError.
std::unique_ptr<TensorWriter> make_gguf_writer(const std::string& path,
                                               const GgufMetadata& metadata,
                                               std::vector<TensorInfo> infos,
                                               uint64_t alignment = 32);

}  // namespace cria
