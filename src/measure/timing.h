// Clocks, and what is said of several runs of the same work.
#pragma once

#include <chrono>
#include <span>

namespace cria {

/// Wall time since it was made.
class Stopwatch {
 public:
  [[nodiscard]] double seconds() const {
    return std::chrono::duration<double>(Clock::now() - start_).count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

/// Processor time of this process, all threads, user and system, in seconds. Threads that wait for one another spin for a while.
double processor_seconds();

struct Summary {
  double median = 0;  // the mean of the middle two of an even number
  double least = 0, most = 0;
  /// (most - least) / median.
  [[nodiscard]] double spread() const { return median > 0 ? (most - least) / median : 0; }
};
/// At least one value.
Summary summary(std::span<const double> values);

}  // namespace cria
