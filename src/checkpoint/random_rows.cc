#include <algorithm>
#include <memory>
#include <mutex>

#include "base/random.h"
#include "base/thread_pool.h"
#include "checkpoint/convert.h"
#include "formats/element_cast.h"
#include "model/params.h"

namespace cria {
namespace {

// Elements made by one thread at a time: enough to be worth waking it, few enough to stay in cache.
constexpr uint64_t kPieceElements = 1 << 14;

// Every number is a function of its place, so it does not matter who makes it.
void fill_piece(const Param& p, uint64_t seed, uint64_t stream, uint64_t element, DType dtype,
                std::span<float> values, std::span<std::byte> out) {
  if (p.is_norm()) {
    std::fill(values.begin(), values.end(), 1.0f);
  } else {
    for (float& v : values)
      v = static_cast<float>(p.init_std * random_normal(seed, stream, element++));
  }
  from_f32(values, dtype, out);
}

}  // namespace

WeightRows random_rows(const LlamaConfig& config, DType dtype, uint64_t seed, int threads) {
  const std::vector<Param> params = llama_params(config);
  WeightRows rows;
  for (const Param& p : params) rows.tensors.push_back({p.name, dtype, p.shape});
  // One caller at a time has the pool.
  struct Shared {
    explicit Shared(int threads) : pool(threads) {}
    ThreadPool pool;
    std::mutex mutex;
  };
  auto shared = std::make_shared<Shared>(threads);
  rows.read = [params, seed, shared](size_t i, int64_t begin, int64_t count, DType to,
                                     std::span<std::byte> out) {
    const Param& p = params[i];
    const auto first = static_cast<uint64_t>(begin * p.cols());
    const auto elements = static_cast<uint64_t>(count * p.cols());
    const auto size = static_cast<uint64_t>(bytes_of(to, 1));
    const uint64_t pieces = (elements + kPieceElements - 1) / kPieceElements;
    const std::lock_guard lock(shared->mutex);
    shared->pool.parallel_for(static_cast<int64_t>(pieces), [&](int64_t piece) {
      const uint64_t at = static_cast<uint64_t>(piece) * kPieceElements;
      const uint64_t n = std::min(kPieceElements, elements - at);
      thread_local std::vector<float> values;
      values.resize(n);
      fill_piece(p, seed, i, first + at, to, values, out.subspan(at * size, n * size));
    });
  };
  return rows;
}

}  // namespace cria
