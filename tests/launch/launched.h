// Starts a launcher in a folder of its own, as a user does, and looks at what it leaves on the machine.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"
#include "base/temporary_folder.h"
#include "launch/process.h"

namespace cria::test {

// Of a launcher and its ranks, on a busy machine too.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr unsigned kSecondsToLive = 1200;
#else
constexpr unsigned kSecondsToLive = 240;
#endif

using namespace std::chrono_literals;

/// Empty when it is not there, or goes while it is read, as files of processes do.
inline std::string slurp(const std::string& path) {
  const std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (in) text << in.rdbuf();
  return text.str();
}

/// A shell script that plays the program of a rank; $1 and so on are the words behind it.
inline std::string write_script(const TemporaryFolder& folder, const std::string& name,
                                const std::string& text) {
  std::ofstream(folder / name) << "#!/bin/sh\n" << text << "\n";
  std::filesystem::permissions(folder / name, std::filesystem::perms::owner_all);
  return folder / name;
}

/// Waits until `done` holds; false when it does not within the time.
template <class Done>
bool within(std::chrono::milliseconds time, Done done) {
  const auto until = std::chrono::steady_clock::now() + time;
  while (!done()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(10ms);
  }
  return true;
}

class Launched {
 public:
  using Environment = std::vector<std::pair<std::string, std::string>>;

  /// `words` go to `cria`, or are the whole command when `whole`. Output goes to the folder's files said.out and said.err.
  Launched(const TemporaryFolder& folder, const std::vector<std::string>& words,
           const Environment& environment = {}, bool whole = false)
      : folder_(folder) {
    pid_ = fork();
    if (pid_ != 0) return;
    if (chdir(folder.path().c_str()) != 0) _exit(126);
    for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
    if (std::freopen((folder / "said.out").c_str(), "w", stdout) == nullptr) _exit(126);
    if (std::freopen((folder / "said.err").c_str(), "w", stderr) == nullptr) _exit(126);
    std::vector<std::string> copy = words;
    if (!whole) copy.insert(copy.begin(), CRIA_PROGRAM);
    std::vector<char*> argv;
    for (std::string& w : copy) argv.push_back(w.data());
    argv.push_back(nullptr);
    alarm(kSecondsToLive);
    execvp(argv[0], argv.data());
    _exit(127);
  }
  ~Launched() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Launched(const Launched&) = delete;
  Launched& operator=(const Launched&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  void signal(int number) const { kill(pid_, number); }
  /// The exit code, or 128 + the signal.
  int wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  [[nodiscard]] std::string out() const { return slurp(folder_ / "said.out"); }
  [[nodiscard]] std::string err() const { return slurp(folder_ / "said.err"); }
  /// True once every rank's script has made its file rank_<r>.pid.
  [[nodiscard]] bool started(int ranks) const {
    return within(20s, [&] {
      for (int r = 0; r < ranks; ++r)
        if (rank_pid(r) <= 0) return false;
      return true;
    });
  }
  [[nodiscard]] pid_t rank_pid(int rank) const {
    return std::atoi(slurp(folder_ / ("rank_" + std::to_string(rank) + ".pid")).c_str());
  }

 private:
  const TemporaryFolder& folder_;
  pid_t pid_ = -1;
};

/// Processes that have the folder's name among their words: the launcher, mpirun, keepers and ranks of one test.
inline std::vector<pid_t> processes_of(const TemporaryFolder& folder) {
  std::vector<pid_t> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    if (slurp(entry.path() / "cmdline").find(folder.path()) != std::string::npos)
      found.push_back(std::atoi(name.c_str()));
  }
  return found;
}

}  // namespace cria::test
