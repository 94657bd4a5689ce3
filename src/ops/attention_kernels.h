// Kernels of attention.h. A unit is the work of one call; the doors cut units by shape alone.
//
// D head_dim, G query heads of one KV head. A "row" is one query of one head: the G heads of a
// query are neighbours, row r = query r / G, head r % G. All pointers are to elements of the given
// dtype, strides are in elements.
#pragma once

#include <cstdint>

#include "ops/isa.h"
#include "tensor/dtype.h"

namespace cria::ops {

/// Rows of one head in a larger matrix; i8: as int8_rows.h has them.
struct HeadRows {
  const void* data = nullptr;
  DType dtype = DType::f32;
  int64_t stride = 0;
};
struct HeadRowsOut {
  void* data = nullptr;
  DType dtype = DType::f32;
  int64_t stride = 0;
};

/// Keys are visited in blocks of kKeyBlock and summed apart over spans of kKeySpan, which are then
/// combined in order: a decode step gives spans to different threads and gets the same bits as a
/// long prefill.
constexpr int64_t kKeyBlock = 64;
constexpr int64_t kKeySpan = 1024;
/// Rows that share one pass over a key block.
constexpr int64_t kRowTile = 64;
/// Keys whose gradients are summed together in backward.
constexpr int64_t kGradientKeys = 256;

/// `count` floats rounded up to whole vectors of every level, which are whole cache lines.
static inline constexpr int64_t whole_lines(int64_t count) { return (count + 15) / 16 * 16; }
/// Row length of f32 panels.
static inline constexpr int64_t padded_dim(int64_t head_dim) { return whole_lines(head_dim); }

/// Queries [0, queries) of one KV head's group against keys [0, first_position + queries).
struct ForwardUnit {
  HeadRows q, k, v;  // q: the group's first head; its other heads follow at distance D
  HeadRowsOut out;
  float* lse = nullptr;  // of the first query and head, or null; rows lse_stride apart
  int64_t lse_stride = 0;
  int64_t queries = 0, first_position = 0;
  int64_t group = 1, head_dim = 0;
  float* scratch = nullptr;
};

/// One query's group against keys [first_key, first_key + keys) of one span.
struct DecodeUnit {
  HeadRows q, k, v;  // k, v: key 0
  int64_t first_key = 0, keys = 0;
  int64_t group = 1, head_dim = 0;
  float* partial = nullptr;  // written: sums [G, padded D], then maxima [G'], then weights [G']
  float* scratch = nullptr;
};

/// One query head of one document.
struct BackwardUnit {
  HeadRows q, k, v, out, dout;
  const float* lse = nullptr;  // of the first token; tokens lse_stride apart
  int64_t lse_stride = 0;
  HeadRowsOut dq, dk, dv;
  float *dk_sum = nullptr, *dv_sum = nullptr;  // f32 sums over the group; rows sum_stride apart
  int64_t sum_stride = 0;
  int64_t tokens = 0, head_dim = 0;
  float* scratch = nullptr;
};
/// Which of the group's heads adds its share: the first one writes, the last one also converts the
/// sums to dk and dv.
struct GroupTurn {
  bool first = false, last = false;
};

struct AttentionKernels {
  int64_t (*forward_scratch)(int64_t rows, int64_t head_dim);
  void (*forward)(const ForwardUnit& unit);
};
struct AttentionDecodeKernels {
  int64_t (*scratch)(int64_t group, int64_t head_dim);
  /// Floats of one partial result.
  int64_t (*partial)(int64_t group, int64_t head_dim);
  void (*span)(const DecodeUnit& unit);
  /// Combines `spans` partials (in place, into the first) and writes the group's rows of out.
  void (*combine)(float* partials, int64_t spans, int64_t group, int64_t head_dim,
                  const HeadRowsOut& out);
};
struct AttentionBackwardKernels {
  int64_t (*scratch)(int64_t tokens, int64_t head_dim);
  void (*begin)(const BackwardUnit& unit);
  /// The share of keys [first_key, first_key + kGradientKeys) in dk and dv (kept in scratch) and
  /// in dq.
  void (*keys)(const BackwardUnit& unit, int64_t first_key);
  void (*add_share)(const BackwardUnit& unit, int64_t first_key, GroupTurn turn);
  void (*finish)(const BackwardUnit& unit);
};
CRIA_KERNEL_TABLE(AttentionKernels, attention_kernels)
CRIA_KERNEL_TABLE(AttentionDecodeKernels, attention_decode_kernels)
CRIA_KERNEL_TABLE(AttentionBackwardKernels, attention_backward_kernels)

}  // namespace cria::ops
