// A CUDA device for each thread of a test: memory of its own, and streams that do nothing until somebody waits for them. So an op
// that hands a kernel memory of the host which it then changes or frees, or reads a result too early, fails here.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>

namespace cria {

/// Work for the device, done at the next wait for the stream, in order. An exception of it comes out of that wait. `ms`: how long
/// events say that it took.
void fake_cuda_enqueue(cudaStream_t stream, std::function<void()> work, float ms = 0);
/// Makes the work of a kernel from what it is started with; arguments are read before it returns.
using FakeKernel = std::function<void()> (*)(const void* function, dim3 grid, dim3 block,
                                             size_t shared_bytes, void** arguments);
/// A kernel that the runtime can be asked to start.
void fake_cuda_kernel(const void* function, FakeKernel kernel);
/// Graphs that were made, kernels in them that got new arguments, and starts, of all devices.
struct FakeGraphs {
  int64_t made = 0, changed = 0, started = 0, held = 0;
};
FakeGraphs fake_cuda_graphs();
/// Products made by the k-th algorithm that the stand-in for cuBLASLt offers, of 4. The second is the fastest.
constexpr int kFakeAlgorithms = 4;
int64_t fake_blas_products(int algorithm);
/// Whether all bytes lie in one piece of the device's memory.
bool fake_cuda_owns(const void* bytes, size_t size);
/// Pieces of device memory, and of host memory that copies may read later, which are not freed yet.
int fake_cuda_allocations();
/// How often somebody waited for a stream.
int64_t fake_cuda_waits();
/// Kernels, copies and products since the program began.
int64_t fake_cuda_work();
/// Whether the host dies when it touches device memory. That costs a millisecond for every wait.
void fake_cuda_close(bool closed);
/// Device memory left to give; -1: as much as wanted.
void fake_cuda_set_memory(int64_t bytes);

}  // namespace cria
