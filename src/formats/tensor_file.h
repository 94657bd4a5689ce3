// What every file of named tensors looks like from outside, whatever its format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"

namespace cria {

/// One tensor as its file names and shapes it (outermost dim first; GGUF's reversed dims are turned
/// round).
struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;

  [[nodiscard]] int64_t elements() const;
  [[nodiscard]] int64_t size_bytes() const { return bytes_of(dtype, elements()); }
  bool operator==(const TensorInfo&) const = default;
};

/// A file, or a set of files that belong together, opened for reading. The whole structure is
/// validated when the object is made; contents are read (or mapped) on demand. Thread-safe for
/// reading.
class TensorReader {
 public:
  virtual ~TensorReader() = default;
  /// In file order. Names are unique.
  [[nodiscard]] const std::vector<TensorInfo>& tensors() const { return tensors_; }
  [[nodiscard]] std::optional<size_t> find(std::string_view name) const;
  /// Copies out.size() bytes of tensor `index` from byte `offset` of its contents (elements in C
  /// order, little-endian). Throws FormatError or IoError.
  virtual void read(size_t index, uint64_t offset, std::span<std::byte> out) const = 0;
  /// All of the tensor's bytes where they lie contiguous in a mapping, else empty.
  [[nodiscard]] virtual std::span<const std::byte> mapped(size_t /*index*/) const { return {}; }
  /// For messages: the path the user gave, and the file a tensor is in.
  [[nodiscard]] virtual std::string path_of(size_t index) const = 0;

 protected:
  /// Takes the list and builds the name index; throws FormatError naming a duplicate.
  void set_tensors(std::vector<TensorInfo> tensors, const std::string& path);

 private:
  std::vector<TensorInfo> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
};

/// Writes tensors one after another: the list is known first, then the contents come in the same
/// order, in pieces of any size. Nothing is visible under the final name before commit().
class TensorWriter {
 public:
  virtual ~TensorWriter() = default;
  /// The next bytes of the current tensor; a full tensor makes the next one current.
  virtual void write(std::span<const std::byte> bytes) = 0;
  /// Throws std::logic_error when tensors are incomplete.
  virtual void commit() = 0;
};

/// Checks a tensor's name and shape by docs/formats/README.md: UTF-8 of 1-512 bytes without control
/// characters, at most 8 dims, sizes that multiply without overflow. `path` for the message.
void validate_tensor(const TensorInfo& tensor, std::string_view format, std::string_view path);

}  // namespace cria
