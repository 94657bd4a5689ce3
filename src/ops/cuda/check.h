// Every call of the CUDA runtime and of cuBLASLt goes through one of these. The messages are made in check.cc: nvcc cannot
// compile fmt, so no header that a kernel includes may include base/error.h.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

namespace cria::cuda {

/// Throws Error(memory) for cudaErrorMemoryAllocation and else Error(bug), e.g. "cuda: cudaMalloc: out of memory".
void cuda_check(cudaError_t status, const char* call);
void blas_check(cublasStatus_t status, const char* call);
/// A promise of the program to itself, as check() of base/error.h.
void promise(bool kept, const char* what);

}  // namespace cria::cuda
