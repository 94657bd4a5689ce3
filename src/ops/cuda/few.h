// Short lists in a kernel's own arguments, so that a decode step uploads nothing.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "cuda_language.h"
#include "ops/cuda/stream.h"

namespace cria::cuda {

/// A list as kernels take it: either of these, as a __grid_constant__.
template <class T>
struct Few {
  static constexpr size_t kMost = 32;
  T items[kMost];
  __device__ T operator[](int64_t i) const { return items[i]; }
};
template <class T>
struct Many {
  const T* items;
  __device__ T operator[](int64_t i) const { return items[i]; }
};

/// Calls body with the list.
template <class T, class Body>
void with_list(Stream& stream, std::span<const T> list, Body body) {
  if (list.size() > Few<T>::kMost) return body(Many<T>{stream.upload(list)});
  Few<T> few{};
  std::copy(list.begin(), list.end(), few.items);
  body(few);
}

}  // namespace cria::cuda
