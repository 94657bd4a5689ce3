// What a GPU does at most, as far as a program can tell: one large product of its library, and copying memory.
#pragma once

#include <cstdint>
#include <optional>

#include "measure/peak.h"
#include "ops/device.h"

namespace cria {

class DevicePeaks : public PeakRates {
 public:
  /// Finds the sizes: products of n x n x n, with n doubled from 256 to at most 8192 while one takes less than 2 ms and a sixteenth
  /// of the free memory holds it, and as much memory as its three matrices take is copied. `device` outlives the object.
  DevicePeaks(ops::Device& device, ThreadPool& pool);
  /// Products of f32 and of bf16, copies; none of int8.
  [[nodiscard]] std::optional<PeakMethod> method(Peak peak) const override;
  /// A copied byte counts twice: it is read and written.
  [[nodiscard]] double rate(Peak peak) override;
  [[nodiscard]] int64_t size_bytes() const override {
    return static_cast<int64_t>(from_.size_bytes());
  }

 private:
  struct Product {
    Tensor a, b, c;
    Product(DType dtype, int64_t n, Memory* memory);
    void run(const ops::Exec& exec);
    [[nodiscard]] double operations() const;
  };
  Product fitting(DType dtype);

  ops::Device& device_;
  ops::Exec exec_;
  Product f32_, bf16_;
  Tensor from_, to_;
};

}  // namespace cria
