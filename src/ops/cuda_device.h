// Where the program gets its GPU from: libcria_cuda.so beside it, loaded when a GPU is asked for, so that the program starts and
// runs where CUDA is not installed (docs/decisions/0017).
#pragma once

#include <memory>

#include "ops/device.h"

namespace cria::ops {

/// Device `number` as CUDA counts them. Throws UsageError that says what is missing: the library (a build without CUDA), the
/// driver, or the device. CRIA_CUDA_LIBRARY names the library in another place.
std::unique_ptr<Device> open_cuda_device(int number);

/// How many of them there are. Throws as open_cuda_device().
int cuda_devices();

/// What the library offers. It comes from the same build: the classes in Device's functions are the same on both sides.
struct CudaLibrary {
  int version;  // kCudaLibraryVersion
  std::unique_ptr<Device> (*open)(int number);
  int (*devices)();
};
constexpr int kCudaLibraryVersion = 7;
/// Its only symbol: const CudaLibrary* cria_cuda_library().
constexpr const char* kCudaLibrarySymbol = "cria_cuda_library";

}  // namespace cria::ops
