// Reading rows of weights: the joined, turned and converted view of whatever files lie below.
#include "checkpoint/weight_source.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/thread_pool.h"
#include "formats/element_cast.h"
#include "model/params.h"

namespace cria {
namespace {

// Elements converted at once: large enough to amortise a call, small enough for the caches.
constexpr int64_t kChunk = 16384;

// One run of elements from stored bytes to another dtype.
void cast_run(DType from, std::span<const std::byte> bytes, DType to, std::byte* out,
              int64_t elements) {
  if (from == to) {
    std::memcpy(out, bytes.data(), bytes.size());
    return;
  }
  if (to == DType::f32) {
    to_f32(from, bytes, {reinterpret_cast<float*>(out), static_cast<size_t>(elements)});
    return;
  }
  static thread_local std::vector<float> wide;
  wide.resize(static_cast<size_t>(elements));
  to_f32(from, bytes, wide);
  from_f32(wide, to, {out, static_cast<size_t>(bytes_of(to, elements))});
}

}  // namespace

WeightSource::~WeightSource() = default;
WeightSource::WeightSource(WeightSource&&) noexcept = default;
WeightSource& WeightSource::operator=(WeightSource&&) noexcept = default;

const LlamaConfig& WeightSource::config() const {
  require(config_.has_value(),
          "weights: {}: they carry no configuration; try: --config config.json", path_);
  return *config_;
}

std::optional<size_t> WeightSource::find(std::string_view hf_name) const {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (tensors_[i].name == hf_name) return i;
  }
  return std::nullopt;
}

DType WeightSource::main_dtype() const {
  const auto largest = std::max_element(
      tensors_.begin(), tensors_.end(),
      [](const TensorInfo& a, const TensorInfo& b) { return a.elements() < b.elements(); });
  return largest == tensors_.end() ? DType::f32 : largest->dtype;
}

void WeightSource::read_piece_rows(const Place& place, const Piece& piece, int64_t begin,
                                   int64_t count, const Columns& columns, DType stored, DType dtype,
                                   std::byte* out, int64_t out_stride) {
  const int64_t row_bytes = bytes_of(stored, columns.all), cols = columns.count;
  const std::span<const std::byte> all = piece.file->mapped(piece.index);
  static thread_local std::vector<std::byte> staging;
  // Rows that lie side by side on both sides go as one run; otherwise row by row.
  const bool whole =
      place.pair_head_dim == 0 && cols == columns.all && out_stride == bytes_of(dtype, cols);
  const int64_t run_rows = whole ? std::max<int64_t>(1, kChunk / std::max<int64_t>(1, cols)) : 1;
  for (int64_t r = 0; r < count; r += run_rows) {
    const int64_t rows = std::min(run_rows, count - r);
    const int64_t from =
        place.pair_head_dim == 0 ? begin + r : paired_row(begin + r, place.pair_head_dim);
    const auto offset = static_cast<uint64_t>(from * row_bytes + bytes_of(stored, columns.first));
    const auto size = static_cast<size_t>(bytes_of(stored, rows * cols));
    std::span<const std::byte> bytes;
    if (!all.empty()) {
      bytes = all.subspan(offset, size);
    } else {
      staging.resize(size);
      piece.file->read(piece.index, offset, staging);
      bytes = staging;
    }
    cast_run(stored, bytes, dtype, out + r * out_stride, rows * cols);
  }
}

void WeightSource::read_rows(size_t index, int64_t begin, int64_t count, DType dtype,
                             std::span<std::byte> out) const {
  const TensorInfo& info = tensors_[index];
  const Place& place = places_[index];
  const int64_t cols = info.shape.back();
  const int64_t rows = info.shape.size() == 1 ? 1 : info.shape[0];
  check(begin >= 0 && count >= 0 && begin + count <= rows, "rows are inside their tensor");
  check(static_cast<int64_t>(out.size()) == bytes_of(dtype, count * cols),
        "the buffer is exactly the rows");
  const int64_t stride = bytes_of(dtype, cols);
  if (place.pieces.size() == 1) {
    read_piece_rows(place, place.pieces[0], begin, count, {cols, 0, cols}, info.dtype, dtype,
                    out.data(), stride);
  } else if (place.dim == 1) {
    const int64_t part = cols / static_cast<int64_t>(place.pieces.size());
    for (size_t p = 0; p < place.pieces.size(); ++p) {
      read_piece_rows(place, place.pieces[p], begin, count, {part, 0, part}, info.dtype, dtype,
                      out.data() + bytes_of(dtype, static_cast<int64_t>(p) * part), stride);
    }
  } else {
    // Shards hold whole heads, so turning rows round stays inside a shard.
    const int64_t part = rows / static_cast<int64_t>(place.pieces.size());
    for (int64_t done = 0; done < count;) {
      const int64_t shard = (begin + done) / part;
      const int64_t first = (begin + done) % part;
      const int64_t n = std::min(part - first, count - done);
      read_piece_rows(place, place.pieces[static_cast<size_t>(shard)], first, n, {cols, 0, cols},
                      info.dtype, dtype, out.data() + done * stride, stride);
      done += n;
    }
  }
}

void WeightSource::read_box(size_t index, int64_t begin, int64_t count, int64_t col, int64_t cols,
                            DType dtype, std::span<std::byte> out) const {
  const TensorInfo& info = tensors_[index];
  const Place& place = places_[index];
  const int64_t all = info.shape.back();
  if (cols == all) return read_rows(index, begin, count, dtype, out);
  check(col >= 0 && cols >= 0 && col + cols <= all, "columns are inside their tensor");
  check(std::ssize(out) == bytes_of(dtype, count * cols), "the buffer is exactly the box");
  const int64_t stride = bytes_of(dtype, cols);
  const int64_t block = block_elements(info.dtype);
  if (place.pieces.size() == 1 && col % block == 0 && cols % block == 0) {
    read_piece_rows(place, place.pieces[0], begin, count, {all, col, cols}, info.dtype, dtype,
                    out.data(), stride);
    return;
  }
  check(!is_quantised(dtype), "boxes of blocks begin and end with one");
  std::vector<std::byte> rows(static_cast<size_t>(bytes_of(dtype, count * all)));
  read_rows(index, begin, count, dtype, rows);
  const int64_t row_bytes = bytes_of(dtype, all);
  for (int64_t r = 0; r < count; ++r)
    std::memcpy(out.data() + r * stride, rows.data() + r * row_bytes + bytes_of(dtype, col),
                static_cast<size_t>(stride));
}

bool looks_tied(const WeightSource& source) {
  const auto head = source.find("lm_head.weight");
  const auto embedding = source.find("model.embed_tokens.weight");
  if (!head) return true;
  if (!embedding) return false;
  const TensorInfo& a = source.tensors()[*head];
  const TensorInfo& b = source.tensors()[*embedding];
  if (a.shape != b.shape || a.dtype != b.dtype) return false;
  std::vector<std::byte> one(
      static_cast<size_t>(bytes_of(is_quantised(a.dtype) ? DType::f32 : a.dtype, a.shape.back())));
  std::vector<std::byte> other(one.size());
  const DType dtype = is_quantised(a.dtype) ? DType::f32 : a.dtype;
  for (int64_t r = 0; r < a.shape[0]; ++r) {
    source.read_rows(*head, r, 1, dtype, one);
    source.read_rows(*embedding, r, 1, dtype, other);
    if (one != other) return false;
  }
  return true;
}

}  // namespace cria
