// New keys and values into their caches: one kernel for all heads of up to eight sequences, which are told in its arguments. A warp
// has 32 numbers of a row, which share a scale in caches of 8 bits.
#include "ops/cuda/int8_rows.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/launchers.h"
#include "ops/cuda/reduce.h"

namespace cria::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
static_assert(ops::kInt8Group == kWarp);
constexpr int kMost = 8;  // sequences

struct Cache {
  void* rows;  // where head 0 puts the first new token
  int64_t stride, head;
  DType type;
};
struct Append {
  Cache caches[2];  // of keys and of values
  int64_t first_row, count;
};
struct Appends {
  Append items[kMost];
  ConstRows rows[2];  // k and v
  int heads, dim;
};

// Grid: warps of the longest sequence, sequences x 2.
__global__ void __launch_bounds__(kThreads) append(const __grid_constant__ Appends all) {
  const Append& a = all.items[blockIdx.y / 2];
  const Cache& cache = a.caches[blockIdx.y % 2];
  const ConstRows& from = all.rows[blockIdx.y % 2];
  const int dim = all.dim;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t groups = (dim + kWarp - 1) / kWarp;
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  const int64_t group = at % groups, head = at / groups % all.heads,
                token = at / groups / all.heads;
  if (token >= a.count) return;
  const int d = static_cast<int>(group) * kWarp + lane;
  const int64_t place = (a.first_row + token) * from.stride + head * dim + d;
  const float x = d < dim ? load_one(from.data, from.type, place) : 0.0f;
  const int64_t row = head * cache.head + token * cache.stride;
  if (cache.type == DType::i8) {
    round_int8_group(x, static_cast<int>(group), lane, dim, static_cast<int8_t*>(cache.rows) + row);
  } else if (d < dim) {
    store_one(cache.rows, cache.type, row + d, x);
  }
}

Cache cache_of(View rows, const ops::CachedSequence& n) {
  return {rows.at(n.first_position, 0), rows.stride, n.capacity * rows.stride, rows.dtype};
}

}  // namespace

void append_to_caches(Stream& stream, ConstView k, ConstView v,
                      std::span<const ops::CachedSequence> sequences, const ops::HeadShape& shape) {
  for (size_t first = 0; first < sequences.size(); first += kMost) {
    Appends all{};
    all.rows[0] = rows_of(k);
    all.rows[1] = rows_of(v);
    all.heads = static_cast<int>(shape.kv_heads);
    all.dim = static_cast<int>(shape.head_dim);
    unsigned count = 0;
    int64_t longest = 0;
    for (; count < kMost && first + count < sequences.size(); ++count) {
      const ops::CachedSequence& n = sequences[first + count];
      all.items[count] = {{cache_of(n.k, n), cache_of(n.v, n)}, n.first_row, n.count};
      longest = longest < n.count ? n.count : longest;
    }
    const int64_t groups = (shape.head_dim + kWarp - 1) / kWarp;
    launch(append, dim3(blocks_for(longest * shape.kv_heads * groups, kWarps), 2 * count), kThreads,
           0, stream, all);
  }
}

}  // namespace cria::cuda
