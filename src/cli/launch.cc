// cria launch: the ranks of a run; cria launch-rank: one of them, started by mpirun.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/flags.h"
#include "cli/commands.h"
#include "launch/launcher.h"
#include "launch/rank_keeper.h"

namespace cria::cli {

namespace {

/// Ours before `--`, the program's words behind it.
std::pair<std::vector<std::string>, std::vector<std::string>> split_at_program(
    const std::vector<std::string>& arguments) {
  const auto at = std::find(arguments.begin(), arguments.end(), "--");
  if (at == arguments.end()) return {arguments, {}};
  return {{arguments.begin(), at}, {at + 1, arguments.end()}};
}

/// Goes on in a process that no terminal reaches; its words are in scheduler.log alone.
int launch_behind(const LaunchPlan& plan) {
  check_launch(plan);
  const pid_t supervisor = fork();
  require<IoError>(supervisor >= 0, "launch: cannot start the supervisor");
  if (supervisor != 0) {
    fmt::print("launch: process {} watches the ranks; their exit code will be in {}\n", supervisor,
               join_path(plan.log_folder, "exit_code"));
    return 0;
  }
  setsid();
  const int nothing = open("/dev/null", O_RDWR);
  for (const int fd : {0, 1, 2}) dup2(nothing, fd);
  return launch(plan);
}

}  // namespace

int launch(const std::string& name, const std::vector<std::string>& arguments) {
  const auto [ours, program] = split_at_program(arguments);
  LaunchPlan plan;
  plan.program = program;
  plan.tee = true;
  int64_t ranks = 1, threads = 0, restarts = 0;
  bool join = true;
  Flags flags(name,
              "Starts the ranks of a run on mpirun (srun inside a Slurm allocation), keeps a log "
              "for each, and ends all when one fails. docs/launching.md.",
              "  cria launch --nproc 2 -- run_llama3 --config run_llama3_8b.yaml --run_mode train\n"
              "  cria launch --nproc 16 --hostfile hosts --restarts 3 -- run_llama3 ...");
  flags.integer("nproc", ranks, "ranks in all");
  flags.text("hostfile", plan.start.hostfile, "Open MPI's: lines `host slots=N`; empty: this host");
  flags.text("log_dir", plan.log_folder, "worker_<rank>.log, scheduler.log, exit_code");
  flags.boolean("join", join, "false: return at once; a supervisor stays");
  flags.number("cluster_time_out", plan.cluster_time_out,
               "seconds until every rank has started; negative: for ever");
  flags.integer("restarts", restarts, "so often start again from the newest checkpoint");
  flags.text("checkpoint_dir", plan.checkpoint_folder, "where --restarts looks for progress");
  flags.integer("threads_per_rank", threads, "0: the rank's share of its host's cores");
  flags.boolean("tee", plan.tee, "print what rank 0 says");
  flags.texts("mpi_args", plan.start.mpi_args, "further words for mpirun or srun");
  flags.alias("worker_num", "nproc");
  if (!flags.parse(ours)) return 0;
  require(ranks >= 1 && ranks <= 65536, "--nproc is {}, expected 1 to 65536", ranks);
  require(threads >= 0 && threads <= 4096, "--threads_per_rank is {}, expected 0 to 4096", threads);
  require(restarts >= 0 && restarts <= 1'000'000, "--restarts is {}, expected 0 to 1000000",
          restarts);
  plan.start.ranks = static_cast<int>(ranks);
  plan.threads_per_rank = static_cast<int>(threads);
  plan.restarts = static_cast<int>(restarts);
  return join ? cria::launch(plan) : launch_behind(plan);
}

int launch_rank(const std::string& name, const std::vector<std::string>& arguments) {
  const auto [ours, program] = split_at_program(arguments);
  KeeperPlan plan;
  plan.program = program;
  int64_t threads = 0;
  Flags flags(name, "What `cria launch` starts for each rank; not for use by hand.", "");
  flags.text("log_dir", plan.log_folder, "");
  flags.text("token", plan.token, "");
  flags.integer("threads_per_rank", threads, "");
  if (!flags.parse(ours)) return 0;
  require(!program.empty() && !plan.log_folder.empty(), "{}: not for use by hand", name);
  plan.threads = static_cast<int>(threads);
  return keep_rank(plan);
}

}  // namespace cria::cli
