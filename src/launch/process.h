// Starting and ending child processes, and reading what they print line by line.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria {

/// A file descriptor that is closed with its owner.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  ~Descriptor() { reset(); }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    reset();
    fd_ = std::exchange(other.fd_, -1);
    return *this;
  }
  [[nodiscard]] int get() const { return fd_; }
  void reset();

 private:
  int fd_;
};

/// How a child starts. Its standard input is /dev/null; every signal is let through and has its default meaning but for those named.
struct ChildPlan {
  std::vector<std::string> argv;                                 // argv[0] is a path
  std::vector<std::pair<std::string, std::string>> environment;  // added to ours
  int out = -1, err = -1;                                        // its stdout and stderr; -1: ours
  /// The signal it gets when the thread that started it ends, however that happens.
  int signal_at_parents_death = 0;
  std::vector<int> ignored_signals;
  int kept = -1;  // a descriptor of ours that it has too
};

/// Starts a child in a process group of its own, so that a Ctrl-C at the terminal reaches us alone. Throws IoError when it cannot
/// be started (no such program, no permission).
pid_t start_child(const ChildPlan& plan);

/// The two ends of a pipe, read end first, both closed on exec. Throws IoError.
std::pair<Descriptor, Descriptor> make_pipe();

/// Where a command of this name is: as given when it holds a `/`, else beside this program when `beside_us`, else in PATH.
/// Empty when it is nowhere.
std::string find_program(const std::string& name, bool beside_us);
/// The path of the running program.
std::string own_path();

/// Cuts a stream into lines.
class LineReader {
 public:
  explicit LineReader(Descriptor in) : in_(std::move(in)) {}
  [[nodiscard]] int fd() const { return in_.get(); }
  [[nodiscard]] bool open() const { return in_.get() >= 0; }
  /// Reads what is there without waiting, closes at the end, and returns the lines that became whole (the last one at the end
  /// even without its newline). A line over 64 KiB is cut.
  std::vector<std::string> read_lines();

 private:
  Descriptor in_;
  std::string rest_;
};

/// Direct children of this process at this moment.
std::vector<pid_t> own_children();

}  // namespace cria
