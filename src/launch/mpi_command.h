// How the ranks of a run are started: the words and the environment of mpirun, of srun, or of nothing for one rank alone.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace cria {

enum class Starter { alone, mpirun, srun };

struct StartCommand {
  Starter starter = Starter::alone;
  std::vector<std::string> argv;  // without the program
  std::vector<std::pair<std::string, std::string>> environment;
};

struct StartRequest {
  int ranks = 1;
  std::string hostfile;      // Open MPI's form; empty: this host alone (or the allocation's nodes)
  std::string remote_agent;  // what starts a daemon on another host in place of ssh; may be empty
  std::vector<std::string> mpi_args;  // further words for mpirun or srun
};

/// One rank without a hostfile starts alone; inside a Slurm allocation srun is used, else mpirun. Settings of Open MPI go through
/// the environment, where the user's own setting of the same name wins.
/// Throws UsageError when neither is installed or the hostfile is not there.
StartCommand start_command(const StartRequest& request);

/// The words of a command as one would type them.
std::string as_typed(const std::vector<std::string>& words);

}  // namespace cria
