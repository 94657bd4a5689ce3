// Where a run computes: the processor, or one GPU.
#pragma once

#include <memory>

#include "ops/cuda_device.h"
#include "recipe/settings.h"

namespace cria::recipe {

/// The GPU that context.device_target and device_id name; null for the processor. Throws UsageError where several ranks run, and
/// where there is no such GPU.
std::unique_ptr<ops::Device> device_of_run(const RecipeSettings& settings);

/// Bytes that this rank may take there; 0: unknown.
int64_t available_to_rank(ops::Device* device);

}  // namespace cria::recipe
