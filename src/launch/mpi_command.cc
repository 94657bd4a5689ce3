#include "launch/mpi_command.h"

#include <sys/uio.h>
#include <unistd.h>

#include <cstdlib>

#include "base/error.h"
#include "base/file.h"
#include "launch/process.h"

namespace cria {

namespace {

using Settings = std::vector<std::pair<std::string, std::string>>;

void set_unless_given(Settings& settings, const std::string& name, const std::string& value) {
  if (std::getenv(name.c_str()) == nullptr) settings.emplace_back(name, value);
}

/// Many containers forbid copying straight out of another process; Open MPI would fail at its first large message.
bool may_copy_between_processes() {
  int from = 1, to = 0;
  const iovec local{&to, sizeof to}, remote{&from, sizeof from};
  return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == sizeof to;
}

Settings open_mpi_settings(bool one_host) {
  Settings s;
  if (geteuid() == 0) {
    set_unless_given(s, "OMPI_ALLOW_RUN_AS_ROOT", "1");
    set_unless_given(s, "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
  }
  const auto mca = [&](const std::string& name, const std::string& value) {
    set_unless_given(s, "OMPI_MCA_" + name, value);
  };
  mca("mpi_yield_when_idle", "1");
  mca("rmaps_base_oversubscribe", "1");
  mca("hwloc_base_binding_policy", "none");
  mca("odls_base_sigkill_timeout", "1");
  // A host that vanished is noticed after 3 + 3 x 1 seconds, not after minutes.
  mca("oob_tcp_keepalive_time", "3");
  mca("oob_tcp_keepalive_intvl", "1");
  mca("oob_tcp_keepalive_probes", "3");
  if (!may_copy_between_processes()) mca("btl_vader_single_copy_mechanism", "none");
  if (one_host) {
    mca("oob_tcp_if_include", "lo");
    mca("pml", "ob1");
    mca("btl", "self,vader");
  }
  return s;
}

}  // namespace

StartCommand start_command(const StartRequest& r) {
  StartCommand c;
  if (!r.hostfile.empty())
    require(is_file(r.hostfile), "--hostfile {}: no such file", escaped(r.hostfile, 200));
  const bool slurm = std::getenv("SLURM_JOB_ID") != nullptr && r.hostfile.empty();
  const std::string srun = slurm ? find_program("srun", false) : "";
  if (r.ranks == 1 && r.hostfile.empty()) return c;
  if (!srun.empty()) {
    c.starter = Starter::srun;
    c.argv = {
        srun,          "--ntasks", fmt::format("{}", r.ranks), "--mpi=pmix", "--kill-on-bad-exit=1",
        "--unbuffered"};
    c.environment = open_mpi_settings(false);
  } else {
    const std::string mpirun = find_program("mpirun", false);
    require(!mpirun.empty(),
            "launch: no mpirun in PATH; it starts the {} ranks; try: apt-get install openmpi-bin",
            r.ranks);
    c.starter = Starter::mpirun;
    c.argv = {mpirun, "-n", fmt::format("{}", r.ranks)};
    if (!r.hostfile.empty()) c.argv.insert(c.argv.end(), {"--hostfile", r.hostfile});
    // Ranks must agree on it, and ssh takes no environment along.
    if (!r.hostfile.empty() && std::getenv("CRIA_TRANSPORT") != nullptr)
      c.argv.insert(c.argv.end(), {"-x", "CRIA_TRANSPORT"});
    c.environment = open_mpi_settings(r.hostfile.empty() && !slurm);
    if (!r.remote_agent.empty()) {
      set_unless_given(c.environment, "OMPI_MCA_plm_rsh_agent", r.remote_agent);
      set_unless_given(c.environment, "OMPI_MCA_plm_rsh_no_tree_spawn", "1");
    }
  }
  c.argv.insert(c.argv.end(), r.mpi_args.begin(), r.mpi_args.end());
  return c;
}

std::string as_typed(const std::vector<std::string>& words) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./@%^";
  std::string out;
  for (const std::string& word : words) {
    if (!out.empty()) out += ' ';
    if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) {
      out += word;
      continue;
    }
    out += '\'';
    for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    out += '\'';
  }
  return out;
}

}  // namespace cria
