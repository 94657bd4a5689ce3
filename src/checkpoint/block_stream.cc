#include "checkpoint/block_stream.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "formats/dequantise.h"

namespace cria {
namespace {

// Numbers of a piece: its floats and what they become stay in a core's own cache.
constexpr int64_t kPieceElements = 1 << 15;
// Pieces that a thread gets between two writes.
constexpr int64_t kPiecesPerThread = 4;

RoundingError error_of(std::span<const float> x, std::span<const float> y) {
  RoundingError error;
  for (size_t i = 0; i < x.size(); ++i) {
    const double difference = double{x[i]} - double{y[i]};
    error.squares += double{x[i]} * double{x[i]};
    error.squared_differences += difference * difference;
  }
  return error;
}

struct Scratch {
  std::vector<float> numbers, rounded;
};

}  // namespace

RoundingError stream_blocks(const BlockJob& job, const ReadFloats& read, const RoundRows& round,
                            ThreadPool& pool, TensorWriter& writer) {
  check(job.rows % job.rows_together == 0, "rows come in whole groups");
  const int64_t groups = std::max<int64_t>(1, kPieceElements / (job.cols * job.rows_together));
  const int64_t piece_rows = groups * job.rows_together;
  const int64_t pieces = (job.rows + piece_rows - 1) / piece_rows;
  const int64_t batch = pool.threads() * kPiecesPerThread;
  const auto row_bytes = static_cast<size_t>(bytes_of(job.type, job.cols));
  std::vector<std::byte> blocks;
  std::vector<Scratch> scratch(static_cast<size_t>(pool.threads()));
  std::vector<RoundingError> errors;
  RoundingError sum;
  for (int64_t first = 0; first < pieces; first += batch) {
    const int64_t now = std::min(batch, pieces - first);
    const int64_t begin = first * piece_rows;
    const int64_t rows = std::min(now * piece_rows, job.rows - begin);
    blocks.resize(static_cast<size_t>(rows) * row_bytes);
    errors.assign(static_cast<size_t>(now), {});
    pool.parallel_for_worker(now, [&](int64_t piece, int worker) {
      const int64_t from = begin + piece * piece_rows;
      const int64_t count = std::min(piece_rows, job.rows - from);
      auto& [numbers, rounded] = scratch[static_cast<size_t>(worker)];
      numbers.resize(static_cast<size_t>(count * job.cols));
      rounded.resize(numbers.size());
      read(from, count, numbers);
      const auto out = std::span(blocks).subspan(static_cast<size_t>(from - begin) * row_bytes,
                                                 static_cast<size_t>(count) * row_bytes);
      round(from, count, numbers, out);
      dequantise(job.type, out, rounded);
      errors[static_cast<size_t>(piece)] = error_of(numbers, rounded);
    });
    // In the order of rows, whoever was first.
    for (const RoundingError& e : errors) sum += e;
    if (!std::isfinite(sum.squared_differences))
      throw Error(ExitCode::numbers,
                  fmt::format("quantize: \"{}\": a number in rows {} to {} is not finite, or too "
                              "large for {}",
                              job.name, begin, begin + rows - 1, name_of(job.type)));
    writer.write(blocks);
  }
  return sum;
}

}  // namespace cria
