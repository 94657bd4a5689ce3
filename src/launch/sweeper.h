// A small process beside the launcher that clears what a killed mpirun leaves on this host (shared memory, session folder), even
// when the launcher itself was killed: the end of a pipe tells it.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "launch/process.h"

namespace cria {

class Sweeper {
 public:
  /// Forks it. Call before other descriptors are opened: it holds a copy of those that are open. Throws IoError.
  static Sweeper start();
  /// The process whose end it waits for: mpirun.
  void watch(pid_t starter);
  /// Open MPI's number of the job; the names of its shared memory hold it.
  void know_job(uint32_t job);
  /// Tells it that the run is over. It ends within half a second after the watched process; reap it with waitpid(-1).
  void finish() { orders_.reset(); }

 private:
  explicit Sweeper(Descriptor orders) : orders_(std::move(orders)) {}
  Descriptor orders_;
};

}  // namespace cria
