// The symbol by which the program finds the device in libcria_cuda.so.
#include "ops/cuda/device.h"
#include "ops/cuda_device.h"

extern "C" __attribute__((visibility("default"))) const cria::ops::CudaLibrary*
cria_cuda_library() {
  static constexpr cria::ops::CudaLibrary library = {
      cria::ops::kCudaLibraryVersion, [](int number) { return cria::cuda::open_device(number); },
      [] { return cria::cuda::devices(); }};
  return &library;
}
