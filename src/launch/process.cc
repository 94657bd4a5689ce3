#include "launch/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/file.h"

namespace cria {

namespace {

[[noreturn]] void fail_in_child(int report) {
  const int reason = errno;
  // The parent reads the reason from the pipe; it has nothing else to learn from us.
  if (write(report, &reason, sizeof reason) < 0) _exit(126);
  _exit(127);
}

/// Between fork and exec only calls that are safe there.
[[noreturn]] void become(const ChildPlan& plan, char* const* argv, char* const* environment,
                         pid_t parent, int report) {
  setpgid(0, 0);
  if (plan.signal_at_parents_death != 0) {
    prctl(PR_SET_PDEATHSIG, plan.signal_at_parents_death);
    if (getppid() != parent) _exit(127);  // it died before we asked
  }
  const int nothing = open("/dev/null", O_RDONLY);
  if (nothing < 0 || dup2(nothing, 0) < 0) fail_in_child(report);
  if (plan.out >= 0 && dup2(plan.out, 1) < 0) fail_in_child(report);
  if (plan.err >= 0 && dup2(plan.err, 2) < 0) fail_in_child(report);
  if (plan.kept >= 0 && fcntl(plan.kept, F_SETFD, 0) < 0) fail_in_child(report);
  for (int s = 1; s < NSIG; ++s) signal(s, SIG_DFL);
  for (const int s : plan.ignored_signals) signal(s, SIG_IGN);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execve(argv[0], argv, environment);
  fail_in_child(report);
}

std::vector<std::string> merged_environment(const ChildPlan& plan) {
  std::vector<std::string> all;
  for (char** e = environ; *e != nullptr; ++e) {
    const std::string_view entry = *e;
    bool replaced = false;
    for (const auto& [name, value] : plan.environment) replaced |= entry.starts_with(name + "=");
    if (!replaced) all.emplace_back(entry);
  }
  for (const auto& [name, value] : plan.environment)
    all.push_back(fmt::format("{}={}", name, value));
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  out.reserve(words.size() + 1);
  for (std::string& w : words) out.push_back(w.data());
  out.push_back(nullptr);
  return out;
}

bool is_program(const std::string& path) {
  return is_file(path) && access(path.c_str(), X_OK) == 0;
}

}  // namespace

void Descriptor::reset() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

std::pair<Descriptor, Descriptor> make_pipe() {
  std::array<int, 2> ends{};
  require<IoError>(pipe2(ends.data(), O_CLOEXEC) == 0, "no pipe: {}", std::strerror(errno));
  return {Descriptor(ends[0]), Descriptor(ends[1])};
}

pid_t start_child(const ChildPlan& plan) {
  check(!plan.argv.empty(), "a child has a program");
  std::vector<std::string> words = plan.argv;
  std::vector<std::string> environment = merged_environment(plan);
  const std::vector<char*> argv = pointers(words), envp = pointers(environment);
  auto [read_end, write_end] = make_pipe();
  const pid_t self = getpid();
  const pid_t child = fork();
  require<IoError>(child >= 0, "{}: cannot start a process: {}", plan.argv[0],
                   std::strerror(errno));
  if (child == 0) become(plan, argv.data(), envp.data(), self, write_end.get());
  write_end.reset();
  int reason = 0;
  ssize_t got = 0;
  do got = read(read_end.get(), &reason, sizeof reason);
  while (got < 0 && errno == EINTR);
  require<IoError>(got == 0, "{}: cannot be started: {}", plan.argv[0], std::strerror(reason));
  return child;
}

std::string own_path() {
  const std::string path = program_path();
  require<IoError>(!path.empty(), "/proc/self/exe: cannot be read");
  return path;
}

std::string find_program(const std::string& name, bool beside_us) {
  if (name.find('/') != std::string::npos) return is_program(name) ? name : "";
  if (beside_us) {
    const std::string path = join_path(parent_folder(own_path()), name);
    if (is_program(path)) return path;
  }
  const char* variable = std::getenv("PATH");
  std::string_view folders = variable != nullptr ? variable : "/usr/local/bin:/usr/bin:/bin";
  while (!folders.empty()) {
    const size_t end = std::min(folders.find(':'), folders.size());
    const std::string_view folder = folders.substr(0, end);
    const std::string path = join_path(folder.empty() ? "." : folder, name);
    if (is_program(path)) return path;
    folders.remove_prefix(std::min(end + 1, folders.size()));
  }
  return "";
}

std::vector<std::string> LineReader::read_lines() {
  constexpr size_t kLongest = 64 << 10;
  std::vector<std::string> lines;
  while (open()) {
    pollfd ready{in_.get(), POLLIN, 0};
    if (poll(&ready, 1, 0) <= 0) break;
    std::array<char, 16384> bytes;
    const ssize_t got = read(in_.get(), bytes.data(), bytes.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      in_.reset();
      if (!rest_.empty()) lines.push_back(std::exchange(rest_, {}));
      break;
    }
    rest_.append(bytes.data(), static_cast<size_t>(got));
    size_t from = 0;
    for (size_t end; (end = rest_.find('\n', from)) != std::string::npos; from = end + 1)
      lines.push_back(rest_.substr(from, end - from));
    rest_.erase(0, from);
    if (rest_.size() > kLongest) lines.push_back(std::exchange(rest_, {}));
  }
  return lines;
}

std::vector<pid_t> own_children() {
  std::vector<pid_t> children;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream stat(entry.path() / "stat");
    std::string text;
    std::getline(stat, text);
    // The name in brackets may hold anything, brackets too; the parent is the second field behind the last one.
    const size_t bracket = text.rfind(')');
    if (bracket == std::string::npos || bracket + 4 > text.size()) continue;
    if (std::strtol(text.c_str() + bracket + 4, nullptr, 10) == getpid())
      children.push_back(static_cast<pid_t>(std::strtol(name.c_str(), nullptr, 10)));
  }
  return children;
}

}  // namespace cria
