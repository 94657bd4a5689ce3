// Whole tensors of which any box can be read, wherever its bytes lie: what a transform starts from.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "checkpoint/layout.h"
#include "formats/mindspore_ckpt.h"
#include "formats/tensor_file.h"

namespace cria {

class PartReader {
 public:
  struct Tensor {
    TensorInfo info;  // with the whole shape
    /// A parameter that the source knows how to cut. Others are whole, and belong to every rank.
    bool listed = false;
  };

  virtual ~PartReader() = default;
  /// In the order in which files hold them. Names are unique.
  [[nodiscard]] const std::vector<Tensor>& tensors() const { return tensors_; }
  /// What stands behind the tensors of every rank's file.
  [[nodiscard]] const std::vector<MindsporeScalar>& scalars() const { return scalars_; }
  /// Fills `out` with the elements of box `part` of tensor `index`, in C order. Thread-safe. Throws FormatError for damage.
  virtual void read(size_t index, const Part& part, std::span<std::byte> out) const = 0;

 protected:
  std::vector<Tensor> tensors_;
  std::vector<MindsporeScalar> scalars_;
};

/// Fills `out` with the elements of a box of one tensor.
using ReadPart = std::function<void(const Part& part, std::span<std::byte> out)>;
/// Writes box `part` of a tensor in slabs of rows, 4 MiB or one row where that is more, so that it is never whole in memory.
void copy_part(const ReadPart& read, DType dtype, const Part& part, TensorWriter& writer);

}  // namespace cria
