// Kernels and graphs of kernels: what is asked of the device is put into the stream's queue (fake_cuda.cc). Refuses what CUDA does not allow: kernels
// that it was not told of, a node of another graph, one that waits for none of the nodes before it.
#include <deque>
#include <map>
#include <mutex>
#include <vector>

#include "ops_cuda/fake/fake_cuda.h"

struct CUgraphNode_st {
  std::function<void()> work;
};
struct CUgraph_st {
  std::deque<CUgraphNode_st> nodes;
};
/// Its own copies of the nodes' work, so that a graph that is changed afterwards does not change it.
struct CUgraphExec_st {
  std::map<const CUgraphNode_st*, size_t> places;
  std::vector<std::function<void()>> work;
};

namespace cria {
namespace {

struct Known {
  std::mutex mutex;
  std::map<const void*, FakeKernel> kernels;
  FakeGraphs graphs;
};
Known& known() {
  static auto& all = *new Known;
  return all;
}

FakeKernel kernel_of(const void* function) {
  const std::lock_guard lock(known().mutex);
  const auto found = known().kernels.find(function);
  return found == known().kernels.end() ? nullptr : found->second;
}

/// Empty where the kernel is not known or the block too large.
std::function<void()> work_of(const void* function, dim3 grid, dim3 block, size_t shared_bytes,
                              void** arguments) {
  const FakeKernel kernel = kernel_of(function);
  const bool possible = kernel != nullptr && block.x > 0 && block.x <= 1024 && block.y == 1 &&
                        block.z == 1 && grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.y <= 65535 &&
                        grid.z <= 65535 && shared_bytes <= size_t{227} * 1024;
  if (!possible) return {};
  return kernel(function, grid, block, shared_bytes, arguments);
}
std::function<void()> work_of(const cudaKernelNodeParams& p) {
  return p.extra == nullptr
             ? work_of(p.func, p.gridDim, p.blockDim, p.sharedMemBytes, p.kernelParams)
             : std::function<void()>();
}

template <class Count>
void count(Count one) {
  const std::lock_guard lock(known().mutex);
  one(known().graphs);
}

}  // namespace

void fake_cuda_kernel(const void* function, FakeKernel kernel) {
  const std::lock_guard lock(known().mutex);
  known().kernels[function] = kernel;
}
FakeGraphs fake_cuda_graphs() {
  const std::lock_guard lock(known().mutex);
  return known().graphs;
}

}  // namespace cria

using cria::FakeGraphs;

cudaError_t cudaFuncSetAttribute(const void* function, enum cudaFuncAttribute /*attribute*/,
                                 int value) {
  return cria::kernel_of(function) != nullptr && value <= 227 * 1024 ? cudaSuccess
                                                                     : cudaErrorInvalidValue;
}
cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments,
                             size_t shared_bytes, cudaStream_t stream) {
  auto work = cria::work_of(function, grid, block, shared_bytes, arguments);
  if (!work) return cudaErrorInvalidValue;
  cria::fake_cuda_enqueue(stream, std::move(work));
  return cudaSuccess;
}

cudaError_t cudaGraphCreate(cudaGraph_t* graph, unsigned int /*flags*/) {
  *graph = new CUgraph_st;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
/// Each node waits for the one before: what else a graph may be is not asked for.
cudaError_t cudaGraphAddKernelNode(cudaGraphNode_t* node, cudaGraph_t graph,
                                   const cudaGraphNode_t* dependencies, size_t count,
                                   const struct cudaKernelNodeParams* params) {
  const bool chained =
      graph->nodes.empty() ? count == 0 : count == 1 && dependencies[0] == &graph->nodes.back();
  auto work = cria::work_of(*params);
  if (!chained || !work) return cudaErrorInvalidValue;
  *node = &graph->nodes.emplace_back(std::move(work));
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* exec, cudaGraph_t graph,
                                          unsigned long long flags) {
  if (flags != 0) return cudaErrorInvalidValue;
  auto* const made = new CUgraphExec_st;
  for (const CUgraphNode_st& node : graph->nodes) {
    made->places[&node] = made->work.size();
    made->work.push_back(node.work);
  }
  *exec = made;
  cria::count([](FakeGraphs& g) { ++g.made, ++g.held; });
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  cria::count([](FakeGraphs& g) { --g.held; });
  return cudaSuccess;
}
cudaError_t cudaGraphExecKernelNodeSetParams(cudaGraphExec_t exec, cudaGraphNode_t node,
                                             const struct cudaKernelNodeParams* params) {
  const auto place = exec->places.find(node);
  auto work = cria::work_of(*params);
  if (place == exec->places.end() || !work) return cudaErrorInvalidValue;
  exec->work[place->second] = std::move(work);
  cria::count([](FakeGraphs& g) { ++g.changed; });
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  for (const auto& work : exec->work) cria::fake_cuda_enqueue(stream, work);
  cria::count([](FakeGraphs& g) { ++g.started; });
  return cudaSuccess;
}
