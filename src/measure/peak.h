// What this processor can do at most: loops that do nothing but the limiting thing, multiply-adds in registers or reading memory.
// A share of a peak is a rate divided by one of these, measured in the same run on the same threads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/thread_pool.h"
#include "tensor/tensor.h"

namespace cria {

enum class Peak { f32, bf16, int8, read };
/// "fp32 multiply-adds", ...
std::string_view name_of(Peak peak);
/// "GFLOP", "GOP" for int8, "GB" for read.
std::string_view unit_of(Peak peak);

/// Independent chains of one instruction. Chain i starts at the value i in every lane of 32 bits, so that no compiler can merge two
/// of them, and each multiply-add adds `product`.
struct ComputeLoop {
  std::string_view instruction;
  int bits = 0;            // of a register
  int chains = 0;          // enough to hide the instruction's latency
  int64_t operations = 0;  // of one call; a multiply-add is two
  double product = 0;
  /// About a millisecond. Returns the sum of all lanes of all chains:
  /// bits / 32 * (0 + 1 + ... + chains - 1) + operations / 2 * product, exactly.
  double (*run)() = nullptr;
};

/// The fastest loop of the level in use (base/cpu.h). int8 takes VNNI where the processor has it, else multiplies and adds pairs
/// twice. Empty where the level has no instruction for it (pairs of bf16 below avx512_bf16), and for Peak::read.
std::optional<ComputeLoop> compute_loop(Peak peak);

/// Memory far beyond the caches, read from one end to the other.
class ReadLoop {
 public:
  /// At least 256 MiB and four times L3, at most an eighth of what is available. Touches it all.
  explicit ReadLoop(ThreadPool& pool);
  [[nodiscard]] int64_t size_bytes() const { return static_cast<int64_t>(memory_.size_bytes()); }
  void run(ThreadPool& pool) const;

 private:
  Tensor memory_;
};

/// How a peak is measured; empty for reading.
struct PeakMethod {
  std::string instruction;  // or the product
  int bits = 0;             // of a register
};

/// Peaks of what a job runs on.
class PeakRates {
 public:
  virtual ~PeakRates() = default;
  /// Nothing for a peak that this machine does not have.
  [[nodiscard]] virtual std::optional<PeakMethod> method(Peak peak) const = 0;
  /// Operations or bytes a second over about 0.1 s of wall time; 0 where there is no method.
  [[nodiscard]] virtual double rate(Peak peak) = 0;
  [[nodiscard]] virtual double rate_of_one(Peak peak) { return rate(peak); }
  /// Of the memory that is read.
  [[nodiscard]] virtual int64_t size_bytes() const = 0;
};

/// Those of the processor, on all threads of a pool and on one.
class Peaks : public PeakRates {
 public:
  /// The pool outlives the object.
  explicit Peaks(ThreadPool& all) : all_(all), reading_(all) {}
  [[nodiscard]] std::optional<PeakMethod> method(Peak peak) const override;
  [[nodiscard]] double rate(Peak peak) override { return rate(peak, all_); }
  [[nodiscard]] double rate_of_one(Peak peak) override { return rate(peak, one_); }
  [[nodiscard]] int64_t size_bytes() const override { return reading_.size_bytes(); }

 private:
  double rate(Peak peak, ThreadPool& pool) const;
  ThreadPool& all_;
  ThreadPool one_{1};
  ReadLoop reading_;
};

}  // namespace cria
