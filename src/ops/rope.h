// Rotary position embedding in the half-rotation layout of Hugging Face.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/exec.h"
#include "tensor/tensor.h"

namespace cria::ops {

/// How wave lengths are stretched beyond the trained context.
struct RopeScaling {
  enum class Kind { none, linear, dynamic_ntk_theta, llama3 } kind = Kind::none;
  double factor = 1.0;
  // llama3 only (Llama 3.1's config.json):
  double low_freq_factor = 1.0, high_freq_factor = 4.0;
  double original_max_position_embeddings = 8192;
  bool operator==(const RopeScaling&) const = default;
};

/// inv_freq[j] = theta^(-2j/head_dim), j < head_dim/2, stretched by `scaling`:
///   linear: / factor (MindFormers' "PI"); dynamic_ntk_theta: theta * factor (MindFormers' "NTK");
///   llama3: by wave length, as in Meta's apply_scaling.
std::vector<double> rope_inverse_frequencies(int64_t head_dim, double theta,
                                             const RopeScaling& scaling);

/// cos and sin of every angle for positions [0, max_positions), computed in double, stored in f32.
class RopeTable {
 public:
  /// In a device's memory, or the host's.
  RopeTable(int64_t head_dim, int64_t max_positions, double theta, const RopeScaling& scaling,
            Memory* memory = nullptr);
  [[nodiscard]] int64_t head_dim() const { return head_dim_; }
  [[nodiscard]] int64_t max_positions() const { return cos_.rows(); }
  /// [max_positions, head_dim / 2]
  [[nodiscard]] ConstView cos() const { return cos_; }
  [[nodiscard]] ConstView sin() const { return sin_; }

 private:
  int64_t head_dim_;
  Tensor cos_, sin_;
};

enum class Turn {
  forward,
  backward
};  // backward rotates by the negative angle: the gradient of forward

/// Rotates every head of every token in place:
///   x[t, h, j]       = x1 * cos - x2 * sin        x1 = x[t, h, j], x2 = x[t, h, j + D/2]
///   x[t, h, j + D/2] = x2 * cos + x1 * sin        angles of positions[t]
///   x [tokens, heads * D] (a window of the packed q, k, v is fine), positions [tokens]
/// Source: Su et al., "RoFormer", 2021, eq. 34, halves instead of neighbours.
void rope(View x, std::span<const int32_t> positions, const RopeTable& table, Turn turn,
          const Exec& exec);

}  // namespace cria::ops
