// Which algorithm a product runs by: the library's first choice, or the fastest of some.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "ops/cuda/blas.h"
#include "ops/cuda/check.h"

namespace cria::cuda {
namespace {

/// A moment of a stream that the device notes.
class Event {
 public:
  Event() { cuda_check(cudaEventCreateWithFlags(&event_, 0), "cudaEventCreateWithFlags"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(Stream& stream) {
    cuda_check(cudaEventRecord(event_, stream.handle()), "cudaEventRecord");
  }
  /// Waits.
  [[nodiscard]] float ms_since(const Event& start) const {
    float ms = 0;
    cuda_check(cudaEventSynchronize(event_), "cudaEventSynchronize");
    cuda_check(cudaEventElapsedTime(&ms, start.event_, event_), "cudaEventElapsedTime");
    return ms;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace

/// Of a file, for a product that it names: of this library and device, so it fits unless the file was changed.
cublasLtMatmulAlgo_t Blas::known(const cublasLtMatmulAlgo_t& stored, const Plan& plan) {
  cublasLtMatmulHeuristicResult_t result{};
  const cublasStatus_t status = cublasLtMatmulAlgoCheck(handle_, plan.product, plan.a, plan.b,
                                                        plan.d, plan.d, &stored, &result);
  require<FormatError>(status == CUBLAS_STATUS_SUCCESS && result.workspaceSize <= kWorkspace,
                       "algorithms: {}: the library refuses one of them ({}); try: remove the file",
                       measured_->path(), escaped(cublasLtGetStatusString(status), 100));
  return stored;
}

/// Of each the best of three times, after one that is not counted. Later ones must be clearly faster than the first.
size_t Blas::fastest(Stream& stream, const Product& p, const Plan& plan,
                     const std::vector<cublasLtMatmulAlgo_t>& algorithms) {
  constexpr int kTimes = 3;
  constexpr float kClearly = 0.98f;
  Event start, end;
  size_t best = 0;
  float best_ms = 0;
  for (size_t i = 0; i < algorithms.size(); ++i) {
    float ms = 0;
    multiply(stream, p, plan, algorithms[i]);
    for (int t = 0; t < kTimes; ++t) {
      start.record(stream);
      multiply(stream, p, plan, algorithms[i]);
      end.record(stream);
      const float once = end.ms_since(start);
      ms = t == 0 ? once : std::min(ms, once);
    }
    if (i == 0 || ms < best_ms * kClearly) {
      best = i;
      best_ms = ms;
    }
  }
  return best;
}

cublasLtMatmulAlgo_t Blas::choose(Stream& stream, const Product& p, const Plan& plan) {
  constexpr int kCandidates = 8;
  const Key key = key_of(p);
  if (measured_ == nullptr || !measured_->worth_timing(p.m * p.n * p.k))
    return candidates(key, plan, 1).front();
  const std::string product = fmt::format(
      "{}{} {} {}{} {}x{}x{} {}/{}/{} {}/{}/{}", key.transpose_a ? 't' : 'n',
      key.transpose_b ? 't' : 'n', name_of(key.in), key.add ? "+" : "", name_of(key.out), key.m,
      key.n, key.k, key.lda, key.ldb, key.ldd, key.align_a, key.align_b, key.align_d);
  if (const cublasLtMatmulAlgo_t* stored = measured_->find(product)) return known(*stored, plan);
  const std::vector<cublasLtMatmulAlgo_t> algorithms = candidates(key, plan, kCandidates);
  // What is added to must not change while algorithms are timed.
  std::unique_ptr<void, cudaError_t (*)(void*)> sums(nullptr, cudaFree);
  Product timed = p;
  if (p.add) {
    const auto size = static_cast<size_t>(bytes_of(p.out, p.ldd * p.n));
    void* memory = nullptr;
    if (cudaMalloc(&memory, size) != cudaSuccess) return algorithms.front();
    sums.reset(memory);
    cuda_check(cudaMemsetAsync(memory, 0, size, stream.handle()), "cudaMemsetAsync");
    timed.d = memory;
  }
  const size_t best = fastest(stream, timed, plan, algorithms);
  measured_->add(product, algorithms[best]);
  return algorithms[best];
}

}  // namespace cria::cuda
