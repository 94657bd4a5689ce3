#include "ops/cuda/stream.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "base/error.h"
#include "ops/cuda/attribute.h"
#include "ops/cuda/check.h"

namespace cria::cuda {
namespace {

constexpr size_t kAlignment = 256;
size_t aligned(size_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

// One step of an 8B model uploads about 4 MB of positions and ids.
constexpr size_t kStaging = size_t{16} << 20;

void require_device(int device) {
  const int count = count_devices();
  require(device >= 0 && device < count, "there is no CUDA device {}, found {}", device, count);
  const int major = attribute_of(device, cudaDevAttrComputeCapabilityMajor);
  const int minor = attribute_of(device, cudaDevAttrComputeCapabilityMinor);
  require(major >= 8, "CUDA device {} has compute capability {}.{}, expected 8.0 or later", device,
          major, minor);
}

/// CRIA_CUDA_GRAPHS=0: kernels are started one by one.
bool graphs_wanted() {
  const char* const given = std::getenv("CRIA_CUDA_GRAPHS");
  const std::string_view wanted = given != nullptr ? given : "1";
  require(wanted == "0" || wanted == "1", "CRIA_CUDA_GRAPHS is \"{}\", expected 0 or 1",
          escaped(wanted));
  return wanted == "1";
}

}  // namespace

int count_devices() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  require(status == cudaSuccess, "no CUDA device can be used: {}",
          status == cudaSuccess ? "" : escaped(cudaGetErrorString(status), 200));
  return count;
}

Stream::Stream(int device) : launches_(graphs_wanted()) {
  require_device(device);
  cuda_check(cudaSetDevice(device), "cudaSetDevice");
  cuda_check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking),
             "cudaStreamCreateWithFlags");
}

// A device that has failed fails here too, and has already been reported.
Stream::~Stream() {
  cudaStreamSynchronize(stream_);
  for (const Block& block : blocks_) cudaFree(block.memory);
  cudaFreeHost(staging_);
  cudaStreamDestroy(stream_);
}

void Stream::begin_op() {
  // What did not fit into one block will fit from now on. cudaFree waits for the device.
  if (blocks_.size() > 1) {
    wait();
    for (const Block& block : blocks_) cuda_check(cudaFree(block.memory), "cudaFree");
    blocks_.clear();
    scratch_bytes(total_);
  }
  used_ = total_ = 0;
}

void* Stream::scratch_bytes(size_t size) {
  const size_t needed = std::max(kAlignment, aligned(size));
  if (blocks_.empty() || blocks_.back().size - used_ < needed) {
    void* memory = nullptr;
    cuda_check(cudaMalloc(&memory, needed), "cudaMalloc");
    blocks_.push_back({static_cast<std::byte*>(memory), needed});
    used_ = 0;
  }
  std::byte* const at = blocks_.back().memory + used_;
  used_ += needed;
  total_ += needed;
  return at;
}

const void* Stream::upload_bytes(const void* from, size_t size) {
  void* const to = scratch_bytes(size);
  if (size == 0) return to;
  if (staging_size_ - staging_used_ < size) {
    wait();
    staging_used_ = 0;
    if (staging_size_ < size) {
      cuda_check(cudaFreeHost(staging_), "cudaFreeHost");
      staging_ = nullptr;
      staging_size_ = 0;
      void* memory = nullptr;
      const size_t room = std::max(kStaging, size);
      cuda_check(cudaMallocHost(&memory, room), "cudaMallocHost");
      staging_ = static_cast<std::byte*>(memory);
      staging_size_ = room;
    }
  }
  std::byte* const staged = staging_ + staging_used_;
  std::memcpy(staged, from, size);
  staging_used_ = std::min(staging_size_, staging_used_ + aligned(size));
  cuda_check(cudaMemcpyAsync(to, staged, size, cudaMemcpyHostToDevice, handle()),
             "cudaMemcpyAsync");
  return to;
}

void Stream::download_bytes(const void* from, void* to, size_t size) {
  if (size > 0) {
    cuda_check(cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToHost, handle()),
               "cudaMemcpyAsync");
  }
  wait();
}

void Stream::wait() { cuda_check(cudaStreamSynchronize(handle()), "cudaStreamSynchronize"); }

}  // namespace cria::cuda
