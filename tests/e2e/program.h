// Runs the built program as a user does, and keeps all that it said.
#pragma once

#include <string>
#include <vector>

namespace cria::e2e {

struct Outcome {
  int exit = -1;  // 128 + signal when it was killed
  std::string out, err;
  double seconds = 0;
};

/// Starts `cria` with these words and waits for it; one that takes 60 s is killed.
Outcome run(const std::vector<std::string>& words);

/// Words separated by blanks, with {x}, {i} and {o} replaced.
std::vector<std::string> words_of(std::string text, const std::string& x, const std::string& i,
                                  const std::string& o);

}  // namespace cria::e2e
