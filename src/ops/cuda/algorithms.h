// Which of cuBLASLt's algorithms were fastest on this device, kept in a file.
#pragma once

#include <cublasLt.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

namespace cria::cuda {

/// The library offers several algorithms for a product, the one that it takes for the best first. With a file, large products are
/// timed when they are first seen, and what was fastest is kept: different algorithms round differently, so only runs that read
/// the same file have the same bits. Several processes may use a file at once.
class Algorithms {
 public:
  /// Of the file that CRIA_CUDA_ALGORITHMS names; null without it.
  static std::unique_ptr<Algorithms> of_environment(int device);

  /// `path` need not exist yet. Throws FormatError on a file that is none of these, MismatchError on one of another version of the
  /// library or of another kind of device. Products of less than `smallest` multiplications are not timed.
  Algorithms(std::string path, int device, int64_t smallest = int64_t{1} << 34);

  [[nodiscard]] bool worth_timing(int64_t multiplications) const {
    return multiplications >= smallest_;
  }
  /// Null when it is not known. `product` names a shape with all that the choice depends on.
  [[nodiscard]] const cublasLtMatmulAlgo_t* find(const std::string& product) const;
  /// Into the file as well, beside what others have put there meanwhile. Throws IoError.
  void add(const std::string& product, const cublasLtMatmulAlgo_t& algorithm);
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  void read();

  std::string path_, made_for_;
  int64_t smallest_;
  std::map<std::string, cublasLtMatmulAlgo_t> known_;
};

}  // namespace cria::cuda
