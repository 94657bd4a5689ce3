// Matrix products by cuBLASLt. It thinks in columns: a matrix of ours, rows side by side, is the transpose of what it sees.
#pragma once

#include <cublasLt.h>

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "ops/cuda/algorithms.h"
#include "ops/cuda/stream.h"
#include "tensor/dtype.h"

namespace cria::cuda {

/// d = op(a) op(b), or d += with `add`; all stored column after column. op(a) is [m, k], op(b) [k, n], d [m, n].
struct Product {
  bool transpose_a, transpose_b;
  DType in, out;  // of a and b: f32, f16 or bf16; of d: the same, or f32
  int64_t m, n, k;
  int64_t lda, ldb, ldd;  // elements between two columns
  bool add;
  const void *a, *b;
  void* d;
};

class Blas {
 public:
  /// With `measured`, large products run by what is fastest of some algorithms, else by the library's first choice.
  explicit Blas(std::unique_ptr<Algorithms> measured = nullptr);
  ~Blas();
  Blas(const Blas&) = delete;
  Blas& operator=(const Blas&) = delete;

  /// Sums in f32; d is rounded once. An algorithm is chosen when a shape is first seen, for addresses aligned as these are, and
  /// kept to: the same shape gives the same bits. Sums that are cut over blocks (split-K) are added in f32 in
  /// a fixed order; other ways of cutting them are not allowed.
  void run(Stream& stream, const Product& product);
  /// Shapes seen.
  [[nodiscard]] int64_t plans() const { return static_cast<int64_t>(plans_.size()); }

 private:
  // What NVIDIA's manual asks for on Hopper.
  static constexpr size_t kWorkspace = size_t{32} << 20;

  struct Key {
    bool transpose_a, transpose_b, add;
    DType in, out;
    int64_t m, n, k, lda, ldb, ldd;
    uint32_t align_a, align_b, align_d;
    auto operator<=>(const Key&) const = default;
  };
  struct Plan {
    Plan() = default;
    ~Plan();
    Plan(const Plan&) = delete;
    Plan& operator=(const Plan&) = delete;

    cublasLtMatmulDesc_t product = nullptr;
    cublasLtMatrixLayout_t a = nullptr, b = nullptr, d = nullptr;
    cublasLtMatmulAlgo_t algorithm{};
  };
  static Key key_of(const Product& product);
  const Plan& plan_for(Stream& stream, const Product& product);
  static void describe(const Key& key, Plan& plan);
  /// The library's, its first choice first; at least one.
  std::vector<cublasLtMatmulAlgo_t> candidates(const Key& key, const Plan& plan, int most);
  cublasLtMatmulAlgo_t choose(Stream& stream, const Product& product, const Plan& plan);
  cublasLtMatmulAlgo_t known(const cublasLtMatmulAlgo_t& stored, const Plan& plan);
  size_t fastest(Stream& stream, const Product& product, const Plan& plan,
                 const std::vector<cublasLtMatmulAlgo_t>& algorithms);
  void multiply(Stream& stream, const Product& product, const Plan& plan,
                const cublasLtMatmulAlgo_t& algorithm);

  cublasLtHandle_t handle_ = nullptr;
  void* workspace_ = nullptr;
  std::map<Key, Plan> plans_;
  std::unique_ptr<Algorithms> measured_;
};

}  // namespace cria::cuda
