// How a failure is named: one Error with an exit code, and messages of one form.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace cria {

/// Exit codes of the program; docs/errors.md lists what each means to a caller.
enum class ExitCode : int {
  ok = 0,
  bug = 1,          // internal error
  usage = 2,        // bad command line or config value
  format = 3,       // input file malformed or corrupt
  io = 4,           // permission, no space, short write, in use
  memory = 5,       // does not fit, predicted or real
  rank_died = 6,    // another rank died or could not start
  no_progress = 7,  // watchdog or collective time-out
  numbers = 8,      // non-finite, replicas differ, replay differs
  mismatch = 9,     // checkpoint or data do not fit the config, or none is valid
  network = 10,     // cannot listen or connect, bad peer
  stopped = 75,     // stopped by signal after saving; run again to go on
};

struct Error : std::runtime_error {
  ExitCode code;
  Error(ExitCode c, const std::string& message) : std::runtime_error(message), code(c) {}
};

/// Flags, config or a request are wrong.
struct UsageError : Error {
  explicit UsageError(const std::string& m) : Error(ExitCode::usage, m) {}
};
/// Bytes break their format.
struct FormatError : Error {
  explicit FormatError(const std::string& m) : Error(ExitCode::format, m) {}
};
/// The operating system said no.
struct IoError : Error {
  explicit IoError(const std::string& m) : Error(ExitCode::io, m) {}
};
/// Two valid things do not belong together (weights and config, data and tokenizer).
struct MismatchError : Error {
  explicit MismatchError(const std::string& m) : Error(ExitCode::mismatch, m) {}
};

/// The parts of a message. Empty parts are left out:
///   <what>: <path> at byte <offset>: <reason>, expected <x>, found <y>; try: <hint>
/// `offset` is an absolute byte position; `line` and `column` count from 1.
struct Fault {
  std::string_view what;
  std::string_view path;
  int64_t offset = -1;
  int64_t line = 0;
  int64_t column = 0;
  std::string reason;
  std::string expected;
  std::string found;
  std::string hint;
};
std::string describe(const Fault& fault);

/// Bytes from a file or the network made safe to print: at most `limit`, others as \xNN.
std::string escaped(std::string_view bytes, size_t limit = 32);

template <class E = UsageError, class... Args>
void require(bool ok, fmt::format_string<Args...> message, Args&&... args) {
  if (!ok) [[unlikely]]
    throw E(fmt::format(message, std::forward<Args>(args)...));
}

/// A promise of the program to itself; breaking it is a bug, not bad input.
inline void check(bool ok, const char* promise, const char* file = __builtin_FILE(),
                  int line = __builtin_LINE()) {
  if (!ok) [[unlikely]]
    throw std::logic_error(fmt::format("{}:{}: bug: {}", file, line, promise));
}

/// One line on stderr, `warning: ...`; a repeated message is counted and not printed again.
void warn(std::string_view message);

/// Runs `body`, prints a failure as one line of at most 512 bytes (`error: ...`), returns the exit
/// code. bad_alloc is 5, any exception that is not an Error is 1.
int run_guarded(int (*body)(int argc, char** argv), int argc, char** argv) noexcept;

}  // namespace cria
