#include "base/progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

namespace cria {

std::string clock_text(double seconds) {
  const int64_t s = std::llround(std::max(0.0, seconds));
  if (s >= 3600) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  return fmt::format("{}:{:02}", s / 60, s % 60);
}

Progress::Progress(std::string title, int64_t total, std::string unit)
    : title_(std::move(title)),
      unit_(std::move(unit)),
      total_(total),
      terminal_(isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (shown_) draw(true);
}

void Progress::advance(int64_t items, const std::string& note) {
  done_ += items;
  note_ = note;
  // Ten frames a second for eyes, a line every ten seconds for logs; nothing for work under a
  // second.
  const auto now = Clock::now();
  const auto pause = terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(10000);
  if (now - start_ < std::chrono::seconds(1) || (shown_ && now - drawn_ < pause)) return;
  drawn_ = now;
  draw(false);
}

void Progress::draw(bool last) {
  shown_ = true;
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  const double rate = static_cast<double>(done_) / std::max(seconds, 1e-9);
  const double share =
      total_ > 0 ? std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_)) : 0;
  constexpr int width = 24;
  std::string bar;
  for (int i = 0; i < width; ++i) bar += i < std::lround(share * width) ? "█" : "░";
  const double left = rate > 0 ? static_cast<double>(total_ - done_) / rate : 0;
  fmt::print(stderr, "{}{} {} {:3.0f}% {}/{} {} {:.4g}/s {} {}{}{}", terminal_ ? "\r\x1b[2K" : "",
             title_, bar, 100 * share, done_, total_, unit_, rate, last ? "took" : "left",
             clock_text(last ? seconds : left), note_.empty() ? "" : "  " + note_,
             (terminal_ && !last) ? "" : "\n");
}

}  // namespace cria
