// The keeper of one rank: what mpirun (or srun) starts on each host in place of the program. It starts the program with its
// output in a log of its own, tells the launcher when that began and how it ended, and never lets it outlive us.
#pragma once

#include <string>
#include <vector>

namespace cria {

struct KeeperPlan {
  std::vector<std::string> program;  // its words; the first is a path
  std::string log_folder;            // worker_<rank>.log goes here
  std::string token;                 // marks the reports of this run (launch/rank_report.h)
  int threads =
      0;  // CRIA_THREADS of the program; 0: as it is set, else its share of this host's cores
};

/// Which rank this process is, of how many, and how many are on this host: by Open MPI's variables, else Slurm's, else 0 of 1.
struct RankPlace {
  int rank = 0, size = 1, local_size = 1;
  bool under_mpirun = false;
};
RankPlace rank_place();

/// Keeps the rank until it has ended. Returns 0 when it ended well or was stopped after saving (75), and when the launcher ended
/// the run; a failure's exit code otherwise, after a wait for the launcher to act first: mpirun alone would report less.
/// SIGUSR2 becomes SIGTERM (a friendly stop), SIGUSR1 is passed on, SIGTERM is passed on as the end of the run.
int keep_rank(const KeeperPlan& plan);

}  // namespace cria
