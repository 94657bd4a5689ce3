#include "ops/cuda/launches.h"

#include <cstring>
#include <utility>

#include "ops/cuda/check.h"

namespace cria::cuda {
namespace {

// Kernels of a piece. The first is short, so that the device soon has something to do; the others are put together meanwhile.
constexpr size_t kFirstPiece = 16;
constexpr size_t kPiece = 64;

size_t aligned(size_t size) { return (size + 15) / 16 * 16; }
bool equal(const dim3& a, const dim3& b) { return a.x == b.x && a.y == b.y && a.z == b.z; }

}  // namespace

void Launches::Kept::keep(const Launch& launch) {
  function = launch.function;
  grid = launch.grid;
  block = launch.block;
  shared_bytes = launch.shared_bytes;
  size_t size = 0;
  for (const Argument& a : launch.arguments) size += aligned(a.size);
  bytes.assign(size, std::byte{0});
  pointers.clear();
  std::byte* to = bytes.data();
  for (const Argument& a : launch.arguments) {
    std::memcpy(to, a.value, a.size);
    pointers.push_back(to);
    to += aligned(a.size);
  }
}

bool Launches::Kept::same(const Kept& other) const {
  return function == other.function && equal(grid, other.grid) && equal(block, other.block) &&
         shared_bytes == other.shared_bytes && bytes == other.bytes;
}

cudaKernelNodeParams Launches::Kept::node() const {
  cudaKernelNodeParams params{};
  params.func = const_cast<void*>(function);
  params.gridDim = grid;
  params.blockDim = block;
  params.sharedMemBytes = shared_bytes;
  params.kernelParams = const_cast<void**>(pointers.data());
  return params;
}

void Launches::Piece::forget_graph() {
  if (exec != nullptr) cudaGraphExecDestroy(std::exchange(exec, nullptr));
  if (graph != nullptr) cudaGraphDestroy(std::exchange(graph, nullptr));
  nodes.clear();
}

/// One kernel after the other.
void Launches::Piece::make_graph() {
  forget_graph();
  cuda_check(cudaGraphCreate(&graph, 0), "cudaGraphCreate");
  for (size_t i = 0; i < count; ++i) {
    const cudaKernelNodeParams params = kernels[i].node();
    cudaGraphNode_t node = nullptr;
    const cudaGraphNode_t before = nodes.empty() ? nullptr : nodes.back();
    cuda_check(cudaGraphAddKernelNode(&node, graph, &before, nodes.empty() ? 0 : 1, &params),
               "cudaGraphAddKernelNode");
    nodes.push_back(node);
  }
  cuda_check(cudaGraphInstantiateWithFlags(&exec, graph, 0), "cudaGraphInstantiateWithFlags");
}

Launches::~Launches() {
  for (Piece& piece : pieces_) piece.forget_graph();
}

void Launches::begin_step() {
  in_step_ = graphs_;
  next_ = 0;
}

void Launches::add(const Launch& launch, cudaStream_t stream) {
  if (!in_step_) start(stream);
  if (kept_.size() == count_) kept_.emplace_back();
  kept_[count_++].keep(launch);
  if (!in_step_) {
    start_each({kept_.data(), std::exchange(count_, 0)}, stream);
  } else if (count_ == (next_ == 0 ? kFirstPiece : kPiece)) {
    start(stream);
  }
}

void Launches::start_each(std::span<const Kept> kernels, cudaStream_t stream) {
  for (const Kept& k : kernels)
    cuda_check(cudaLaunchKernel(k.function, k.grid, k.block, const_cast<void**>(k.pointers.data()),
                                k.shared_bytes, stream),
               "cudaLaunchKernel");
}

void Launches::start(cudaStream_t stream) {
  const size_t count = std::exchange(count_, 0);
  if (count == 0) return;
  if (next_ == pieces_.size()) pieces_.emplace_back();
  Piece& piece = pieces_[next_++];
  const bool again = piece.count == count;
  if (again && piece.exec != nullptr) {
    for (size_t i = 0; i < count; ++i) {
      if (kept_[i].same(piece.kernels[i])) continue;
      const cudaKernelNodeParams params = kept_[i].node();
      cuda_check(cudaGraphExecKernelNodeSetParams(piece.exec, piece.nodes[i], &params),
                 "cudaGraphExecKernelNodeSetParams");
    }
  }
  std::swap(piece.kernels, kept_);  // what was there before gives its memory to the next piece
  piece.count = count;
  if (!again) {
    piece.forget_graph();
    return start_each({piece.kernels.data(), count}, stream);
  }
  if (piece.exec == nullptr) piece.make_graph();
  cuda_check(cudaGraphLaunch(piece.exec, stream), "cudaGraphLaunch");
}

}  // namespace cria::cuda
