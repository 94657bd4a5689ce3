// A tensor on its way into blocks of few bits: read, made and measured in pieces by all threads, written in order.
#pragma once

#include <functional>
#include <string>

#include "base/thread_pool.h"
#include "checkpoint/convert.h"

namespace cria {

struct BlockJob {
  std::string name;  // for messages
  DType type = DType::q8_0;
  int64_t rows = 0, cols = 0;  // whole blocks a row
  int64_t rows_together = 1;   // pieces are cut at multiples of this; rows is one
};

/// Reads rows [begin, begin + count) as f32. Called from several threads at once.
using ReadFloats = std::function<void(int64_t begin, int64_t count, std::span<float> out)>;

/// Rounds rows [begin, begin + count), whose numbers these are, to blocks. Likewise.
using RoundRows = std::function<void(int64_t begin, int64_t count, std::span<const float> numbers,
                                     std::span<std::byte> out)>;

/// Writes all rows and tells what rounding cost. The same bytes and sums for any number of threads; memory for two pieces of
/// some 100 KB a thread. Throws Error (numbers) where a number is not finite.
RoundingError stream_blocks(const BlockJob& job, const ReadFloats& read, const RoundRows& round,
                            ThreadPool& pool, TensorWriter& writer);

}  // namespace cria
