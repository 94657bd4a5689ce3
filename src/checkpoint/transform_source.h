// The checkpoints that a transform starts from: every rank's file opened, and for each parameter
// which file holds which part of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/part_reader.h"
#include "checkpoint/strategy.h"
#include "formats/mindspore_ckpt.h"

namespace cria {

/// The .ckpt of every rank. `path` is a folder of rank_N folders, or for one rank also a .ckpt file or its folder. A rank folder's
/// last .ckpt in lexical order counts, as for MindSpore. Throws IoError, and MismatchError when ranks are missing or left over.
std::vector<std::string> files_to_transform(const std::string& path, int64_t ranks);

/// Tensors are in file order of the ranks, stage by stage; those in the strategy are listed. Scalars are the files' texts.
class TransformSource : public PartReader {
 public:
  struct Piece {
    size_t rank = 0;
    size_t index = 0;  // of the tensor in its rank's file
    Part part;         // of the whole tensor
  };

  /// When files are compared with the sums beside them.
  enum class Verify { at_once, on_first_use };

  /// Of each rank its file. `strategy` outlives the object. The structure is checked here: throws IoError, FormatError, and
  /// MismatchError when files do not fit the strategy.
  TransformSource(const std::vector<std::string>& paths, const Strategy& strategy, Verify verify);

  void read(size_t index, const Part& part, std::span<std::byte> out) const override;
  /// The tensor's bytes where they lie in one piece of one file, else empty.
  [[nodiscard]] std::span<const std::byte> mapped(size_t index) const;

 private:
  struct File {
    std::string path;
    std::unique_ptr<MindsporeReader> reader;
    // Not a once_flag: what throws inside one hangs under ThreadSanitizer.
    mutable std::mutex mutex;
    mutable std::atomic<bool> verified = false;
  };
  static void compare_with_sums(const File& file);
  /// The rank's file, compared with its sums.
  [[nodiscard]] const MindsporeReader& verified(size_t rank) const;
  void add_tensor(const TensorInfo& first, size_t rank);
  std::vector<Piece> gather_pieces(TensorInfo& info, uint32_t stage,
                                   const ParamLayout& layout) const;

  const Strategy& strategy_;
  std::vector<std::unique_ptr<File>> files_;  // by rank
  /// By tensor: together the whole, none twice.
  std::vector<std::vector<Piece>> pieces_;
};

}  // namespace cria
