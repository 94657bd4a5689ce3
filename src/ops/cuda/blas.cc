#include "ops/cuda/blas.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "ops/cuda/check.h"

namespace cria::cuda {
namespace {

// What NVIDIA's manual asks for on Hopper.
constexpr size_t kWorkspace = size_t{32} << 20;

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

Blas::Blas() {
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

void Blas::choose_algorithm(const Key& key, Plan& plan) {
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
  cublasLtMatmulHeuristicResult_t result{};
  int found = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle_, plan.product, plan.a, plan.b, plan.d, plan.d, preference, 1, &result, &found);
  cublasLtMatmulPreferenceDestroy(preference);
  const std::string what = fmt::format("a product of {} x {} x {} in {} into {}", key.m, key.n,
                                       key.k, name_of(key.in), name_of(key.out));
  blas_check(status, what.c_str());
  if (found < 1 || result.state != CUBLAS_STATUS_SUCCESS)
    throw Error(ExitCode::bug, fmt::format("cublas: no algorithm for {}", what));
  plan.algorithm = result.algo;
}

const Blas::Plan& Blas::plan_for(const Key& key) {
  const auto [at, is_new] = plans_.try_emplace(key);
  Plan& plan = at->second;
  if (!is_new) return plan;
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
  try {
    blas_check(cublasLtMatmulDescCreate(&plan.product, CUBLAS_COMPUTE_32F, CUDA_R_32F),
               "cublasLtMatmulDescCreate");
    transpose(CUBLASLT_MATMUL_DESC_TRANSA, key.transpose_a);
    transpose(CUBLASLT_MATMUL_DESC_TRANSB, key.transpose_b);
    const bool ta = key.transpose_a, tb = key.transpose_b;
    layout(plan.a, key.in, ta ? key.k : key.m, ta ? key.m : key.k, key.lda);
    layout(plan.b, key.in, tb ? key.n : key.k, tb ? key.k : key.n, key.ldb);
    layout(plan.d, key.out, key.m, key.n, key.ldd);
    choose_algorithm(key, plan);
  } catch (...) {
    plans_.erase(at);
    throw;
  }
  return plan;
}

void Blas::run(Stream& stream, const Product& p) {
  const Plan& plan =
      plan_for({p.transpose_a, p.transpose_b, p.add, p.in, p.out, p.m, p.n, p.k, p.lda, p.ldb,
                p.ldd, alignment_of(p.a), alignment_of(p.b), alignment_of(p.d)});
  const float one = 1, old = p.add ? 1 : 0;
  blas_check(
      cublasLtMatmul(handle_, plan.product, &one, p.a, plan.a, p.b, plan.b, &old, p.d, plan.d, p.d,
                     plan.d, &plan.algorithm, workspace_, kWorkspace, stream.handle()),
      "cublasLtMatmul");
}

}  // namespace cria::cuda
