// Starts the ranks of a run, watches them, and ends them all when one fails.
#pragma once

#include <string>
#include <vector>

#include "launch/mpi_command.h"

namespace cria {

struct LaunchPlan {
  StartRequest start;
  std::vector<std::string> program;  // its words
  std::string log_folder = "output/msrun_log";
  double cluster_time_out = 600;  // seconds until every rank has started; negative: for ever
  int threads_per_rank = 0;       // 0: the rank's share of its host's cores
  int restarts = 0;
  std::string checkpoint_folder = "output/checkpoint";  // where --restarts looks for progress
  bool tee = false;                                     // print what rank 0 says, too
};

/// What can be said before anything starts: throws UsageError when the program, mpirun or the hostfile is not there, or numbers
/// make no sense; IoError when the log folder cannot be written.
void check_launch(const LaunchPlan& plan);

/// Runs until all ranks have ended, and returns the exit code: 0; 75 when all were stopped and had saved; the failing rank's code,
/// or 6 when a signal killed it or it never started; 130 or 143 after a second SIGINT or SIGTERM. Writes it to
/// <log_folder>/exit_code as well. Messages go to stderr and <log_folder>/scheduler.log.
/// When it returns, no process that it started is left on this host.
int launch(const LaunchPlan& plan);

}  // namespace cria
