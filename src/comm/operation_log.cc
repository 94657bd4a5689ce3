#include "comm/operation_log.h"

#include <fmt/core.h>

#include <algorithm>

namespace cria {

int64_t OperationLog::begin(std::string_view kind, std::string_view group, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  ++count_;
  Operation& o = ring_[static_cast<size_t>(count_) % kKept];
  o.number = count_;
  o.kind = kind;
  o.group = group;
  o.bytes = bytes;
  o.started = std::chrono::steady_clock::now();
  o.done = false;
  return count_;
}

void OperationLog::end(int64_t number) {
  const std::lock_guard lock(mutex_);
  Operation& o = ring_[static_cast<size_t>(number) % kKept];
  if (o.number != number) return;  // long ago
  o.ended = std::chrono::steady_clock::now();
  o.done = true;
}

std::string OperationLog::text() const {
  const std::lock_guard lock(mutex_);
  const auto ms = [](auto from, auto to) {
    return std::chrono::duration<double, std::milli>(to - from).count();
  };
  std::string text;
  const int64_t first = std::max<int64_t>(1, count_ - static_cast<int64_t>(kKept) + 1);
  const auto start = count_ > 0 ? ring_[static_cast<size_t>(first) % kKept].started
                                : std::chrono::steady_clock::time_point();
  for (int64_t n = first; n <= count_; ++n) {
    const Operation& o = ring_[static_cast<size_t>(n) % kKept];
    text += fmt::format("{} {} {} {} bytes, at {:.3f} ms, {}\n", o.number, o.kind, o.group, o.bytes,
                        ms(start, o.started),
                        o.done ? fmt::format("{:.3f} ms", ms(o.started, o.ended)) : "waiting");
  }
  return text;
}

}  // namespace cria
