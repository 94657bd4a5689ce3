// Runs the built program as a user does, and keeps all that it said.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "base/temporary_folder.h"

namespace cria::e2e {

// How much more time everything takes.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kSlower = 20;
#else
constexpr int kSlower = 1;
#endif
constexpr int kSecondsToLive = 60 * kSlower;

struct Outcome {
  int exit = -1;  // 128 + signal when it was killed
  std::string out, err;
  double seconds = 0;
};

/// A running program; one that takes kSecondsToLive is killed.
class Program {
 public:
  /// Starts `cria` with these words, in `folder` when one is given.
  explicit Program(const std::vector<std::string>& words, const std::string& folder = {});
  void signal(int number) const;
  [[nodiscard]] bool running() const;
  /// What it printed so far.
  [[nodiscard]] std::string out() const;
  Outcome wait();

 private:
  TemporaryFolder said_ = TemporaryFolder::in_memory();
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  pid_t process_ = -1;
};

inline Outcome run(const std::vector<std::string>& words, const std::string& folder = {}) {
  return Program(words, folder).wait();
}

/// Words separated by blanks, with {x}, {i} and {o} replaced.
std::vector<std::string> words_of(std::string text, const std::string& x, const std::string& i,
                                  const std::string& o);

/// Numbers behind every place where `before` stands in a text.
std::vector<double> numbers_after(const std::string& before, const std::string& text);

}  // namespace cria::e2e
