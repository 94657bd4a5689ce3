// Where a command computes, as --device names it.
#pragma once

#include <memory>
#include <string>

#include "ops/cuda_device.h"
#include "tensor/dtype.h"

namespace cria::cli {

constexpr const char* kDeviceHelp = "where to compute: cpu, cuda or cuda:N (docs/gpu.md)";

/// Null for "cpu". Throws UsageError for other words, and where there is no such GPU.
std::unique_ptr<ops::Device> open_device(const std::string& word);

/// What is computed in where --dtype does not say: bf16 on a GPU, on the processor what it is fastest in.
DType fastest_dtype(const ops::Device* device);

}  // namespace cria::cli
