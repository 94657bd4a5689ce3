#include "ops/int8_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "ops/door.h"
#include "ops/reference.h"

namespace cria::ops {
namespace {

f16 scale_of(const float* x, int64_t count) {
  float largest = 0;
  bool finite = true;
  for (int64_t i = 0; i < count; ++i) {
    finite = finite && std::isfinite(x[i]);
    largest = std::max(largest, std::fabs(x[i]));
  }
  const f16 scale(largest / 127.0F);
  const bool fits = finite && std::isfinite(static_cast<float>(scale));
  return fits ? scale : f16(std::numeric_limits<float>::quiet_NaN());
}

/// One group; a scale of 0 or NaN goes with zeros.
void round_group(const float* x, int64_t count, int8_t* numbers, std::byte* scale_to) {
  const f16 scale = scale_of(x, count);
  std::memcpy(scale_to, &scale, sizeof(scale));
  const auto s = static_cast<float>(scale);
  for (int64_t i = 0; i < count; ++i) {
    const float n = s > 0 ? std::nearbyint(x[i] / s) : 0.0F;
    numbers[i] = static_cast<int8_t>(std::clamp(n, -127.0F, 127.0F));
  }
}

const std::byte* scales_of(const std::byte* row, int64_t dim) { return row + (dim + 1) / 2 * 2; }

}  // namespace

void round_to_int8(ConstView x, View to) {
  require_compute("round_to_int8", "x", x);
  require_dtype("round_to_int8", "to", to, DType::i8);
  require_shape("round_to_int8", "to", to, x.rows, int8_row_bytes(x.cols));
  for (int64_t r = 0; r < x.rows; ++r) {
    auto* const numbers = static_cast<int8_t*>(to.at(r, 0));
    auto* const scales =
        const_cast<std::byte*>(scales_of(static_cast<const std::byte*>(to.at(r, 0)), x.cols));
    for (int64_t begin = 0; begin < x.cols; begin += kInt8Group) {
      const int64_t count = std::min(kInt8Group, x.cols - begin);
      float group[kInt8Group];
      for (int64_t i = 0; i < count; ++i) group[i] = static_cast<float>(get(x, r, begin + i));
      round_group(group, count, numbers + begin, scales + begin / kInt8Group * 2);
    }
  }
}

void open_int8_row(ConstView from, int64_t dim, float* to) {
  const auto* const row = static_cast<const std::byte*>(from.data);
  for (int64_t d = 0; d < dim; ++d) {
    f16 scale;
    std::memcpy(&scale, scales_of(row, dim) + d / kInt8Group * 2, sizeof(scale));
    to[d] = static_cast<float>(static_cast<int8_t>(row[d])) * static_cast<float>(scale);
  }
}

}  // namespace cria::ops
