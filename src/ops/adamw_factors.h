// What every version of AdamW multiplies with.
#pragma once

namespace cria::ops {

/// The same for every element of a step.
struct AdamWFactors {
  float lr, beta1, beta2, eps, weight_decay, grad_scale;
  float m_scale;       // 1 / (1 - beta1^step), or 1
  float root_v_scale;  // 1 / sqrt(1 - beta2^step), or 1
};

}  // namespace cria::ops
