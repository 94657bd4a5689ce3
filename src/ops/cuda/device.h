// The one way into the code that is compiled with CUDA.
#pragma once

#include <memory>

#include "ops/device.h"

namespace cria::cuda {

/// Throws UsageError without such a device.
std::unique_ptr<ops::Device> open_device(int number);
/// How many there are. Throws UsageError when CUDA does not start.
int devices();

}  // namespace cria::cuda
