// Kernels on their way to a stream: started one by one, or, in a step that repeats, many at once as a CUDA graph. A decode step is
// hundreds of kernels of a few microseconds each; asking the driver for every one of them costs the host about as long.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <span>
#include <vector>

namespace cria::cuda {

struct Argument {
  const void* value;
  size_t size;
};
/// A kernel with what it is started with; arguments lie where the caller has them.
struct Launch {
  const void* function;
  dim3 grid, block;
  unsigned shared_bytes;
  std::span<const Argument> arguments;
};

/// Between begin_step() and end_step() kernels are kept back, in pieces of a fixed number. When a piece comes for the second time
/// with as many kernels, it becomes a graph; from then on only kernels that have other arguments than the step before, or are
/// others, are told to the driver, and one call starts them all. In every case the same kernels run in the same order.
class Launches {
 public:
  /// Without `graphs` every kernel is started at once.
  explicit Launches(bool graphs) : graphs_(graphs) {}
  ~Launches();
  Launches(const Launches&) = delete;
  Launches& operator=(const Launches&) = delete;

  void add(const Launch& launch, cudaStream_t stream);
  /// Starts what is kept back. Whoever gives the stream anything else calls it first.
  void start(cudaStream_t stream);
  [[nodiscard]] bool keeps_any() const { return count_ > 0; }

  void begin_step();
  /// The last piece waits for start().
  void end_step() { in_step_ = false; }

 private:
  /// A kernel with its own copy of the arguments.
  struct Kept {
    const void* function = nullptr;
    dim3 grid, block;
    unsigned shared_bytes = 0;
    std::vector<std::byte> bytes;  // of all arguments
    std::vector<void*> pointers;   // to each
    Kept() = default;
    Kept(Kept&&) noexcept = default;
    Kept& operator=(Kept&&) noexcept = default;
    ~Kept() = default;
    void keep(const Launch& launch);
    [[nodiscard]] bool same(const Kept& other) const;
    [[nodiscard]] cudaKernelNodeParams node() const;
  };
  /// Of a step; the k-th piece of each step goes by the k-th of these.
  struct Piece {
    std::vector<Kept> kernels;  // as they were last started; the first `count` of them
    size_t count = 0;
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    std::vector<cudaGraphNode_t> nodes;
    void make_graph();
    void forget_graph();
  };
  static void start_each(std::span<const Kept> kernels, cudaStream_t stream);

  bool graphs_, in_step_ = false;
  std::vector<Kept> kept_;
  size_t count_ = 0;  // of kept_
  std::vector<Piece> pieces_;
  size_t next_ = 0;  // of pieces_
};

}  // namespace cria::cuda
