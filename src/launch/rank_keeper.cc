#include "launch/rank_keeper.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

#include "base/cpu.h"
#include "base/error.h"
#include "base/file.h"
#include "base/keeper.h"
#include "launch/process.h"
#include "launch/rank_report.h"

namespace cria {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kLookForParent = 100ms;  // how often we look whether mpirun is still there
constexpr auto kTimeToObey = 800ms;     // between SIGTERM and SIGKILL of the program
constexpr auto kTimeForLauncher =
    10s;  // after a failure: the launcher ends the run long before that
constexpr std::chrono::seconds kLongestToEnd = 24h;
constexpr auto kStoppedGoFirst = 1s;

std::optional<int> number_in(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr) return {};
  int value = 0;
  const char* end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, value);
  return error == std::errc() && stop == end && value >= 0 ? std::optional<int>(value)
                                                           : std::nullopt;
}

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "?";
}

void tell(const RankReport& report, const std::string& token) {
  const std::string line = report_line(report, token);
  // The launcher may be gone; the rank is kept all the same.
  if (write(STDOUT_FILENO, line.data(), line.size()) < 0) return;
}

/// By a signal (SIGSTOP); /proc/PID/stat has the state behind the program's name in brackets.
bool is_stopped(pid_t process) {
  std::ifstream in(fmt::format("/proc/{}/stat", process));
  std::string text;
  std::getline(in, text);
  const size_t name_end = text.rfind(')');
  return name_end != std::string::npos && text.substr(name_end).starts_with(") T");
}

/// Open MPI's number of this job; 0 without one.
uint32_t job_number(const RankPlace& place) {
  const char* job = std::getenv("PMIX_NAMESPACE");
  if (!place.under_mpirun || job == nullptr) return 0;
  return static_cast<uint32_t>(std::strtoul(job, nullptr, 10));
}

/// A killed rank leaves its shared memory; on other hosts than the launcher's nobody else looks.
void clear_shared_memory(const RankPlace& place) {
  std::error_code ignored;
  std::filesystem::remove(fmt::format("/dev/shm/vader_segment.{}.{}.{:x}.{}", host_name(),
                                      geteuid(), job_number(place), place.rank),
                          ignored);
}

class Keeper {
 public:
  explicit Keeper(const KeeperPlan& plan) : plan_(plan), place_(rank_place()) {}
  int run();

 private:
  void start();
  void on_signal(int number);
  void end_program(int signal);
  void look_whether_it_ends();
  bool program_ended();
  int after_failure();

  const KeeperPlan& plan_;
  RankPlace place_;
  RankReport report_;
  std::string log_;
  sigset_t signals_{};
  pid_t program_ = -1;
  pid_t parent_ = getppid();
  bool run_ended_ = false;  // by the launcher's or mpirun's wish
  bool parent_died_ = false;
  Clock::time_point kill_at_ = Clock::time_point::max();
  LineReader told_{Descriptor()};  // what the program says (base/keeper.h)
  int64_t seconds_to_end_ = 0;     // since it said that its work is done
  Clock::time_point end_by_ = Clock::time_point::max();
  bool done_everywhere_ = false, stood_still_ = false;
};

void Keeper::start() {
  make_folders(plan_.log_folder);
  log_ = join_path(plan_.log_folder, fmt::format("worker_{}.log", place_.rank));
  const Descriptor log(
      open(log_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644));
  require<IoError>(log.get() >= 0, "{}: cannot be written: {}", log_, std::strerror(errno));
  ChildPlan child;
  child.argv = plan_.program;
  child.out = child.err = log.get();
  child.signal_at_parents_death = SIGKILL;
  // srun hands our friendly stop to every process of a task, and to most programs it would be the end.
  child.ignored_signals = {SIGUSR2};
  const int share = std::max(1, available_cores() / std::max(1, place_.local_size));
  if (plan_.threads > 0 || std::getenv("CRIA_THREADS") == nullptr)
    child.environment = {
        {"CRIA_THREADS", fmt::format("{}", plan_.threads > 0 ? plan_.threads : share)}};
  if (!place_.under_mpirun && place_.size > 1) {
    child.environment.emplace_back("OMPI_COMM_WORLD_RANK", fmt::format("{}", place_.rank));
    child.environment.emplace_back("OMPI_COMM_WORLD_SIZE", fmt::format("{}", place_.size));
  }
  auto [read_end, write_end] = make_pipe();
  child.kept = write_end.get();
  child.environment.emplace_back(kKeeperVariable, fmt::format("{}", write_end.get()));
  told_ = LineReader(std::move(read_end));
  try {
    program_ = start_child(child);
  } catch (const Error& e) {
    tell({RankReport::Event::ended, place_.rank, getpid(), host_name(), 0, static_cast<int>(e.code),
          0, e.what()},
         plan_.token);
    throw;
  }
  report_ = {RankReport::Event::started, place_.rank, program_, host_name(),
             job_number(place_),         0,           0,        ""};
  tell(report_, plan_.token);
}

void Keeper::end_program(int signal) {
  if (program_ < 0) return;
  kill(-program_, signal);  // its whole process group
  if (signal != SIGTERM) return;
  kill(-program_, SIGCONT);  // a stopped process takes SIGTERM only when it goes on
}

void Keeper::on_signal(int number) {
  if (number == SIGUSR1) kill(program_, SIGUSR1);
  if (number == SIGUSR2) end_program(SIGTERM);
  if (number != SIGTERM && number != SIGINT && number != SIGHUP) return;
  run_ended_ = true;
  end_program(SIGTERM);
  kill_at_ = std::min(kill_at_, Clock::now() + kTimeToObey);
}

/// A program that is stopped keeps the others in MPI's end, who are as late as it is: it goes first, so that it is named.
void Keeper::look_whether_it_ends() {
  for (const std::string& line : told_.read_lines()) {
    const size_t space = std::min(line.find(' '), line.size() - 1) + 1;
    const auto [stop, error] =
        std::from_chars(line.data() + space, line.data() + line.size(), seconds_to_end_);
    if (error != std::errc() || seconds_to_end_ < 0) continue;
    end_by_ = Clock::now() + std::min(std::chrono::seconds(seconds_to_end_), kLongestToEnd);
    done_everywhere_ = line.starts_with("everywhere");
  }
  if (Clock::now() < end_by_ || stood_still_) return;
  const bool late = done_everywhere_ && Clock::now() > end_by_ + kStoppedGoFirst;
  if (!late && !is_stopped(program_)) return;
  stood_still_ = true;
  end_program(SIGKILL);
}

bool Keeper::program_ended() {
  int status = 0;
  if (waitpid(program_, &status, WNOHANG) != program_) return false;
  kill(-program_, SIGKILL);  // whatever it started itself
  report_.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  report_.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
  // A signal that we did not send is a cause of its own, even when mpirun noticed it before us.
  const bool ours = report_.signal == 0 || report_.signal == SIGTERM ||
                    (report_.signal == SIGKILL && Clock::now() > kill_at_);
  report_.event = run_ended_ && ours ? RankReport::Event::told_to_end : RankReport::Event::ended;
  if (stood_still_ && report_.signal == SIGKILL) {
    report_.signal = 0;
    report_.exit_code = static_cast<int>(ExitCode::no_progress);
    report_.last_line =
        fmt::format("{} {} s after its work was done", kStoodStill, seconds_to_end_);
  }
  return true;
}

int Keeper::after_failure() {
  const auto until = Clock::now() + kTimeForLauncher;
  while (Clock::now() < until && getppid() == parent_ && !run_ended_) {
    const timespec wait{0, 100'000'000};
    const int number = sigtimedwait(&signals_, nullptr, &wait);
    run_ended_ = number == SIGTERM || number == SIGINT || number == SIGHUP;
  }
  if (run_ended_) return 0;
  return report_.signal != 0 ? static_cast<int>(ExitCode::rank_died) : report_.exit_code;
}

int Keeper::run() {
  sigemptyset(&signals_);
  for (const int s : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD}) sigaddset(&signals_, s);
  sigprocmask(SIG_BLOCK, &signals_, nullptr);
  start();
  while (!program_ended()) {
    const timespec wait{0, std::chrono::nanoseconds(kLookForParent).count()};
    on_signal(sigtimedwait(&signals_, nullptr, &wait));
    if (!parent_died_ && getppid() != parent_) {
      parent_died_ = run_ended_ = true;
      kill_at_ = Clock::now();
    }
    if (Clock::now() > kill_at_) end_program(SIGKILL);
    look_whether_it_ends();
  }
  if (place_.under_mpirun) clear_shared_memory(place_);
  if (!stood_still_ && (report_.signal != 0 || report_.exit_code != 0))
    report_.last_line = last_error_line(log_);
  tell(report_, plan_.token);
  return report_.failed() ? after_failure() : 0;
}

}  // namespace

RankPlace rank_place() {
  RankPlace place;
  const auto rank = number_in("OMPI_COMM_WORLD_RANK"), size = number_in("OMPI_COMM_WORLD_SIZE");
  if (rank && size) {
    place = {*rank, *size, number_in("OMPI_COMM_WORLD_LOCAL_SIZE").value_or(1), true};
  } else if (const auto slurm = number_in("SLURM_PROCID")) {
    const int tasks = number_in("SLURM_NTASKS").value_or(1);
    const int nodes = std::max(1, number_in("SLURM_NNODES").value_or(1));
    place = {*slurm, tasks, std::max(1, (tasks + nodes - 1) / nodes), false};
  }
  return place;
}

int keep_rank(const KeeperPlan& plan) { return Keeper(plan).run(); }

}  // namespace cria
