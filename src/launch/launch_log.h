// The launcher's own words: on stderr, and with the time of day in scheduler.log.
#pragma once

#include <deque>
#include <string>

#include "launch/process.h"

namespace cria {

class LaunchLog {
 public:
  /// Starts the file anew. Throws IoError.
  explicit LaunchLog(const std::string& path);
  /// To both.
  void say(const std::string& message);
  /// To the file alone: what mpirun says of itself. The last lines are kept for a failure's message.
  void note(const std::string& line);
  [[nodiscard]] const std::deque<std::string>& last_notes() const { return last_notes_; }

 private:
  Descriptor file_;
  std::deque<std::string> last_notes_;
};

}  // namespace cria
