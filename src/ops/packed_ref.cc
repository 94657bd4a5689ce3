// linear_packed number by number. Sums follow the header's order, since the kernels promise its bits.
#include "ops/packed_ref.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/packed_layout.h"
#include "ops/reference.h"

namespace cria::ops {
namespace {

float number(ConstView m, int64_t r, int64_t c) { return static_cast<float>(get(m, r, c)); }

void put(View y, int64_t t, int64_t o, float sum, Into into) {
  set(y, t, o, into == Into::add ? number(y, t, o) + sum : sum);
}

struct RoundedGroup {
  float scale;
  std::vector<int> numbers;
};

RoundedGroup round_group(ConstView x, int64_t t, int64_t begin, int64_t count) {
  float largest = 0;
  bool finite = true;
  for (int64_t k = begin; k < begin + count; ++k) {
    finite = finite && std::isfinite(number(x, t, k));
    largest = std::fmax(largest, std::fabs(number(x, t, k)));
  }
  RoundedGroup g{finite ? 0.0F : std::nanf(""), std::vector<int>(static_cast<size_t>(count), 0)};
  if (!finite || largest < 1e-30F) return g;
  g.scale = largest / 127.0F;
  for (int64_t k = 0; k < count; ++k)
    g.numbers[static_cast<size_t>(k)] =
        static_cast<int>(std::nearbyint(number(x, t, begin + k) * (127.0F / largest)));
  return g;
}

}  // namespace

void linear_packed_ref(ConstView x, const PackedMatrix& w, View y, Into into) {
  const PackedLayout layout = *packed_layout(w.type());
  std::vector<float> row(static_cast<size_t>(w.cols()));
  if (layout.group == 0) {
    for (int64_t o = 0; o < w.rows(); ++o) {
      w.row(o, row);
      for (int64_t t = 0; t < x.rows; ++t) {
        double sum = 0;
        for (int64_t k = 0; k < w.cols(); ++k)
          sum += static_cast<double>(number(x, t, k)) *
                 static_cast<double>(row[static_cast<size_t>(k)]);
        put(y, t, o, static_cast<float>(sum), into);
      }
    }
    return;
  }
  std::vector<PackedNumber> numbers(static_cast<size_t>(w.cols()));
  const int64_t dot_size = dot_numbers(layout), together = std::max<int64_t>(32, dot_size);
  for (int64_t t = 0; t < x.rows; ++t) {
    std::vector<RoundedGroup> rounded;
    for (int64_t k = 0; k < x.cols; k += together)
      rounded.push_back(round_group(x, t, k, together));
    for (int64_t o = 0; o < w.rows(); ++o) {
      w.numbers(o, numbers);
      float sum = 0;
      for (int64_t begin = 0; begin < w.cols(); begin += dot_size) {
        const RoundedGroup& g = rounded[static_cast<size_t>(begin / together)];
        int dot = 0, plain = 0;
        for (int64_t k = begin; k < begin + dot_size; ++k) {
          const int q = g.numbers[static_cast<size_t>(k % together)];
          dot += q * (numbers[static_cast<size_t>(k)].stored - layout.zero);
          plain += q;
        }
        const PackedNumber& first = numbers[static_cast<size_t>(begin)];
        sum = std::fma(static_cast<float>(dot), first.scale * g.scale, sum);
        if (layout.offsets) sum = std::fma(first.offset, g.scale * static_cast<float>(plain), sum);
      }
      put(y, t, o, sum, into);
    }
  }
}

}  // namespace cria::ops
