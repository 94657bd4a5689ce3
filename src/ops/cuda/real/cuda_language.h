// What kernels are written in, as nvcc compiles it. tests/ops_cuda/emulation/cuda_language.h offers the same names to g++; which
// of the two a kernel is compiled with is a matter of include paths. Kernels use nothing of CUDA's language that is not in both.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace cria::cuda {

/// A part of the block's shared memory.
template <class T>
struct SharedArray {
  T* data;
  __device__ T& operator[](int i) const { return data[i]; }
};

/// `count` elements from byte `offset` on, a multiple of 16, of the shared memory that launch() was asked for.
template <class T>
__device__ inline SharedArray<T> shared_array(int offset, int /*count*/) {
  extern __shared__ __align__(16) unsigned char block_memory[];
  return {reinterpret_cast<T*>(block_memory + offset)};
}

/// Adds to element i, which other threads may do as well without a barrier. Whole numbers only: their sum does not depend on the
/// order.
__device__ inline void atomic_add(SharedArray<int64_t> a, int i, int64_t x) {
  atomicAdd(reinterpret_cast<unsigned long long*>(a.data + i), static_cast<unsigned long long>(x));
}

/// Eight 16-bit numbers, i a multiple of 8.
__device__ inline void store_eight(SharedArray<uint16_t> a, int i, uint4 eight) {
  *reinterpret_cast<uint4*>(a.data + i) = eight;
}

/// Where PTX finds element i.
__device__ inline uint32_t shared_address(SharedArray<uint16_t> a, int i) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(a.data + i));
}

/// Starts a copy of eight 16-bit numbers from device memory (aligned to 16 bytes) to element i, a multiple of 8; zeros where
/// there is none. It is there after copies_arrive(), for other threads after a barrier as well.
__device__ inline void start_copy(SharedArray<uint16_t> to, int i, const uint16_t* from,
                                  bool exists) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to, i)),
               "l"(from), "r"(exists ? 16 : 0)
               : "memory");
}
/// Waits for all copies that this thread has started.
__device__ inline void copies_arrive() { asm volatile("cp.async.wait_all;" ::: "memory"); }

/// Four 8 x 8 matrices of 16-bit numbers, all 32 lanes together: lane l says at which element, a multiple of 8, row l % 8 of matrix
/// l / 8 begins, and gets of matrix m the numbers 2 (l % 4) and the next of row l / 4. PTX ISA, "ldmatrix".
__device__ inline void load_matrices(uint32_t (&d)[4], SharedArray<uint16_t> a, int i) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(shared_address(a, i))
               : "memory");
}
/// The same of the transposed matrices: a lane gets rows 2 (l % 4) and the next of column l / 4.
__device__ inline void load_matrices_turned(uint32_t (&d)[4], SharedArray<uint16_t> a, int i) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(shared_address(a, i))
               : "memory");
}

__device__ inline uint64_t double_bits(double x) {
  return static_cast<uint64_t>(__double_as_longlong(x));
}
__device__ inline uint16_t bf16_bits(float x) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(x));
}
__device__ inline uint16_t f16_bits(float x) { return __half_as_ushort(__float2half_rn(x)); }
__device__ inline float f16_value(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }

/// d += a b, 16 x 16 times 16 x 8, f32 sums; all 32 lanes together. Which lane holds what: PTX ISA, "Matrix Fragments for
/// mma.m16n8k16".
__device__ inline void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ inline void mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// launch() tells of every kernel; only an emulation has to know.
template <class... Params>
void kernel_exists(void (* /*kernel*/)(Params...)) {}

}  // namespace cria::cuda
