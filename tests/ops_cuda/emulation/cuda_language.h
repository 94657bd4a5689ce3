// What kernels are written in, for g++ and threads that are fibers (block.h): the same names as src/ops/cuda/real/cuda_language.h.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <utility>

#include "ops_cuda/emulation/block.h"
#include "ops_cuda/fake/fake_cuda.h"
#include "tensor/dtype.h"

#define __global__
#define __device__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)

struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  uint32_t x, y;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }
inline float __uint_as_float(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t __float_as_uint(float x) { return std::bit_cast<uint32_t>(x); }
/// c plus the products of four signed bytes each.
inline int __dp4a(int a, int b, int c) {
  for (int shift = 0; shift < 32; shift += 8)
    c += static_cast<int8_t>(a >> shift) * static_cast<int8_t>(b >> shift);
  return c;
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }

inline void __syncthreads(int site = __builtin_LINE()) { cria::emulation::block_barrier(site); }

namespace cria::emulation {

inline void exchange(const Lanes& in, Lanes& out, int lane_mask) {
  for (int i = 0; i < 32; ++i)
    std::memcpy(out.bytes[i], in.bytes[(i ^ lane_mask) & 31], kLaneBytes);
}
inline void broadcast(const Lanes& in, Lanes& out, int from) {
  for (int i = 0; i < 32; ++i) std::memcpy(out.bytes[i], in.bytes[from & 31], kLaneBytes);
}

}  // namespace cria::emulation

template <class T>
T __shfl_xor_sync(unsigned mask, T x, int lane_mask, int site = __builtin_LINE()) {
  if (mask != 0xffffffffu) throw cria::emulation::KernelFault("a warp operation of some lanes");
  T y;
  cria::emulation::warp_operation(cria::emulation::exchange, lane_mask, site, &x, sizeof(T), &y,
                                  sizeof(T));
  return y;
}
/// Of the same lane for the whole warp.
template <class T>
T __shfl_sync(unsigned mask, T x, int from, int site = __builtin_LINE()) {
  if (mask != 0xffffffffu) throw cria::emulation::KernelFault("a warp operation of some lanes");
  T y;
  cria::emulation::warp_operation(cria::emulation::broadcast, from, site, &x, sizeof(T), &y,
                                  sizeof(T));
  return y;
}

namespace cria::cuda {

template <class T>
class SharedArray {
 public:
  SharedArray(int offset, int count) : offset_(offset), count_(count) {
    emulation::shared_array_exists(offset, int64_t{count} * static_cast<int64_t>(sizeof(T)));
  }
  class Element {
   public:
    explicit Element(int64_t at) : at_(at) {}
    operator T() const {  // NOLINT: reads as the element itself does
      T value;
      std::memcpy(&value, emulation::shared_read(at_, sizeof(T)), sizeof(T));
      return value;
    }
    Element& operator=(T value) {
      std::memcpy(emulation::shared_write(at_, sizeof(T)), &value, sizeof(T));
      return *this;
    }
    Element& operator=(const Element& other) { return *this = static_cast<T>(other); }
    Element& operator+=(T value) { return *this = static_cast<T>(*this) + value; }
    Element& operator*=(T value) { return *this = static_cast<T>(*this) * value; }

   private:
    int64_t at_;
  };
  Element operator[](int i) const { return Element(byte_of(i, 1)); }
  [[nodiscard]] int64_t byte_of(int i, int count) const {
    if (i < 0 || i + count > count_)
      throw emulation::KernelFault("element " + std::to_string(i) + " of a shared array of " +
                                   std::to_string(count_));
    return offset_ + int64_t{i} * static_cast<int64_t>(sizeof(T));
  }

 private:
  int64_t offset_;
  int count_;
};

template <class T>
SharedArray<T> shared_array(int offset, int count) {
  return {offset, count};
}

/// Whole numbers only: their sum does not depend on the order.
inline void atomic_add(SharedArray<int64_t> a, int i, int64_t x) {
  std::byte* const at = emulation::shared_atomic(a.byte_of(i, 1), sizeof(x));
  int64_t sum;
  std::memcpy(&sum, at, sizeof(sum));
  sum += x;
  std::memcpy(at, &sum, sizeof(sum));
}

inline void store_eight(SharedArray<uint16_t> a, int i, uint4 eight) {
  if (i % 8 != 0) throw emulation::KernelFault("eight at an element that is no multiple of 8");
  std::memcpy(emulation::shared_write(a.byte_of(i, 8), 16), &eight, 16);
}

/// Under way until copies_arrive(): what is there meanwhile is no number.
inline void start_copy(SharedArray<uint16_t> to, int i, const uint16_t* from, bool exists) {
  if (i % 8 != 0) throw emulation::KernelFault("eight at an element that is no multiple of 8");
  if (exists && reinterpret_cast<uintptr_t>(from) % 16 != 0)
    throw emulation::KernelFault("a copy from an address that is not aligned");
  emulation::copy_starts(to.byte_of(i, 8), exists ? from : nullptr);
}
inline void copies_arrive() { emulation::copies_arrive(); }

/// Of four matrices in shared memory (matrices.cc); the lanes' parts as PTX lays them out.
void load_matrices(uint32_t (&d)[4], SharedArray<uint16_t> a, int i, int site = __builtin_LINE());
void load_matrices_turned(uint32_t (&d)[4], SharedArray<uint16_t> a, int i,
                          int site = __builtin_LINE());

inline uint64_t double_bits(double x) { return std::bit_cast<uint64_t>(x); }
inline uint16_t bf16_bits(float x) { return bf16(x).bits; }
inline uint16_t f16_bits(float x) { return f16(x).bits; }
inline float f16_value(uint16_t bits) {
  f16 x;
  x.bits = bits;
  return static_cast<float>(x);
}

/// The lanes' parts as PTX lays them out.
void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
void mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

/// What the runtime is to do when it is asked to start a kernel of this type: everything is copied, and runs when the host waits.
template <class... Params>
std::function<void()> prepared(const void* function, dim3 grid, dim3 block, size_t shared_bytes,
                               void** arguments) {
  auto* const kernel = reinterpret_cast<void (*)(Params...)>(const_cast<void*>(function));
  const auto values = [&]<size_t... kAt>(std::index_sequence<kAt...>) {
    return std::tuple<Params...>(*static_cast<const Params*>(arguments[kAt])...);
  }(std::index_sequence_for<Params...>());
  return [=] {
    emulation::run_grid({grid.x, grid.y, grid.z}, static_cast<int>(block.x),
                        static_cast<int>(shared_bytes), [&] { std::apply(kernel, values); });
  };
}
template <class... Params>
void kernel_exists(void (*kernel)(Params...)) {
  fake_cuda_kernel(reinterpret_cast<const void*>(kernel), prepared<Params...>);
}

}  // namespace cria::cuda
