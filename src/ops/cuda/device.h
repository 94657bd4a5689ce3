// The one way into the code that is compiled with CUDA.
#pragma once

#include <memory>

#include "ops/device.h"

namespace cria::cuda {

/// Throws UsageError without such a device.
std::unique_ptr<ops::Device> open_device(int number);

}  // namespace cria::cuda
