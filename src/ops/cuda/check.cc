#include "ops/cuda/check.h"

#include "base/error.h"

namespace cria::cuda {

void cuda_check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  const bool memory = status == cudaErrorMemoryAllocation;
  throw Error(memory ? ExitCode::memory : ExitCode::bug,
              fmt::format("cuda: {}: {}", call, escaped(cudaGetErrorString(status), 200)));
}

void blas_check(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error(ExitCode::bug,
              fmt::format("cublas: {}: {}", call, escaped(cublasLtGetStatusString(status), 200)));
}

void promise(bool kept, const char* what) { check(kept, what); }

}  // namespace cria::cuda
