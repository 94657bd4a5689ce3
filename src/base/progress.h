// Progress of anything longer than a second: a bar with rate and time left on a terminal, lines in
// a pipe.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace cria {

class Progress {
 public:
  /// `total` items of `unit`, e.g. Progress("convert", 291, "tensors"). Prints to stderr only.
  Progress(std::string title, int64_t total, std::string unit);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// `note` is shown after the numbers, e.g. the loss.
  void advance(int64_t items = 1, const std::string& note = {});

 private:
  void draw(bool last);
  using Clock = std::chrono::steady_clock;
  std::string title_, unit_, note_;
  int64_t total_, done_ = 0;
  Clock::time_point start_ = Clock::now(), drawn_ = start_;
  bool terminal_, shown_ = false;
};

/// 75 s as "1:15", an hour and more as "H:MM:SS".
std::string clock_text(double seconds);

}  // namespace cria
