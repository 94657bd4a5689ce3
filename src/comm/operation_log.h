// The last operations of one rank, for the day it hangs.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

namespace cria {

/// One collective or transfer.
struct Operation {
  int64_t number = 0;          // counted from 1 over all groups of the rank
  std::string_view kind = "";  // "all_reduce", ...; a literal
  std::string group;
  int64_t bytes = 0;
  std::chrono::steady_clock::time_point started, ended;
  bool done = false;
};

/// A ring of the last 256. begin/end are called by the rank's own thread; text() by any.
class OperationLog {
 public:
  static constexpr size_t kKept = 256;
  int64_t begin(std::string_view kind, std::string_view group, int64_t bytes);
  void end(int64_t number);
  /// One line each, oldest first: number, kind, group, bytes, start and length in ms (or "waiting").
  [[nodiscard]] std::string text() const;

 private:
  mutable std::mutex mutex_;
  std::array<Operation, kKept> ring_;
  int64_t count_ = 0;
};

}  // namespace cria
