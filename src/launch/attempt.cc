#include "launch/attempt.h"

#include <fmt/format.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>

#include "base/error.h"
#include "base/file.h"

namespace cria {

namespace {

using namespace std::chrono_literals;

constexpr auto kGatherFailures =
    300ms;  // the rank that failed first is named, not one that lost its peer
constexpr auto kTimeToEnd = 3500ms;  // for mpirun to end all ranks; it gives them 1 s
constexpr auto kTimeToSweep = 1s;    // for processes that lost mpirun, before SIGKILL

std::string random_token() {
  std::array<unsigned char, 16> bytes{};
  require<IoError>(getrandom(bytes.data(), bytes.size(), 0) == ssize_t{bytes.size()},
                   "no random bytes");
  std::string token;
  for (const unsigned char b : bytes) token += fmt::format("{:02x}", b);
  return token;
}

std::string signal_name(int signal) {
  const char* name = sigabbrev_np(signal);
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", signal);
}

}  // namespace

sigset_t watched_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int s : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD}) sigaddset(&set, s);
  return set;
}

Attempt::Attempt(const LaunchPlan& plan, std::vector<std::string> words, LaunchLog& log)
    : plan_(plan),
      words_(std::move(words)),
      log_(log),
      command_(start_command(plan.start)),
      token_(random_token()),
      sweeper_(Sweeper::start()),
      out_(Descriptor()),
      err_(Descriptor()),
      ranks_(static_cast<size_t>(plan.start.ranks)) {}

void Attempt::start() {
  ChildPlan child;
  child.argv = command_.argv;
  child.argv.insert(child.argv.end(),
                    {own_path(), "launch-rank", "--log_dir", plan_.log_folder, "--token", token_,
                     "--threads_per_rank", fmt::format("{}", plan_.threads_per_rank), "--"});
  child.argv.insert(child.argv.end(), words_.begin(), words_.end());
  child.environment = command_.environment;
  child.signal_at_parents_death = SIGTERM;
  auto [out_read, out_write] = make_pipe();
  auto [err_read, err_write] = make_pipe();
  child.out = out_write.get();
  child.err = err_write.get();
  log_.say("runs: " + as_typed(child.argv));
  child_ = start_child(child);
  sweeper_.watch(child_);
  out_ = LineReader(std::move(out_read));
  err_ = LineReader(std::move(err_read));
  if (plan_.cluster_time_out >= 0)
    start_deadline_ = Clock::now() + std::chrono::milliseconds(
                                         static_cast<int64_t>(plan_.cluster_time_out * 1000));
}

void Attempt::wait_a_moment() {
  const sigset_t signals = watched_signals();
  const timespec wait{0, 20'000'000};
  const int number = sigtimedwait(&signals, nullptr, &wait);
  if (number == SIGUSR1) kill(child_, SIGUSR1);
  if (number == SIGTERM || number == SIGINT || number == SIGHUP) friendly_stop(number);
}

void Attempt::friendly_stop(int signal) {
  stop_signal_ = signal;
  if (++stop_requests_ == 1 && started() == plan_.start.ranks) {
    log_.say(fmt::format("{}: asks the ranks to save and stop; once more ends them at once",
                         signal_name(signal)));
    kill(child_, SIGUSR2);
    return;
  }
  log_.say(fmt::format("{}: ends the ranks", signal_name(signal)));
  end_run();
}

void Attempt::end_run() {
  if (ending_) return;
  ending_ = true;
  kill(child_, SIGTERM);
  kill_at_ = Clock::now() + kTimeToEnd;
}

void Attempt::take_reports() {
  for (const std::string& line : out_.read_lines()) {
    if (const auto report = parse_report(line, token_)) {
      take_report(*report);
    } else {
      log_.note(line);
    }
  }
  for (const std::string& line : err_.read_lines()) log_.note(line);
}

void Attempt::take_report(const RankReport& report) {
  if (report.rank >= plan_.start.ranks) return;
  ranks_[static_cast<size_t>(report.rank)] = report;
  if (report.event == RankReport::Event::started) {
    if (report.job != 0) sweeper_.know_job(report.job);
    log_.note(
        fmt::format("rank {} runs on {} as process {}", report.rank, report.host, report.pid));
    if (started() == plan_.start.ranks) start_deadline_ = Clock::time_point::max();
    return;
  }
  log_.note(fmt::format("rank {} ended{}: exit code {}, signal {}", report.rank,
                        report.event == RankReport::Event::ended ? "" : " as it was told",
                        report.exit_code, report.signal));
  if (!report.failed() || ending_) return;
  // A rank that ends with 6 tells of another's death; that other one is the cause.
  const auto of_another = [](const RankReport& r) {
    return r.signal == 0 && r.exit_code == static_cast<int>(ExitCode::rank_died);
  };
  if (!failure_ || (of_another(*failure_) && !of_another(report))) failure_ = report;
  end_at_ = std::min(end_at_, Clock::now() + kGatherFailures);
}

int Attempt::started() const {
  return static_cast<int>(
      std::count_if(ranks_.begin(), ranks_.end(), [](const auto& r) { return r.has_value(); }));
}

void Attempt::look_at_deadlines() {
  const auto now = Clock::now();
  if (now > start_deadline_ && !ending_) {
    start_deadline_ = Clock::time_point::max();
    std::string missing;
    for (size_t r = 0; r < ranks_.size(); ++r)
      if (!ranks_[r]) missing += fmt::format("{}{}", missing.empty() ? "" : ", ", r);
    log_.say(fmt::format(
        "error: {} of {} ranks have not started within {} s: {}; try: "
        "--cluster_time_out, or see scheduler.log",
        plan_.start.ranks - started(), plan_.start.ranks, plan_.cluster_time_out, missing));
    failing_code_ = static_cast<int>(ExitCode::rank_died);
    end_run();
  }
  if (now > end_at_ && !ending_) {
    name_failure();
    end_run();
  }
  if (now > kill_at_) {
    kill_at_ = Clock::time_point::max();
    kill(child_, SIGKILL);
  }
}

/// Whom others gave up waiting for, and who did not give up itself: it stands still, the others only wait in a chain. Or who stood
/// still at the end.
std::string Attempt::stalled_ranks() const {
  std::set<int> waited_for, gave_up;
  for (const auto& r : ranks_) {
    if (!r || r->exit_code != static_cast<int>(ExitCode::no_progress)) continue;
    gave_up.insert(r->rank);
    for (const int rank : ranks_waited_for(r->last_line)) waited_for.insert(rank);
  }
  std::vector<int> stalled;
  std::ranges::set_difference(waited_for, gave_up, std::back_inserter(stalled));
  if (failure_->last_line.starts_with(kStoodStill)) stalled = {failure_->rank};
  if (stalled.empty()) return "";
  return fmt::format("error: rank {} stalled: others waited for it in vain; ",
                     fmt::join(stalled, ", "));
}

void Attempt::name_failure() {
  const RankReport& f = *failure_;
  const std::string how = f.signal != 0 ? "was killed by " + signal_name(f.signal)
                                        : fmt::format("ended with exit code {}", f.exit_code);
  const std::string stalled = stalled_ranks();
  log_.say(fmt::format("{}rank {} on {} (process {}) {}; all ranks are ended{}",
                       stalled.empty() ? "error: " : stalled, f.rank, f.host, f.pid, how,
                       f.last_line.empty() ? "" : "; its last words: " + f.last_line));
  failing_code_ = f.signal != 0 ? static_cast<int>(ExitCode::rank_died) : f.exit_code;
}

void Attempt::reap() {
  int status = 0;
  for (pid_t p; (p = waitpid(-1, &status, WNOHANG)) > 0;)
    if (p == child_) child_status_ = status;
}

/// Processes whose parents died come to us (PR_SET_CHILD_SUBREAPER): we wait a little for the ranks to follow mpirun, then kill.
void Attempt::sweep() {
  sweeper_.finish();
  const auto until = Clock::now() + kTimeToSweep;
  while (waitpid(-1, nullptr, WNOHANG) >= 0) {
    if (Clock::now() > until)
      for (const pid_t p : own_children()) kill(p, SIGKILL);
    take_reports();
    usleep(10'000);
  }
  take_reports();
}

void Attempt::tee_rank_0(bool last) {
  if (!plan_.tee) return;
  std::ifstream in(join_path(plan_.log_folder, "worker_0.log"), std::ios::binary);
  if (!ranks_[0] || !in) return;
  in.seekg(teed_);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  // Whole lines, so that ours do not fall into the middle of one.
  if (!last) text.resize(text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1);
  teed_ += static_cast<int64_t>(text.size());
  fmt::print("{}", text);
  std::fflush(stdout);
}

int Attempt::outcome() {
  if (stop_requests_ > 0 && ending_) return 128 + stop_signal_;
  if (failing_code_ != 0) return failing_code_;
  if (failure_) {
    name_failure();
    return failing_code_;
  }
  int code = 0;
  std::string unknown;
  for (size_t r = 0; r < ranks_.size(); ++r) {
    if (!ranks_[r] || ranks_[r]->event != RankReport::Event::ended)
      unknown += fmt::format("{}{}", unknown.empty() ? "" : ", ", r);
    else
      code = std::max(code, ranks_[r]->exit_code);
  }
  if (unknown.empty()) return code;
  const std::string words = base_name(command_.argv.empty() ? own_path() : command_.argv[0]);
  const int status = child_status_.value_or(0);
  const std::string how = WIFSIGNALED(status)
                              ? "was killed by " + signal_name(WTERMSIG(status))
                              : fmt::format("ended with exit code {}", WEXITSTATUS(status));
  log_.say(fmt::format("error: {} {} before these ranks had ended by themselves: {}", words, how,
                       unknown));
  for (const std::string& line : log_.last_notes()) fmt::print(stderr, "  {}\n", line);
  return static_cast<int>(ExitCode::rank_died);
}

int Attempt::run() {
  start();
  while (!child_status_) {
    wait_a_moment();
    take_reports();
    look_at_deadlines();
    tee_rank_0(false);
    reap();
  }
  sweep();
  tee_rank_0(true);
  return outcome();
}

}  // namespace cria
