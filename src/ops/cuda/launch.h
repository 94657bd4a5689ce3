// How ops start kernels.
#pragma once

#include <tuple>

#include "cuda_language.h"
#include "ops/cuda/check.h"
#include "ops/cuda/stream.h"

namespace cria::cuda {

/// Starts `kernel` on grid x threads (a multiple of 32), with so many bytes of shared memory for each block, or lets the stream
/// start it with others.
template <class... Params, class... Args>
void launch(void (*kernel)(Params...), dim3 grid, int threads, int shared_bytes, Stream& stream,
            const Args&... args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  kernel_exists(kernel);
  const void* const function = reinterpret_cast<const void*>(kernel);
  // Below this a block may have it without asking.
  if (shared_bytes > 48 * 1024) {
    cuda_check(
        cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes),
        "cudaFuncSetAttribute");
  }
  const std::tuple<Params...> values(static_cast<Params>(args)...);
  std::apply(
      [&](const auto&... value) {
        const Argument arguments[] = {{&value, sizeof(value)}...};
        stream.launch({function, grid, dim3(static_cast<unsigned>(threads)),
                       static_cast<unsigned>(shared_bytes), arguments});
      },
      values);
}

}  // namespace cria::cuda
