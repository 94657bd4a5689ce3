// Matrices that a warp reads from shared memory together. Source: PTX ISA, "ldmatrix".
#include "cuda_language.h"

namespace cria::cuda {
namespace {

/// A lane brings a row of eight numbers and takes a pair of each matrix.
void hand_out(const emulation::Lanes& in, emulation::Lanes& out, int turned) {
  const auto number = [&](int matrix, int row, int col) {
    uint16_t x;
    std::memcpy(&x, in.bytes[matrix * 8 + row] + col * 2, 2);
    return static_cast<uint32_t>(x);
  };
  for (int lane = 0; lane < 32; ++lane) {
    uint32_t d[4];
    const int outer = lane / 4, pair = lane % 4 * 2;
    for (int m = 0; m < 4; ++m)
      d[m] = turned != 0 ? number(m, pair, outer) | number(m, pair + 1, outer) << 16
                         : number(m, outer, pair) | number(m, outer, pair + 1) << 16;
    std::memcpy(out.bytes[lane], d, sizeof(d));
  }
}

void load(uint32_t (&d)[4], SharedArray<uint16_t> a, int i, int turned, int site) {
  if (i % 8 != 0)
    throw emulation::KernelFault("a matrix's row at an element that is no multiple of 8");
  const std::byte* const row = emulation::shared_read(a.byte_of(i, 8), 16);
  emulation::warp_operation(hand_out, turned, site, row, 16, d, sizeof(d));
}

}  // namespace

void load_matrices(uint32_t (&d)[4], SharedArray<uint16_t> a, int i, int site) {
  load(d, a, i, 0, site);
}
void load_matrices_turned(uint32_t (&d)[4], SharedArray<uint16_t> a, int i, int site) {
  load(d, a, i, 1, site);
}

}  // namespace cria::cuda
