// Rotary position embedding: a thread turns eight pairs of one head, or fewer where the head's half ends.
#include "ops/cuda/few.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/launchers.h"
#include "ops/cuda/reduce.h"

namespace cria::cuda {
namespace {

constexpr int kThreads = 256;

// Threads of a token: `parts` for each head, part p has pairs 8p .. 8p + 7 of `half`.
template <class Positions>
__global__ void __launch_bounds__(kThreads)
    turn_pairs(Rows x, const __grid_constant__ Positions positions, const float* cosines,
               const float* sines, float sign, int64_t tokens, int64_t heads, int64_t half,
               int64_t parts) {
  const int64_t number = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (number >= tokens * heads * parts) return;
  const int64_t part = number % parts, head = number / parts % heads,
                token = number / parts / heads;
  const int64_t row = positions[token] * half;
  const int64_t begin = part * 8, end = begin + 8 < half ? begin + 8 : half;
  const int64_t first = head * 2 * half + begin, last = head * 2 * half + end;
  float x1[8], x2[8], turned[8];
  load8(x, token, first, last, x1);
  load8(x, token, first + half, last + half, x2);
  float cosine[8] = {}, sine[8] = {};
  for (int i = 0; i < 8; ++i) {
    if (begin + i >= end) continue;
    cosine[i] = cosines[row + begin + i];
    sine[i] = sign * sines[row + begin + i];
  }
  for (int i = 0; i < 8; ++i) turned[i] = x1[i] * cosine[i] - x2[i] * sine[i];
  store8(x, token, first, last, turned);
  for (int i = 0; i < 8; ++i) turned[i] = x2[i] * cosine[i] + x1[i] * sine[i];
  store8(x, token, first + half, last + half, turned);
}

}  // namespace

void rope(Stream& stream, View x, std::span<const int32_t> positions, const ops::RopeTable& table,
          ops::Turn turn) {
  const int64_t half = table.head_dim() / 2, heads = x.cols / table.head_dim();
  const int64_t parts = (half + 7) / 8;
  Rows rows = rows_of(x);
  rows.wide = rows.wide && half % 8 == 0;  // else pairs begin anywhere
  with_list(stream, positions, [&](const auto& list) {
    launch(turn_pairs<std::decay_t<decltype(list)>>, blocks_for(x.rows * heads * parts, kThreads),
           kThreads, 0, stream, rows, list, static_cast<const float*>(table.cos().data),
           static_cast<const float*>(table.sin().data), turn == ops::Turn::forward ? 1.0f : -1.0f,
           x.rows, heads, half, parts);
  });
}

}  // namespace cria::cuda
