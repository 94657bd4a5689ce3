// The device that libcria_cuda.so hands to the program: every op begins anew with the stream's scratch memory and goes to its
// launcher.
#include "ops/cuda/device.h"

#include <memory>

#include "base/error.h"
#include "ops/cuda/attribute.h"
#include "ops/cuda/blas.h"
#include "ops/cuda/check.h"
#include "ops/cuda/launchers.h"
#include "ops/cuda/moves.h"

namespace cria::cuda {
namespace {

/// For launchers that write to x only where there is a branch to add.
View writable(ConstView v) {
  return {const_cast<void*>(v.data), v.dtype, v.rows, v.cols, v.stride};
}

void require_head_dim(const ops::HeadShape& shape) {
  require(shape.head_dim <= kMostHeadDim, "attention: head_dim is {}, expected at most {} on a GPU",
          shape.head_dim, kMostHeadDim);
}

class CudaDevice : public ops::Device {
 public:
  explicit CudaDevice(int number) : number_(number), stream_(number) {}

  void* allocate(size_t size) override {
    void* memory = nullptr;
    cuda_check(cudaMalloc(&memory, size), "cudaMalloc");
    cuda_check(cudaMemsetAsync(memory, 0, size, stream_.handle()), "cudaMemsetAsync");
    stream_.wait();  // what comes from another rank does not wait for this stream
    return memory;
  }
  // cudaFree waits for kernels that may still use it. A device that has failed, which has been reported, frees nothing either.
  void release(void* bytes) noexcept override {
    try {
      stream_.wait();
    } catch (const Error&) {
      return;
    }
    cudaFree(bytes);
  }
  void write(void* to, const void* host, size_t size) override {
    start_kept();
    moves_.to_device(to, host, size);
  }
  void read(void* host, const void* from, size_t size) override {
    start_kept();
    moves_.to_host(host, from, size);
  }
  void copy(void* to, const void* from, size_t size) override {
    if (size == 0) return;
    cuda_check(cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToDevice, stream_.handle()),
               "cudaMemcpyAsync");
    stream_.wait();
  }
  void wait() override { stream_.wait(); }
  [[nodiscard]] std::string name() override {
    return fmt::format(
        "compute capability {}.{}, {} multiprocessors, {} MHz",
        attribute(cudaDevAttrComputeCapabilityMajor), attribute(cudaDevAttrComputeCapabilityMinor),
        attribute(cudaDevAttrMultiProcessorCount), attribute(cudaDevAttrClockRate) / 1000);
  }
  [[nodiscard]] int64_t available() override {
    size_t free = 0, all = 0;
    cuda_check(cudaMemGetInfo(&free, &all), "cudaMemGetInfo");
    return static_cast<int64_t>(free);
  }

  [[nodiscard]] bool holds(const void* byte) override {
    cudaPointerAttributes found{};
    cuda_check(cudaPointerGetAttributes(&found, byte), "cudaPointerGetAttributes");
    return found.type == cudaMemoryTypeDevice;
  }
  void sum_in_order(std::span<const ConstView> terms, View out) override {
    cuda::sum_in_order(op(), terms, out);
  }

  void begin_step() override { stream_.begin_step(); }
  void end_step() override { stream_.end_step(); }

  void convert(ConstView from, View to) override { cuda::convert(op(), from, to); }
  void add(View x, ConstView y) override { cuda::add(op(), x, y); }
  void fill_zero(View x) override { cuda::fill_zero(op(), x); }

  void rms_norm(ConstView x, ConstView weight, float eps, View y, View rstd) override {
    cuda::rms_norm(op(), writable(x), {}, weight, eps, y, rstd);
  }
  void add_rms_norm(View x, ConstView branch, ConstView weight, float eps, View y,
                    View rstd) override {
    cuda::rms_norm(op(), x, branch, weight, eps, y, rstd);
  }
  void rms_norm_backward(ConstView x, ConstView weight, ConstView rstd, ConstView dy, View dx,
                         View dweight) override {
    cuda::rms_norm_backward(op(), x, weight, rstd, dy, dx, dweight);
  }

  void rope(View x, std::span<const int32_t> positions, const ops::RopeTable& table,
            ops::Turn turn) override {
    cuda::rope(op(), x, positions, table, turn);
  }
  void swiglu(ConstView gate_up, View out) override { cuda::swiglu(op(), gate_up, out); }
  void swiglu_backward(ConstView gate_up, ConstView dout, View d_gate_up) override {
    cuda::swiglu_backward(op(), gate_up, dout, d_gate_up);
  }

  void embedding(std::span<const int32_t> ids, ConstView table, View out,
                 int64_t first_row) override {
    cuda::embedding(op(), ids, table, out, first_row);
  }
  void embedding_backward(std::span<const int32_t> tokens, std::span<const int32_t> starts,
                          std::span<const int32_t> rows, ConstView dout, View dtable) override {
    cuda::embedding_backward(op(), tokens, starts, rows, dout, dtable);
  }

  void add_squares(std::span<const ConstView> xs, ExactSum& sum) override {
    Stream& stream = op();
    auto* const limbs = stream.scratch<int64_t>(ExactSum::kLimbs);
    cuda::add_squares(stream, xs, limbs);
    ExactSum part;
    stream.download(limbs, part.limbs());
    sum.merge(part);
  }
  void adamw(std::span<const ops::AdamWParam> params, const ops::AdamWFactors& factors) override {
    cuda::adamw(op(), params, factors);
  }
  void split_master(ConstView f32, View weight, View low) override {
    cuda::split_master(op(), f32, weight, low);
  }
  void join_master(ConstView weight, ConstView low, View f32) override {
    cuda::join_master(op(), weight, low, f32);
  }

  void gemm(const ops::GemmSide& a, const ops::GemmSide& b, View c, ops::Into into) override {
    cuda::gemm(op(), blas_, a, b, c, into);
  }
  void gemv(ConstView x, ConstView w, View y, ops::Into into) override {
    cuda::gemv(op(), x, w, y, into);
  }

  void linear_packed(ConstView x, std::span<const ops::PackedMatrix* const> w, View y,
                     ops::Into into) override {
    cuda::linear_packed(op(), blas_, x, w, y, into);
  }
  void embedding_packed(std::span<const int32_t> ids, const ops::PackedMatrix& table, View out,
                        int64_t first_row) override {
    cuda::embedding_packed(op(), ids, table, out, first_row);
  }

  void attention(ConstView q, ConstView k, ConstView v, std::span<const int64_t> documents,
                 const ops::HeadShape& shape, View out, View lse) override {
    require_head_dim(shape);
    cuda::attention(op(), q, k, v, documents, shape, out, lse);
  }
  void attention_backward(ConstView q, ConstView k, ConstView v, ConstView out, ConstView lse,
                          ConstView dout, std::span<const int64_t> documents,
                          const ops::HeadShape& shape, View dq, View dk, View dv) override {
    require_head_dim(shape);
    cuda::attention_backward(op(), q, k, v, out, lse, dout, documents, shape, dq, dk, dv);
  }
  void attention_cached(ConstView q, std::span<const ops::CachedSequence> sequences,
                        const ops::HeadShape& shape, View out) override {
    require_head_dim(shape);
    cuda::attention_cached(op(), q, sequences, shape, out);
  }

  void append_to_caches(ConstView k, ConstView v, std::span<const ops::CachedSequence> sequences,
                        const ops::HeadShape& shape) override {
    cuda::append_to_caches(op(), k, v, sequences, shape);
  }

  void linear_cross_entropy(ConstView x, ConstView w, std::span<const int32_t> targets,
                            std::span<float> token_loss, const ops::HeadGradients& gradients,
                            const ops::VocabSplit* split) override {
    cuda::linear_cross_entropy(op(), blas_, x, w, targets, token_loss, gradients, split);
  }

  void next_tokens(View logits, std::span<const ops::TokenRule> rules,
                   std::span<int32_t> ids) override {
    Stream& stream = op();
    auto* const here = stream.scratch<int32_t>(logits.rows);
    cuda::next_tokens(stream, logits, rules, here);
    stream.download(here, ids);
  }

 private:
  [[nodiscard]] int attribute(cudaDeviceAttr which) const { return attribute_of(number_, which); }
  /// Moves may be asked for by several threads at once, though not in a step.
  void start_kept() {
    if (stream_.keeps_kernels()) static_cast<void>(stream_.handle());
  }
  Stream& op() {
    stream_.begin_op();
    return stream_;
  }

  int number_;
  Stream stream_;
  Moves moves_{number_, stream_.handle()};
  Blas blas_{Algorithms::of_environment(number_)};
};

}  // namespace

std::unique_ptr<ops::Device> open_device(int number) {
  return std::make_unique<CudaDevice>(number);
}
int devices() { return count_devices(); }

}  // namespace cria::cuda
