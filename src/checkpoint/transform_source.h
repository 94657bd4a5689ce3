// The checkpoints that a transform starts from: every rank's file opened, and for each parameter
// which file holds which part of it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/layout.h"
#include "checkpoint/strategy.h"
#include "formats/mindspore_ckpt.h"

namespace cria {

class TransformSource {
 public:
  struct Piece {
    const MindsporeReader* file = nullptr;
    size_t index = 0;  // of the tensor in its file
    Part part;         // of the whole tensor
  };
  struct Tensor {
    TensorInfo info;  // with the whole shape
    /// Together the whole tensor, none twice.
    std::vector<Piece> pieces;
    /// In the source's strategy. Others are whole.
    bool listed = false;
  };

  /// `path` is a folder of rank_N folders, or for one rank also a .ckpt file or its folder. A rank
  /// folder's last .ckpt in lexical order counts. Everything is checked here: throws IoError,
  /// FormatError, and MismatchError when ranks are missing or files do not fit the strategy.
  TransformSource(const std::string& path, const Strategy& strategy);

  /// In file order of the ranks, stage by stage.
  [[nodiscard]] const std::vector<Tensor>& tensors() const { return tensors_; }
  [[nodiscard]] const std::vector<MindsporeText>& texts() const { return texts_; }

  /// Fills `out` with the elements of box `part` of a tensor, in C order.
  static void read(const Tensor& tensor, const Part& part, std::span<std::byte> out);

 private:
  void open_files(const std::string& path);
  void add_tensor(const TensorInfo& first, size_t rank);
  void gather_pieces(Tensor& tensor, uint32_t stage, const ParamLayout& layout) const;

  const Strategy& strategy_;
  std::vector<std::unique_ptr<MindsporeReader>> files_;  // by rank
  std::vector<std::string> paths_;
  std::vector<Tensor> tensors_;
  std::vector<MindsporeText> texts_;
};

}  // namespace cria
