// The tensor cores' product of one warp. Source: PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type".
#include "cuda_language.h"

namespace cria::cuda {
namespace {

struct Fragments {
  float d[4];
  uint32_t a[4], b[2];
};
static_assert(sizeof(Fragments) <= emulation::kLaneBytes);

Fragments of(const emulation::Lanes& lanes, int lane) {
  Fragments f;
  std::memcpy(&f, lanes.bytes[lane], sizeof(f));
  return f;
}

template <class T>
double number(uint32_t pair, int upper) {
  T x;
  x.bits = static_cast<uint16_t>(upper != 0 ? pair >> 16 : pair);
  return static_cast<double>(static_cast<float>(x));
}

template <class T>
void multiply(const emulation::Lanes& in, emulation::Lanes& out, int /*argument*/) {
  double a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const Fragments f = of(in, lane);
    const int group = lane / 4, pair = lane % 4 * 2;
    for (int half = 0; half < 2; ++half) {
      a[group][pair + half] = number<T>(f.a[0], half);
      a[group + 8][pair + half] = number<T>(f.a[1], half);
      a[group][pair + 8 + half] = number<T>(f.a[2], half);
      a[group + 8][pair + 8 + half] = number<T>(f.a[3], half);
      b[pair + half][group] = number<T>(f.b[0], half);
      b[pair + 8 + half][group] = number<T>(f.b[1], half);
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    const Fragments f = of(in, lane);
    float d[4];
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i / 2 * 8, col = lane % 4 * 2 + i % 2;
      double sum = static_cast<double>(f.d[i]);
      for (int k = 0; k < 16; ++k) sum += a[row][k] * b[k][col];
      d[i] = static_cast<float>(sum);
    }
    std::memcpy(out.bytes[lane], d, sizeof(d));
  }
}

template <class T>
void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  Fragments f;
  std::memcpy(f.d, d, sizeof(d));
  std::memcpy(f.a, a, sizeof(a));
  std::memcpy(f.b, b, sizeof(b));
  emulation::warp_operation(multiply<T>, 0, 0, &f, sizeof(f), d, sizeof(d));
}

}  // namespace

void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { mma<bf16>(d, a, b); }
void mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { mma<f16>(d, a, b); }

}  // namespace cria::cuda
