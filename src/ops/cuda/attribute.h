// What a device is.
#pragma once

#include "ops/cuda/check.h"

namespace cria::cuda {

inline int attribute_of(int device, cudaDeviceAttr which) {
  int value = 0;
  cuda_check(cudaDeviceGetAttribute(&value, which, device), "cudaDeviceGetAttribute");
  return value;
}

}  // namespace cria::cuda
