#include "ops/cuda/blas.h"

#include <string>
#include <utility>

#include "base/error.h"
#include "ops/cuda/check.h"

namespace cria::cuda {
namespace {

cudaDataType type_of(DType dtype) {
  switch (dtype) {
    case DType::bf16:
      return CUDA_R_16BF;
    case DType::f16:
      return CUDA_R_16F;
    default:
      return CUDA_R_32F;
  }
}

/// The largest power of two up to 256 that divides an address.
uint32_t alignment_of(const void* address) {
  const auto bits = reinterpret_cast<uintptr_t>(address);
  uint32_t alignment = 256;
  while (bits % alignment != 0) alignment /= 2;
  return alignment;
}

}  // namespace

Blas::Blas(std::unique_ptr<Algorithms> measured) : measured_(std::move(measured)) {
  blas_check(cublasLtCreate(&handle_), "cublasLtCreate");
  cuda_check(cudaMalloc(&workspace_, kWorkspace), "cudaMalloc");
}

Blas::Plan::~Plan() {
  if (product != nullptr) cublasLtMatmulDescDestroy(product);
  for (const cublasLtMatrixLayout_t layout : {a, b, d})
    if (layout != nullptr) cublasLtMatrixLayoutDestroy(layout);
}

Blas::~Blas() {
  plans_.clear();
  cudaFree(workspace_);
  cublasLtDestroy(handle_);
}

Blas::Key Blas::key_of(const Product& p) {
  return {p.transpose_a,
          p.transpose_b,
          p.add,
          p.in,
          p.out,
          p.m,
          p.n,
          p.k,
          p.lda,
          p.ldb,
          p.ldd,
          alignment_of(p.a),
          alignment_of(p.b),
          alignment_of(p.d)};
}

void Blas::describe(const Key& key, Plan& plan) {
  const auto layout = [](cublasLtMatrixLayout_t& to, DType dtype, int64_t rows, int64_t cols,
                         int64_t ld) {
    blas_check(cublasLtMatrixLayoutCreate(&to, type_of(dtype), static_cast<uint64_t>(rows),
                                          static_cast<uint64_t>(cols), ld),
               "cublasLtMatrixLayoutCreate");
  };
  const auto transpose = [&](cublasLtMatmulDescAttributes_t side, bool yes) {
    const int32_t op = yes ? CUBLAS_OP_T : CUBLAS_OP_N;
    blas_check(cublasLtMatmulDescSetAttribute(plan.product, side, &op, sizeof(op)),
               "cublasLtMatmulDescSetAttribute");
  };
  blas_check(cublasLtMatmulDescCreate(&plan.product, CUBLAS_COMPUTE_32F, CUDA_R_32F),
             "cublasLtMatmulDescCreate");
  transpose(CUBLASLT_MATMUL_DESC_TRANSA, key.transpose_a);
  transpose(CUBLASLT_MATMUL_DESC_TRANSB, key.transpose_b);
  const bool ta = key.transpose_a, tb = key.transpose_b;
  layout(plan.a, key.in, ta ? key.k : key.m, ta ? key.m : key.k, key.lda);
  layout(plan.b, key.in, tb ? key.n : key.k, tb ? key.k : key.n, key.ldb);
  layout(plan.d, key.out, key.m, key.n, key.ldd);
}

std::vector<cublasLtMatmulAlgo_t> Blas::candidates(const Key& key, const Plan& plan, int most) {
  cublasLtMatmulPreference_t preference = nullptr;
  blas_check(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t what, const auto& value) {
    blas_check(cublasLtMatmulPreferenceSetAttribute(preference, what, &value, sizeof(value)),
               "cublasLtMatmulPreferenceSetAttribute");
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kWorkspace});
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
         uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  // Without these the library takes addresses to be aligned to 256 bytes.
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key.align_a);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.align_b);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.align_d);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.align_d);
  std::vector<cublasLtMatmulHeuristicResult_t> results(static_cast<size_t>(most));
  int found = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle_, plan.product, plan.a, plan.b, plan.d, plan.d,
                                     preference, most, results.data(), &found);
  cublasLtMatmulPreferenceDestroy(preference);
  const std::string what = fmt::format("a product of {} x {} x {} in {} into {}", key.m, key.n,
                                       key.k, name_of(key.in), name_of(key.out));
  blas_check(status, what.c_str());
  std::vector<cublasLtMatmulAlgo_t> algorithms;
  for (int i = 0; i < found; ++i) {
    const auto& result = results[static_cast<size_t>(i)];
    if (result.state == CUBLAS_STATUS_SUCCESS) algorithms.push_back(result.algo);
  }
  if (algorithms.empty())
    throw Error(ExitCode::bug, fmt::format("cublas: no algorithm for {}", what));
  return algorithms;
}

const Blas::Plan& Blas::plan_for(Stream& stream, const Product& p) {
  const auto [at, is_new] = plans_.try_emplace(key_of(p));
  Plan& plan = at->second;
  if (!is_new) return plan;
  try {
    describe(at->first, plan);
    plan.algorithm = choose(stream, p, plan);
  } catch (...) {
    plans_.erase(at);
    throw;
  }
  return plan;
}

void Blas::multiply(Stream& stream, const Product& p, const Plan& plan,
                    const cublasLtMatmulAlgo_t& algorithm) {
  const float one = 1, old = p.add ? 1 : 0;
  blas_check(
      cublasLtMatmul(handle_, plan.product, &one, p.a, plan.a, p.b, plan.b, &old, p.d, plan.d, p.d,
                     plan.d, &algorithm, workspace_, kWorkspace, stream.handle()),
      "cublasLtMatmul");
}

void Blas::run(Stream& stream, const Product& p) {
  const Plan& plan = plan_for(stream, p);
  multiply(stream, p, plan, plan.algorithm);
}

}  // namespace cria::cuda
