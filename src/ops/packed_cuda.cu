// Products with packed weights. Of few rows of x: a block for each panel, which it reads once for up to eight rows; x is rounded
// to 8 bits and multiplied as whole numbers, as on the processor. Of many rows: the numbers that the weights stand for are put
// into memory, some rows of the weight at a time, and cuBLASLt multiplies them.
#include <algorithm>
#include <type_traits>

#include "ops/cuda/few.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/launchers.h"
#include "ops/cuda/panels.h"
#include "ops/cuda/reduce.h"

namespace cria::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kRows = 8;  // of x at once
constexpr int kPanel = static_cast<int>(ops::kPanelRows);
// Of x: eight are one reading of the weights; from here on writing them out and reading them again costs no more.
constexpr int64_t kFewRows = 32;
constexpr int64_t kOpenElements = 16 << 20;  // of the weight in memory at once

/// Rows of x rounded to 8 bits: numbers [rows][cols], scales [rows][cols / group].
struct RoundedX {
  signed char* numbers;
  float* scales;
  int group;
};

/// A warp for each group.
__global__ void __launch_bounds__(kThreads)
    round_rows(ConstRows x, int64_t rows, int64_t cols, RoundedX to) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t group = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  const int64_t groups = cols / to.group;
  if (group >= rows * groups) return;
  const int64_t t = group / groups, col = group % groups * to.group;
  float v[4] = {}, largest = 0.0f, bad = 0.0f;
  for (int e = 0; e < 4; ++e) {
    if (e * kWarp >= to.group) break;
    v[e] = load_one(x.data, x.type, t * x.stride + col + e * kWarp + lane);
    if (!(fabsf(v[e]) <= 3.402823466e38f)) bad = 1.0f;
    largest = fmaxf(largest, fabsf(v[e]));
  }
  largest = warp_max(largest);
  bad = warp_max(bad);
  const bool zero = bad != 0.0f || largest < 1e-30f;
  const float up = zero ? 0.0f : 127.0f / largest;
  for (int e = 0; e < 4; ++e) {
    if (e * kWarp >= to.group) break;
    to.numbers[t * cols + col + e * kWarp + lane] =
        zero ? static_cast<signed char>(0) : static_cast<signed char>(rintf(v[e] * up));
  }
  if (lane == 0)
    to.scales[group] = bad != 0.0f ? __uint_as_float(0x7fc00000u) : zero ? 0.0f : largest / 127.0f;
}

/// What a chunk meets of a row of x.
struct XPart {
  uint32_t lower, upper;  // whole numbers of columns 0 to 3, and of 4 to 7 where there are nibbles
  float scale;
  int sum;  // of the whole numbers
};
template <Stored S>
__device__ inline XPart load_x(const RoundedX& x, int64_t t, int64_t col, int64_t cols) {
  XPart part;
  const auto* const words = reinterpret_cast<const uint32_t*>(x.numbers + t * cols + col);
  part.lower = words[0];
  part.upper = S == Stored::nibbles ? words[1] : 0u;
  part.scale = x.scales[t * (cols / x.group) + col / x.group];
  part.sum = __dp4a(static_cast<int>(part.lower), 0x01010101, 0);
  part.sum = __dp4a(static_cast<int>(part.upper), 0x01010101, part.sum);
  return part;
}

/// A row's numbers of a chunk, less their zero, times x's.
template <Stored S>
__device__ inline int dot(uint32_t word, const XPart& x, int zero) {
  if (S == Stored::nibbles) {
    const int lower =
        __dp4a(static_cast<int>(word & 0x0f0f0f0fu), static_cast<int>(x.lower), -zero * x.sum);
    return __dp4a(static_cast<int>(word >> 4 & 0x0f0f0f0fu), static_cast<int>(x.upper), lower);
  }
  // Bytes are multiplied with their sign: 128 less, and their zero too.
  return __dp4a(static_cast<int>(word ^ 0x80808080u), static_cast<int>(x.lower),
                (128 - zero) * x.sum);
}

/// Products of the same rows of x with several matrices (q, k and v; gate and up), one kernel for all.
struct PanelJob {
  static constexpr int kMost = 3;
  ConstRows x;
  RoundedX rounded;
  Rows y;
  int64_t first_row, rows;  // of x and y
  bool add;
  int count;  // of matrices, which are stored alike
  Panels w[kMost];
  int first_panel[kMost];  // of each among all
  int first_col[kMost];    // of y
};

/// Adds a chunk's products to the sums of four rows of w with each row of x. Fused where it is written so: whatever the number of
/// rows, a sum has the same bits.
template <Stored S, int Rows>
__device__ inline void add_chunk(const PanelJob& job, const Panels& w, const Chunk& c,
                                 float (&sums)[Rows][4]) {
#pragma unroll
  for (int t = 0; t < Rows; ++t) {
    if (Rows > 1 && t >= job.rows) break;
    if (S == Stored::pairs) {
      const int64_t at = (job.first_row + t) * job.x.stride + c.col;
      const float a = load_one(job.x.data, job.x.type, at);
      const float b = c.col + 1 < w.cols ? load_one(job.x.data, job.x.type, at + 1) : 0.0f;
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        sums[t][r] = fmaf(half_of(c.words[r], 0, DType::bf16), a, sums[t][r]);
        sums[t][r] = fmaf(half_of(c.words[r], 1, DType::bf16), b, sums[t][r]);
      }
    } else {
      const XPart part = load_x<S>(job.rounded, job.first_row + t, c.col, w.cols);
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const auto product = static_cast<float>(dot<S>(c.words[r], part, w.zero));
        sums[t][r] = fmaf(c.scale[r] * part.scale, product, sums[t][r]);
        if (w.offsets)
          sums[t][r] = fmaf(c.offset[r], part.scale * static_cast<float>(part.sum), sums[t][r]);
      }
    }
  }
}

/// y[first_row .. + rows) = x w^T for the panel blockIdx.x, counted over all matrices. Threads take chunks in turn, always of the same four rows, and ask for
/// kAhead of them before they use the first.
template <Stored S, int Rows>
__global__ void __launch_bounds__(kThreads, Rows == 1 ? 4 : 2)
    multiply_panel(const __grid_constant__ PanelJob job) {
  constexpr int kAhead = Rows == 1 ? 2 : 1;
  const SharedArray<float> parts = shared_array<float>(0, kWarps * Rows * kPanel);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
  int matrix = 0;
  while (matrix + 1 < job.count && static_cast<int>(blockIdx.x) >= job.first_panel[matrix + 1])
    ++matrix;
  const Panels& w = job.w[matrix];
  const int number = static_cast<int>(blockIdx.x) - job.first_panel[matrix];
  const unsigned char* const panel = w.data + number * w.panel_bytes;
  float sums[Rows][4] = {};
  for (int64_t i = thread; i < w.chunks; i += kThreads * kAhead) {
    Chunk c[kAhead];
    bool there[kAhead];
#pragma unroll
    for (int a = 0; a < kAhead; ++a)
      there[a] = i + a * kThreads < w.chunks && load_chunk<S>(w, panel, i + a * kThreads, c[a]);
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      if (there[a]) add_chunk<S>(job, w, c[a], sums);
    }
  }
  // Lanes of the same rows lie kChunksAcross apart.
#pragma unroll
  for (int t = 0; t < Rows; ++t) {
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      for (int step = kChunksAcross; step < kWarp; step *= 2)
        sums[t][r] += __shfl_xor_sync(kAllLanes, sums[t][r], step);
      if (lane < kChunksAcross) parts[(warp * Rows + t) * kPanel + lane * 4 + r] = sums[t][r];
    }
  }
  __syncthreads();
  const int o = number * kPanel + thread % kPanel;
  const int t = thread / kPanel;
  if (t >= job.rows || o >= w.rows) return;
  float sum = 0.0f;
  for (int i = 0; i < kWarps; ++i) sum += parts[i * Rows * kPanel + thread];
  const int64_t at = (job.first_row + t) * job.y.stride + job.first_col[matrix] + o;
  store_one(job.y.data, job.y.type, at, job.add ? load_one(job.y.data, job.y.type, at) + sum : sum);
}

/// Rows of whole panels, as what they stand for.
template <Stored S>
__global__ void __launch_bounds__(kThreads)
    open_panels(Panels w, int64_t first_panel, int64_t panels, int64_t rows, Rows to) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= w.chunks) return;
  for (int64_t p = blockIdx.y; p < panels; p += gridDim.y) {
    Chunk c;
    if (!load_chunk<S>(w, w.data + (first_panel + p) * w.panel_bytes, i, c)) return;
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int64_t row = p * kPanel + i % kChunksAcross * 4 + r;
      float x[kChunkCols<S>];
      open_row<S>(w, c, r, x);
#pragma unroll
      for (int e = 0; e < kChunkCols<S>; ++e) {
        if (row < rows && c.col + e < w.cols)
          store_one(to.data, to.type, row * to.stride + c.col + e, x[e]);
      }
    }
  }
}

template <Stored S, class Ids>
__global__ void __launch_bounds__(kThreads)
    take_packed_rows(const __grid_constant__ Ids ids, Panels table, Rows out, int64_t tokens,
                     int64_t first_row) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t col = i * kChunkCols<S>;
  if (col >= table.cols) return;
  for (int64_t t = blockIdx.y; t < tokens; t += gridDim.y) {
    const int64_t row = ids[t] - first_row;
    float x[kChunkCols<S>] = {};
    if (row >= 0 && row < table.rows) {
      Chunk c;
      load_chunk<S>(table, table.data + row / kPanel * table.panel_bytes,
                    i * kChunksAcross + row % kPanel / 4, c);
      // A row that is not known when compiling would put the chunk into local memory.
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        if (row % 4 == r) open_row<S>(table, c, r, x);
      }
    }
    for (int e = 0; e < kChunkCols<S>; ++e) {
      if (col + e < table.cols) store_one(out.data, out.type, t * out.stride + col + e, x[e]);
    }
  }
}

/// Calls body with the way of storing as a constant.
template <class Body>
void with_stored(Stored stored, Body body) {
  switch (stored) {
    case Stored::pairs:
      return body(std::integral_constant<Stored, Stored::pairs>());
    case Stored::nibbles:
      return body(std::integral_constant<Stored, Stored::nibbles>());
    case Stored::bytes:
      return body(std::integral_constant<Stored, Stored::bytes>());
  }
}

void multiply_few(Stream& stream, PanelJob job, int64_t rows) {
  const int last = job.count - 1;
  const unsigned panels =
      static_cast<unsigned>(job.first_panel[last]) + blocks_for(job.w[last].rows, kPanel);
  with_stored(job.w[0].stored, [&](auto stored) {
    for (job.first_row = 0; job.first_row < rows; job.first_row += kRows) {
      job.rows = std::min<int64_t>(kRows, rows - job.first_row);
      const int most = job.rows == 1 ? 1 : kRows;
      launch(most == 1 ? multiply_panel<stored(), 1> : multiply_panel<stored(), kRows>, panels,
             kThreads, kWarps * most * kPanel * 4, stream, job);
    }
  });
}

void multiply_many(Stream& stream, Blas& blas, ConstView x, const Panels& w, View y,
                   ops::Into into) {
  const int64_t most =
      std::max<int64_t>(kPanel, kOpenElements / std::max<int64_t>(1, w.cols) / kPanel * kPanel);
  const int64_t room = std::min(most, w.rows);
  const View opened(stream.scratch<unsigned char>(bytes_of(x.dtype, room * w.cols)), x.dtype, room,
                    w.cols);
  for (int64_t first = 0; first < w.rows; first += room) {
    const View part = opened.row_range(0, std::min(room, w.rows - first));
    const int64_t panels = blocks_for(part.rows, kPanel);
    with_stored(w.stored, [&](auto stored) {
      launch(open_panels<stored()>, dim3(blocks_for(w.chunks, kThreads), grid_rows(panels)),
             kThreads, 0, stream, w, first / kPanel, panels, part.rows, rows_of(part));
    });
    gemm(stream, blas, ops::sum_along_rows(x), ops::sum_along_rows(part),
         y.col_range(first, part.rows), into);
  }
}

}  // namespace

Panels panels_of(const ops::PackedMatrix& m) {
  const ops::PackedLayout layout = *ops::packed_layout(m.type());
  const ops::PackedPanel at = ops::packed_panel(layout, m.cols());
  Panels p{};
  p.data = reinterpret_cast<const unsigned char*>(m.panel(0));
  p.stored = layout.group == 0 ? Stored::pairs : layout.nibbles ? Stored::nibbles : Stored::bytes;
  p.rows = m.rows();
  p.cols = m.cols();
  p.panel_bytes = at.bytes;
  p.unit_bytes = at.unit_bytes;
  p.zero = layout.zero;
  p.offsets = layout.offsets;
  p.of_256 = layout.of_256;
  p.wide = layout.wide;
  p.at_scales = static_cast<int>(at.scales);
  p.at_offsets = static_cast<int>(at.offsets);
  p.at_small_scales = static_cast<int>(at.small_scales);
  p.at_small_offsets = static_cast<int>(at.small_offsets);
  p.at_numbers = static_cast<int>(at.numbers);
  if (layout.group == 0) {
    p.chunks = (p.cols + 1) / 2 * kChunksAcross;
    p.unit_chunks = static_cast<int>(p.chunks);
    return p;
  }
  const int64_t per_chunk = layout.nibbles ? 8 : 4;
  p.group_chunks = static_cast<int>(layout.group / per_chunk * kChunksAcross);
  p.unit_chunks = static_cast<int>(at.unit_groups) * p.group_chunks;
  p.chunks = (at.groups + at.unit_groups - 1) / at.unit_groups * p.unit_chunks;
  return p;
}

void linear_packed(Stream& stream, Blas& blas, ConstView x,
                   std::span<const ops::PackedMatrix* const> w, View y, ops::Into into) {
  RoundedX rounded{};
  PanelJob job{};
  const auto multiply = [&] {
    if (job.count > 0) multiply_few(stream, job, x.rows);
    job.count = 0;
  };
  int64_t out = 0;
  for (const ops::PackedMatrix* m : w) {
    const int64_t first_col = out;
    out += m->rows();
    if (m->rows() == 0) continue;
    const Panels panels = panels_of(*m);
    if (x.rows > kFewRows) {
      multiply_many(stream, blas, x, panels, y.col_range(first_col, m->rows()), into);
      continue;
    }
    const ops::PackedRow row = ops::packed_row(*ops::packed_layout(m->type()), x.cols, false);
    const int group = static_cast<int>(row.group);
    const bool rounds = group != 0 && group != rounded.group;
    if (rounds || job.count == PanelJob::kMost ||
        (job.count > 0 && job.w[0].stored != panels.stored))
      multiply();
    if (rounds) {
      rounded = {stream.scratch<signed char>(x.elements()),
                 stream.scratch<float>(x.elements() / group), group};
      launch(round_rows, blocks_for(x.elements() / group, kWarps), kThreads, 0, stream, rows_of(x),
             x.rows, x.cols, rounded);
    }
    job.x = rows_of(x);
    job.rounded = rounded;
    job.y = rows_of(y);
    job.add = into == ops::Into::add;
    const int before = job.count++;
    job.w[before] = panels;
    job.first_col[before] = static_cast<int>(first_col);
    job.first_panel[before] =
        before == 0 ? 0
                    : job.first_panel[before - 1] +
                          static_cast<int>(blocks_for(job.w[before - 1].rows, kPanel));
  }
  multiply();
}

void embedding_packed(Stream& stream, std::span<const int32_t> ids, const ops::PackedMatrix& table,
                      View out, int64_t first_row) {
  const Panels panels = panels_of(table);
  with_list(stream, ids, [&](const auto& list) {
    with_stored(panels.stored, [&](auto stored) {
      launch(take_packed_rows<stored(), std::decay_t<decltype(list)>>,
             dim3(blocks_for(out.cols, kThreads * kChunkCols<stored()>), grid_rows(out.rows)),
             kThreads, 0, stream, list, panels, rows_of(out), out.rows, first_row);
    });
  });
}

}  // namespace cria::cuda
