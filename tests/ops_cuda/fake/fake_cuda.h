// A CUDA device for each thread of a test: memory of its own, and streams that do nothing until somebody waits for them. So an op
// that hands a kernel memory of the host which it then changes or frees, or reads a result too early, fails here.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>

namespace cria {

/// Work for the device, done at the next wait for the stream, in order. An exception of it comes out of that wait.
void fake_cuda_enqueue(cudaStream_t stream, std::function<void()> work);
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
