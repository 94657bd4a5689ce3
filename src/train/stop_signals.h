// SIGTERM, SIGINT and SIGUSR1 as flags that the loop reads between steps.
#pragma once

#include <csignal>

namespace cria {

/// From here on SIGUSR1 does not end the program, which may long be loading: the next run saves after its first step.
void hold_save_requests();

/// While one lives: the first SIGTERM or SIGINT asks for a stop after the running step; a second one ends the program at once
/// (the last checkpoint stays valid). SIGUSR1 asks for a save. The old handlers come back at the end.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  [[nodiscard]] bool stop_asked() const;
  /// True once per request.
  bool take_save_asked();

 private:
  struct sigaction old_term_ = {}, old_int_ = {}, old_usr1_ = {};
};

}  // namespace cria
