// Where a rank of a run computes: the processor, or a GPU.
#pragma once

#include <memory>

#include "comm/comm.h"
#include "ops/cuda_device.h"
#include "recipe/settings.h"

namespace cria::recipe {

/// The GPU that context.device_target and device_id name; null for the processor. Of several ranks each has one of its own on its
/// host (local_device()). Throws UsageError where there is no such GPU.
std::unique_ptr<ops::Device> device_of_run(const RecipeSettings& settings);

/// How a rank of eval or predict waits for the others (step_timeout_s, or 300 s), and where its matrices lie.
CommSettings groups_of_run(const RecipeSettings& settings, ops::Device* device);

/// Bytes that this rank may take there; 0: unknown.
int64_t available_to_rank(ops::Device* device);

}  // namespace cria::recipe
