// The folder of one training checkpoint, opened for reading any box of any tensor, whatever boxes were written.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "formats/tensor_file.h"
#include "tensor/tensor.h"

namespace cria {

class CheckpointFiles {
 public:
  /// Reads the manifest and checks that its boxes hold every tensor. Throws FormatError, IoError, MismatchError.
  explicit CheckpointFiles(std::string folder);
  ~CheckpointFiles();

  [[nodiscard]] const std::string& folder() const { return folder_; }
  [[nodiscard]] const Manifest& manifest() const { return manifest_; }
  /// Verifies every block of the files that hold no tensors.
  void verify_other_files() const;
  /// Verifies every block of every file.
  void verify_all(ThreadPool& pool) const;

  /// A box that is wanted, and where its rows go. dtype and size of `to` are the box's.
  struct Wanted {
    std::string name;  // as in the files, with the group's prefix
    const StoredTensor* tensor;
    Rect box;
    View to;
  };
  /// Copies all of them. The sum of a 4 MiB block is compared before a byte of it is used. Throws FormatError for damage.
  void read(const std::vector<Wanted>& wanted, ThreadPool& pool) const;
  /// Fills `out` with the elements of a box of a tensor, row by row. Thread-safe. Throws FormatError for damage.
  void read_box(const std::string& name, const StoredTensor& tensor, const Rect& box,
                std::span<std::byte> out) const;
  /// Bytes [offset, offset + out.size()) of a whole tensor, as one file would hold them. Thread-safe.
  void read_bytes(const std::string& name, const StoredTensor& tensor, uint64_t offset,
                  std::span<std::byte> out) const;

 private:
  class File;
  void expand_whole_groups();
  const File& file(const std::string& name) const;

  std::string folder_;
  Manifest manifest_;
  mutable std::mutex mutex_;  // of the list of opened files
  mutable std::map<std::string, std::unique_ptr<File>> opened_;
};

/// The weights of a training checkpoint as one file of whole tensors.
std::shared_ptr<const TensorReader> open_checkpoint_weights(const std::string& folder);

}  // namespace cria
