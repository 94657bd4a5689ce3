// Never run: numbers that the real headers and those in include/ share, as both are compiled with this. That the functions have
// their types is seen by compiling fake_nccl.cc, which defines them, against both.
#include <cuda_runtime_api.h>
#include <nccl.h>

static_assert(cudaSuccess == 0 && cudaErrorInvalidValue == 1 && cudaErrorInsufficientDriver == 35 &&
              cudaErrorNoDevice == 100 && cudaErrorInvalidDevice == 101 &&
              cudaErrorNotReady == 600);
static_assert(cudaMemcpyHostToDevice == 1 && cudaMemcpyDeviceToHost == 2);
static_assert(cudaMemoryTypeUnregistered == 0 && cudaMemoryTypeHost == 1 &&
              cudaMemoryTypeDevice == 2 && cudaMemoryTypeManaged == 3);
static_assert(cudaStreamNonBlocking == 1 && cudaEventDisableTiming == 2);
static_assert(ncclSuccess == 0 && ncclUnhandledCudaError == 1 && ncclSystemError == 2 &&
              ncclInternalError == 3 && ncclInvalidArgument == 4 && ncclInvalidUsage == 5 &&
              ncclRemoteError == 6 && ncclInProgress == 7 && ncclInt8 == 0);
static_assert(sizeof(ncclUniqueId) == 128);
