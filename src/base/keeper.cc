#include "base/keeper.h"

#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/error.h"

namespace cria {

void tell_keeper(Done where, int64_t seconds) {
  const char* const text = std::getenv(kKeeperVariable);
  if (text == nullptr) return;
  int descriptor = -1;
  std::from_chars(text, text + std::strlen(text), descriptor);
  const std::string line =
      fmt::format("{} {}\n", where == Done::here ? "here" : "everywhere", seconds);
  // A keeper that is gone has taken this process with it, or soon will.
  if (write(descriptor, line.data(), line.size()) < 0) return;
}

}  // namespace cria
