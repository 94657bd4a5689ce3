// PyTorch's `.bin` and `.pth`: a zip with one pickled state dict and its storages.
// Layout and limits: docs/formats/pytorch.md.
#pragma once

#include <memory>

#include "base/file.h"
#include "formats/pickle.h"
#include "formats/tensor_file.h"
#include "formats/zip.h"

namespace cria {

/// A flat state dict, text -> tensor, as torch.save writes it since PyTorch 1.6. Strided views are
/// read in C order; contiguous ones are mapped. A storage's CRC-32 is verified when it is first
/// read.
class TorchReader : public TensorReader {
 public:
  /// A whole file in memory, borrowed; `path` for messages. Throws FormatError.
  TorchReader(std::span<const std::byte> bytes, const std::string& path, bool verify_sums = true);

  /// Keys of the dict whose values are no tensors (step counts and the like), in file order.
  [[nodiscard]] const std::vector<std::string>& ignored() const { return ignored_; }

  void read(size_t index, uint64_t offset, std::span<std::byte> out) const override;
  [[nodiscard]] std::span<const std::byte> mapped(size_t index) const override;
  [[nodiscard]] std::string path_of(size_t /*index*/) const override { return zip_.path(); }

 private:
  friend std::unique_ptr<TorchReader> open_torch(const std::string& path, bool verify_sums);
  [[nodiscard]] std::span<const std::byte> storage_of(size_t index) const;
  void check_storages(const Pickle& pickle);
  std::vector<TensorInfo> collect(const Pickle& pickle);

  std::unique_ptr<MappedFile> file_;
  ZipReader zip_;
  std::vector<const ZipRecord*> storages_;
  std::vector<PickleTensor> windows_;  // one for each tensor
  std::vector<std::string> ignored_;
};

/// Throws IoError or FormatError; tar and other forms from before PyTorch 1.6 are refused with a
/// hint. `verify_sums` off is for writers that put no true CRC-32 sums into their zip.
std::unique_ptr<TorchReader> open_torch(const std::string& path, bool verify_sums = true);

/// Writes an OrderedDict of contiguous tensors that torch.load(weights_only=True) reads. Dtypes: the
/// floats, I8 to I64, U8, BOOL; else UsageError. Throws IoError.
std::unique_ptr<TensorWriter> make_torch_writer(const std::string& path,
                                                std::vector<TensorInfo> infos);

}  // namespace cria
