// Rotary position embedding: the angles, and the op's door.
#include "ops/rope.h"

#include <cmath>
#include <numbers>

#include "ops/device.h"
#include "ops/door.h"
#include "ops/rope_kernels.h"
#include "ops/rope_ref.h"

namespace cria::ops {
namespace {

/// Waves shorter than a fraction of the trained context stay, waves longer than it are slowed by
/// `factor`, and those between are blended.
/// Source: Meta, llama-models, apply_scaling; Llama 3.1's rope_type "llama3".
double stretched(double frequency, const RopeScaling& s) {
  const double wave_length = 2 * std::numbers::pi / frequency;
  const double longest = s.original_max_position_embeddings / s.low_freq_factor;
  const double shortest = s.original_max_position_embeddings / s.high_freq_factor;
  if (wave_length < shortest) return frequency;
  if (wave_length > longest) return frequency / s.factor;
  const double smooth = (s.original_max_position_embeddings / wave_length - s.low_freq_factor) /
                        (s.high_freq_factor - s.low_freq_factor);
  return (1 - smooth) * frequency / s.factor + smooth * frequency;
}

}  // namespace

std::vector<double> rope_inverse_frequencies(int64_t head_dim, double theta,
                                             const RopeScaling& scaling) {
  using Kind = RopeScaling::Kind;
  require(head_dim > 0 && head_dim % 2 == 0,
          "rope: head_dim is {}, expected a positive even number", head_dim);
  require(theta > 0 && scaling.factor > 0,
          "rope: theta is {} and the scaling factor {}, expected positive numbers", theta,
          scaling.factor);
  require(scaling.kind != Kind::llama3 ||
              (scaling.low_freq_factor > 0 && scaling.high_freq_factor > scaling.low_freq_factor &&
               scaling.original_max_position_embeddings > 0),
          "rope: llama3 scaling has low_freq_factor {}, high_freq_factor {} and "
          "original_max_position_embeddings {}, expected 0 < low < high and a positive length",
          scaling.low_freq_factor, scaling.high_freq_factor,
          scaling.original_max_position_embeddings);
  if (scaling.kind == Kind::dynamic_ntk_theta) theta *= scaling.factor;
  std::vector<double> frequencies(static_cast<size_t>(head_dim / 2));
  for (size_t j = 0; j < frequencies.size(); ++j) {
    double f = std::pow(theta, -2.0 * static_cast<double>(j) / static_cast<double>(head_dim));
    if (scaling.kind == Kind::linear) f /= scaling.factor;
    if (scaling.kind == Kind::llama3) f = stretched(f, scaling);
    frequencies[j] = f;
  }
  return frequencies;
}

RopeTable::RopeTable(int64_t head_dim, int64_t max_positions, double theta,
                     const RopeScaling& scaling, Memory* memory)
    : head_dim_(head_dim) {
  const std::vector<double> frequencies = rope_inverse_frequencies(head_dim, theta, scaling);
  require(max_positions >= 0, "rope: a table for {} positions", max_positions);
  cos_ = Tensor(DType::f32, max_positions, head_dim / 2);
  sin_ = Tensor(DType::f32, max_positions, head_dim / 2);
  size_t at = 0;
  for (int64_t p = 0; p < max_positions; ++p) {
    for (const double f : frequencies) {
      const double angle = static_cast<double>(p) * f;
      cos_.span<float>()[at] = static_cast<float>(std::cos(angle));
      sin_.span<float>()[at++] = static_cast<float>(std::sin(angle));
    }
  }
  if (memory == nullptr) return;
  cos_ = cos_.copy_to(memory);
  sin_ = sin_.copy_to(memory);
}

void rope(View x, std::span<const int32_t> positions, const RopeTable& table, Turn turn,
          const Exec& exec) {
  require_compute("rope", "x", x);
  require(x.cols % table.head_dim() == 0, "rope: x has {} columns, no multiple of head_dim {}",
          x.cols, table.head_dim());
  require(static_cast<int64_t>(positions.size()) == x.rows, "rope: {} positions for {} tokens",
          positions.size(), x.rows);
  for (size_t t = 0; t < positions.size(); ++t) {
    require(positions[t] >= 0 && positions[t] < table.max_positions(),
            "rope: token {} stands at position {}, the table has {}", t, positions[t],
            table.max_positions());
  }
  if (exec.device != nullptr) return exec.device->rope(x, positions, table, turn);
  if (exec.reference) return rope_ref(x, positions, table, turn);
  const auto& kernels = rope_kernels();
  const int64_t half = table.head_dim() / 2, heads = x.cols / table.head_dim();
  const ConstView cosines = table.cos(), sines = table.sin();
  // Whole tokens, about 16 Ki elements a piece.
  const int64_t piece = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, x.cols));
  exec.pool.parallel_for((x.rows + piece - 1) / piece, [&](int64_t i) {
    for (int64_t t = i * piece; t < std::min(x.rows, (i + 1) * piece); ++t) {
      const int64_t position = positions[static_cast<size_t>(t)];
      kernels.token(
          x.at(t, 0), x.dtype, heads, half, static_cast<const float*>(cosines.at(position, 0)),
          static_cast<const float*>(sines.at(position, 0)), turn == Turn::forward ? 1.0f : -1.0f);
    }
  });
}

}  // namespace cria::ops
