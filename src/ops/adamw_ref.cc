// AdamW, close to the formula, in double; m, v and the weight are stored as the kernels store them.
#include "ops/adamw_ref.h"

#include <bit>
#include <cmath>
#include <cstdint>

#include "ops/reference.h"

namespace cria::ops {
namespace {

float join_one(ConstView weight, ConstView low, int64_t r, int64_t c) {
  const uint32_t upper = static_cast<const bf16*>(weight.at(r, c))->bits;
  const int32_t rest = *static_cast<const int16_t*>(low.at(r, c));
  return std::bit_cast<float>((upper << 16) + static_cast<uint32_t>(rest));
}

void split_one(float value, View weight, View low, int64_t r, int64_t c) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t upper = (bits + 0x8000) >> 16;
  static_cast<bf16*>(weight.at(r, c))->bits = static_cast<uint16_t>(upper);
  *static_cast<int16_t*>(low.at(r, c)) = static_cast<int16_t>(bits - (upper << 16));
}

double get_weight(const AdamWParam& p, int64_t r, int64_t c) {
  if (p.low.data != nullptr) return join_one(p.weight, p.low, r, c);
  return get(p.master.data != nullptr ? p.master : p.weight, r, c);
}

void set_weight(const AdamWParam& p, int64_t r, int64_t c, double value) {
  if (p.low.data != nullptr) return split_one(static_cast<float>(value), p.weight, p.low, r, c);
  if (p.master.data != nullptr) set(p.master, r, c, value);
  set(p.weight, r, c, value);
}

}  // namespace

void adamw_ref(const AdamWParam& p, const AdamWStep& s) {
  const double b1 = s.beta1, b2 = s.beta2;
  const auto number = static_cast<double>(s.step);
  const double m_scale = s.bias_correction ? 1 / (1 - std::pow(b1, number)) : 1;
  const double v_scale = s.bias_correction ? 1 / (1 - std::pow(b2, number)) : 1;
  const double decay = p.decays ? s.weight_decay : 0;
  for (int64_t r = 0; r < p.weight.rows; ++r) {
    for (int64_t c = 0; c < p.weight.cols; ++c) {
      const double g = get(p.grad, r, c) * s.grad_scale;
      const double m = b1 * get(p.m, r, c) + (1 - b1) * g;
      const double v = b2 * get(p.v, r, c) + (1 - b2) * g * g;
      const double w = get_weight(p, r, c);
      set(p.m, r, c, m);
      set(p.v, r, c, v);
      const double step = m * m_scale / (std::sqrt(v * v_scale) + s.eps);
      set_weight(p, r, c, w - s.lr * (step + decay * w));
    }
  }
}

void split_master_ref(ConstView f32, View weight, View low) {
  for (int64_t r = 0; r < f32.rows; ++r) {
    for (int64_t c = 0; c < f32.cols; ++c) {
      split_one(*static_cast<const float*>(f32.at(r, c)), weight, low, r, c);
    }
  }
}

void join_master_ref(ConstView weight, ConstView low, View f32) {
  for (int64_t r = 0; r < f32.rows; ++r) {
    for (int64_t c = 0; c < f32.cols; ++c) {
      *static_cast<float*>(f32.at(r, c)) = join_one(weight, low, r, c);
    }
  }
}

}  // namespace cria::ops
