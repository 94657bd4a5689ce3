// Rows of SwiGLU, one instruction-set level.
#include "ops/simd.h"
#include "ops/swiglu_kernels.h"

namespace cria::ops::CRIA_ISA {

static inline Vec sigmoid(Vec x) { return div(set1(1), add(set1(1), exp(sub(zero(), x)))); }

template <class G, class O>
static void forward_row(const G* gate, const G* up, O* out, int64_t n) {
  for_lanes(n, [&](int64_t i, auto m) {
    const Vec g = load(gate + i, m);
    store(out + i, mul(mul(g, sigmoid(g)), load(up + i, m)), m);
  });
}

static void forward(const void* gate, const void* up, DType type, void* out, DType out_type,
                    int64_t n) {
  with_type(type, [&](auto gt) {
    with_type(out_type, [&](auto ot) {
      using G = typename decltype(gt)::type;
      using O = typename decltype(ot)::type;
      forward_row(static_cast<const G*>(gate), static_cast<const G*>(up), static_cast<O*>(out), n);
    });
  });
}

template <class G, class O, class D>
static void backward_row(const G* gate, const G* up, const O* dout, D* dgate, D* dup, int64_t n) {
  for_lanes(n, [&](int64_t i, auto m) {
    const Vec g = load(gate + i, m), u = load(up + i, m), d = load(dout + i, m);
    const Vec s = sigmoid(g);
    const Vec slope = mul(s, fma(g, sub(set1(1), s), set1(1)));
    store(dgate + i, mul(mul(d, u), slope), m);
    store(dup + i, mul(d, mul(g, s)), m);
  });
}

static void backward(const void* gate, const void* up, DType type, const void* dout,
                     DType dout_type, void* dgate, void* dup, DType d_type, int64_t n) {
  with_type(type, [&](auto gt) {
    with_type(dout_type, [&](auto ot) {
      with_type(d_type, [&](auto dt) {
        using G = typename decltype(gt)::type;
        using O = typename decltype(ot)::type;
        using D = typename decltype(dt)::type;
        backward_row(static_cast<const G*>(gate), static_cast<const G*>(up),
                     static_cast<const O*>(dout), static_cast<D*>(dgate), static_cast<D*>(dup), n);
      });
    });
  });
}

extern const SwigluKernels swiglu_kernels = {forward, backward};

}  // namespace cria::ops::CRIA_ISA
