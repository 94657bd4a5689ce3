// Checks, factors in double, then pieces of about 16 Ki elements on all threads.
#include "ops/adamw.h"

#include <cmath>
#include <vector>

#include "ops/adamw_kernels.h"
#include "ops/adamw_ref.h"
#include "ops/device.h"
#include "ops/door.h"

namespace cria::ops {
namespace {

void check_one(ConstView weight, std::string_view name, ConstView view, DType dtype) {
  require_dtype("adamw", name, view, dtype);
  require_shape("adamw", name, view, weight.rows, weight.cols);
}

void check_param(const AdamWParam& p) {
  require_compute("adamw", "weight", p.weight);
  check_one(p.weight, "grad", p.grad, DType::f32);
  check_one(p.weight, "m", p.m, DType::f32);
  check_one(p.weight, "v", p.v, DType::f32);
  const bool low = p.low.data != nullptr, master = p.master.data != nullptr;
  require(!(low && master), "adamw: low and master are both given, expected at most one");
  require(!master || p.weight.dtype != DType::f32,
          "adamw: weight is F32 and has a master, expected F16 or BF16 beside a master");
  if (low) {
    require_dtype("adamw", "weight beside low", p.weight, DType::bf16);
    check_one(p.weight, "low", p.low, DType::i16);
  }
  if (master) check_one(p.weight, "master", p.master, DType::f32);
}

AdamWFactors factors_of(const AdamWStep& s) {
  AdamWFactors f = {s.lr, s.beta1, s.beta2, s.eps, s.weight_decay, s.grad_scale, 1, 1};
  if (s.bias_correction) {
    require(s.step >= 1, "adamw: step is {}, expected at least 1", s.step);
    const auto number = static_cast<double>(s.step);
    f.m_scale = static_cast<float>(1 / (1 - std::pow(static_cast<double>(s.beta1), number)));
    f.root_v_scale =
        static_cast<float>(1 / std::sqrt(1 - std::pow(static_cast<double>(s.beta2), number)));
  }
  return f;
}

bool all_contiguous(const AdamWParam& p) {
  return p.weight.contiguous() && p.low.contiguous() && p.master.contiguous() &&
         p.grad.contiguous() && p.m.contiguous() && p.v.contiguous();
}

AdamWParam flattened(const AdamWParam& p) {
  return {ops::flattened(p.weight),
          ops::flattened(p.low),
          ops::flattened(p.master),
          ops::flattened(p.grad),
          ops::flattened(p.m),
          ops::flattened(p.v),
          p.decays};
}

void step_on_threads(const AdamWParam& p, AdamWFactors factors, const Exec& exec) {
  if (!p.decays) factors.weight_decay = 0;
  const Pieces pieces(p.weight.rows, p.weight.cols);
  const auto& kernels = adamw_kernels();
  exec.pool.parallel_for(pieces.count(), [&](int64_t i) {
    pieces.for_rows(i, [&](int64_t r, int64_t c, int64_t n) {
      const auto at = [&](const auto& view) {
        return view.data == nullptr ? nullptr : view.at(r, c);
      };
      kernels.step({at(p.weight), p.weight.dtype, static_cast<int16_t*>(at(p.low)),
                    static_cast<float*>(at(p.master)), static_cast<const float*>(at(p.grad)),
                    static_cast<float*>(at(p.m)), static_cast<float*>(at(p.v)), n},
                   factors);
    });
  });
}

void check_halves(std::string_view op, ConstView f32, ConstView weight, ConstView low) {
  require_dtype(op, "f32", f32, DType::f32);
  require_dtype(op, "weight", weight, DType::bf16);
  require_dtype(op, "low", low, DType::i16);
  require_shape(op, "weight", weight, f32.rows, f32.cols);
  require_shape(op, "low", low, f32.rows, f32.cols);
}

}  // namespace

void adamw(std::span<const AdamWParam> params, const AdamWStep& step, const Exec& exec) {
  const AdamWFactors factors = factors_of(step);
  std::vector<AdamWParam> flat;
  flat.reserve(params.size());
  for (const AdamWParam& p : params) {
    check_param(p);
    flat.push_back(all_contiguous(p) ? flattened(p) : p);
  }
  if (exec.device != nullptr) return exec.device->adamw(flat, factors);
  for (const AdamWParam& p : flat) {
    if (exec.reference) {
      adamw_ref(p, step);
    } else {
      step_on_threads(p, factors, exec);
    }
  }
}

void split_master(ConstView f32, View weight, View low, const Exec& exec) {
  check_halves("split_master", f32, weight, low);
  if (exec.device != nullptr) return exec.device->split_master(f32, weight, low);
  if (exec.reference) return split_master_ref(f32, weight, low);
  const Pieces pieces(f32.rows, f32.cols);
  const auto& kernels = adamw_kernels();
  exec.pool.parallel_for(pieces.count(), [&](int64_t i) {
    pieces.for_rows(i, [&](int64_t r, int64_t c, int64_t n) {
      kernels.split(static_cast<const float*>(f32.at(r, c)), static_cast<bf16*>(weight.at(r, c)),
                    static_cast<int16_t*>(low.at(r, c)), n);
    });
  });
}

void join_master(ConstView weight, ConstView low, View f32, const Exec& exec) {
  check_halves("join_master", f32, weight, low);
  if (exec.device != nullptr) return exec.device->join_master(weight, low, f32);
  if (exec.reference) return join_master_ref(weight, low, f32);
  const Pieces pieces(f32.rows, f32.cols);
  const auto& kernels = adamw_kernels();
  exec.pool.parallel_for(pieces.count(), [&](int64_t i) {
    pieces.for_rows(i, [&](int64_t r, int64_t c, int64_t n) {
      kernels.join(static_cast<const bf16*>(weight.at(r, c)),
                   static_cast<const int16_t*>(low.at(r, c)), static_cast<float*>(f32.at(r, c)), n);
    });
  });
}

}  // namespace cria::ops
