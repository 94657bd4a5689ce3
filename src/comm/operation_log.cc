#include "comm/operation_log.h"

#include <fmt/format.h>

#include <algorithm>

namespace cria {

int64_t OperationLog::begin(std::string_view kind, std::string_view group, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  Operation& o = ring_[static_cast<size_t>(count_) % kKept];
  o = {++count_, kind, std::string(group), bytes, std::chrono::steady_clock::now(), {}, false};
  return count_;
}

void OperationLog::end(int64_t number) {
  const std::lock_guard lock(mutex_);
  Operation& o = ring_[static_cast<size_t>(number - 1) % kKept];
  if (o.number != number) return;  // so old that it was overwritten
  o.ended = std::chrono::steady_clock::now();
  o.done = true;
}

OperationLog::Position OperationLog::position() const {
  const std::lock_guard lock(mutex_);
  if (count_ == 0) return {};
  const Operation& o = ring_[static_cast<size_t>(count_ - 1) % kKept];
  return {o.number, !o.done, std::string(o.kind), o.group};
}

std::string OperationLog::text() const {
  const std::lock_guard lock(mutex_);
  using Milliseconds = std::chrono::duration<double, std::milli>;
  std::string text;
  const int64_t first = std::max<int64_t>(0, count_ - static_cast<int64_t>(kKept));
  for (int64_t i = first; i < count_; ++i) {
    const Operation& o = ring_[static_cast<size_t>(i) % kKept];
    const Operation& oldest = ring_[static_cast<size_t>(first) % kKept];
    text += fmt::format("{} {} {} {} bytes at {:.3f} ms: ", o.number, o.kind, o.group, o.bytes,
                        Milliseconds(o.started - oldest.started).count());
    text += o.done ? fmt::format("{:.3f} ms\n", Milliseconds(o.ended - o.started).count())
                   : std::string("waiting\n");
  }
  return text;
}

}  // namespace cria
