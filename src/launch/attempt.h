// One start of all ranks, from fork to the last process gone.
#pragma once

#include <chrono>
#include <csignal>
#include <optional>
#include <string>
#include <vector>

#include "launch/launch_log.h"
#include "launch/launcher.h"
#include "launch/process.h"
#include "launch/rank_report.h"
#include "launch/sweeper.h"

namespace cria {

class Attempt {
 public:
  /// `words`: of the program, its path first. The signals of `watched_signals()` must be blocked.
  Attempt(const LaunchPlan& plan, std::vector<std::string> words, LaunchLog& log);
  /// The exit code of launch().
  int run();
  /// True when the user asked us to stop: no restart then.
  [[nodiscard]] bool stopped_by_user() const { return stop_requests_ > 0; }

 private:
  using Clock = std::chrono::steady_clock;

  void start();
  void wait_a_moment();
  void take_reports();
  void take_report(const RankReport& report);
  void reap();
  void look_at_deadlines();
  void friendly_stop(int signal);
  void end_run();
  void sweep();
  void tee_rank_0(bool last);
  [[nodiscard]] std::string stalled_ranks() const;
  void name_failure();
  [[nodiscard]] int started() const;
  [[nodiscard]] int outcome();

  const LaunchPlan& plan_;
  std::vector<std::string> words_;
  LaunchLog& log_;
  StartCommand command_;
  std::string token_;
  Sweeper sweeper_;
  LineReader out_, err_;
  pid_t child_ = -1;
  std::optional<int> child_status_;
  std::vector<std::optional<RankReport>> ranks_;
  std::optional<RankReport> failure_;
  int failing_code_ = 0;
  int stop_requests_ = 0, stop_signal_ = 0;
  bool ending_ = false;
  Clock::time_point start_deadline_ = Clock::time_point::max();
  Clock::time_point end_at_ = Clock::time_point::max();
  Clock::time_point kill_at_ = Clock::time_point::max();
  int64_t teed_ = 0;
};

/// What the launcher waits for with sigtimedwait; block them before the first Attempt.
sigset_t watched_signals();

}  // namespace cria
