// Where a TensorWriter is: which tensor the next bytes belong to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "formats/tensor_file.h"

namespace cria {

class TensorStream {
 public:
  explicit TensorStream(std::vector<TensorInfo> infos);
  [[nodiscard]] const std::vector<TensorInfo>& infos() const { return infos_; }
  /// The tensor that the next byte belongs to, and how many of its bytes are there already.
  /// Tensors without bytes are stepped over.
  [[nodiscard]] size_t current() const { return current_; }
  [[nodiscard]] uint64_t done() const { return done_; }
  /// Takes from `bytes` what the current tensor still needs, at most `limit` bytes, cuts it off
  /// their front and returns it. More bytes than tensors is a bug.
  std::span<const std::byte> take(std::span<const std::byte>& bytes, uint64_t limit = UINT64_MAX);
  void check_complete() const;

 private:
  void skip_empty();
  std::vector<TensorInfo> infos_;
  size_t current_ = 0;
  uint64_t done_ = 0;
};

/// Throws UsageError when a tensor could not be read again: bad name, shape, or a name twice.
void check_writable(const std::vector<TensorInfo>& infos, std::string_view format,
                    std::string_view path);

}  // namespace cria
