#include "measure/device_peak.h"

#include <fmt/core.h>

#include "measure/timing.h"
#include "ops/linear.h"

namespace cria {
namespace {

constexpr int64_t kLeast = 256, kMost = 8192;
constexpr double kLongEnough = 2e-3;

}  // namespace

DevicePeaks::Product::Product(DType dtype, int64_t n, Memory* memory)
    : a(dtype, n, n, memory), b(dtype, n, n, memory), c(dtype, n, n, memory) {}

void DevicePeaks::Product::run(const ops::Exec& exec) { ops::linear(a, b, c, exec); }

double DevicePeaks::Product::operations() const {
  const auto n = static_cast<double>(a.rows());
  return 2 * n * n * n;
}

DevicePeaks::Product DevicePeaks::fitting(DType dtype) {
  const int64_t most_bytes = device_.available() / 16;
  for (int64_t n = kLeast;; n *= 2) {
    Product product(dtype, n, &device_);
    product.run(exec_);  // what the first one prepares is not timed
    device_.wait();
    const Stopwatch watch;
    product.run(exec_);
    device_.wait();
    const bool larger_fits = 12 * bytes_of(dtype, n * n) <= most_bytes;
    if (n == kMost || watch.seconds() >= kLongEnough || !larger_fits) return product;
  }
}

DevicePeaks::DevicePeaks(ops::Device& device, ThreadPool& pool)
    : device_(device),
      exec_{.pool = pool, .device = &device},
      f32_(fitting(DType::f32)),
      bf16_(fitting(DType::bf16)),
      from_(DType::f32, 3, bf16_.a.rows() * bf16_.a.rows() / 2, &device),
      to_(DType::f32, from_.rows(), from_.cols(), &device) {}

std::optional<PeakMethod> DevicePeaks::method(Peak peak) const {
  if (peak == Peak::read) return PeakMethod();
  if (peak == Peak::int8) return std::nullopt;
  const int64_t n = peak == Peak::f32 ? f32_.a.rows() : bf16_.a.rows();
  return PeakMethod{.instruction = fmt::format("a product of {} x {} x {}", n, n, n)};
}

double DevicePeaks::rate(Peak peak) {
  constexpr double kSeconds = 0.1;
  constexpr int kTogether = 8;  // between two looks at the clock
  if (peak == Peak::int8) return 0;
  Product& product = peak == Peak::f32 ? f32_ : bf16_;
  const auto once = [&] {
    if (peak != Peak::read) return product.run(exec_);
    device_.convert(from_, to_);
  };
  once();
  device_.wait();
  const Stopwatch watch;
  double times = 0, seconds = 0;
  do {
    for (int i = 0; i < kTogether; ++i) once();
    device_.wait();
    times += kTogether;
    seconds = watch.seconds();
  } while (seconds < kSeconds);
  const double work =
      peak == Peak::read ? 2 * static_cast<double>(from_.size_bytes()) : product.operations();
  return times * work / seconds;
}

}  // namespace cria
