// Never run: numbers that the real headers and those in include/ share, as both are compiled with this. That the functions have
// their types is seen by compiling fake_cuda.cc and fake_blas.cc, which define them, against both.
#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <cstddef>

static_assert(cudaSuccess == 0 && cudaErrorInvalidValue == 1 && cudaErrorMemoryAllocation == 2 &&
              cudaErrorNoDevice == 100);
static_assert(cudaMemcpyHostToDevice == 1 && cudaMemcpyDeviceToHost == 2 &&
              cudaMemcpyDeviceToDevice == 3);
static_assert(cudaDevAttrComputeCapabilityMajor == 75 && cudaDevAttrComputeCapabilityMinor == 76);
static_assert(cudaDevAttrClockRate == 13 && cudaDevAttrMultiProcessorCount == 16);
static_assert(cudaMemoryTypeUnregistered == 0 && cudaMemoryTypeDevice == 2);
static_assert(cudaStreamNonBlocking == 1 && cudaEventDisableTiming == 2);
static_assert(cudaFuncAttributeMaxDynamicSharedMemorySize == 8);
static_assert(offsetof(cudaKernelNodeParams, gridDim) == 8 &&
              offsetof(cudaKernelNodeParams, blockDim) == 20 &&
              offsetof(cudaKernelNodeParams, sharedMemBytes) == 32 &&
              offsetof(cudaKernelNodeParams, kernelParams) == 40 &&
              sizeof(cudaKernelNodeParams) == 56);
static_assert(CUBLAS_STATUS_SUCCESS == 0 && CUBLAS_STATUS_INVALID_VALUE == 7 &&
              CUBLAS_STATUS_NOT_SUPPORTED == 15);
static_assert(CUBLAS_OP_N == 0 && CUBLAS_OP_T == 1 && CUBLAS_COMPUTE_32F == 68);
static_assert(CUDA_R_32F == 0 && CUDA_R_16F == 2 && CUDA_R_16BF == 14);
static_assert(CUBLASLT_MATMUL_DESC_TRANSA == 3 && CUBLASLT_MATMUL_DESC_TRANSB == 4);
static_assert(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES == 1 &&
              CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK == 3 &&
              CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES == 5 &&
              CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES == 6 &&
              CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES == 7 &&
              CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES == 8);
static_assert(CUBLASLT_REDUCTION_SCHEME_NONE == 0 && CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE == 2);
static_assert(sizeof(cublasLtMatmulAlgo_t) == 64 && sizeof(cublasLtMatmulHeuristicResult_t) == 96);
