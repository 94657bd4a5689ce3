// What the keeper of a rank (launch/rank_keeper.h) tells the launcher, one line each, through mpirun's standard output.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cria {

struct RankReport {
  /// told_to_end: it ended because mpirun wished so, which is never the cause of a failure.
  enum class Event { started, ended, told_to_end };
  Event event = Event::started;
  int rank = 0;
  int64_t pid = 0;
  std::string host;
  uint32_t job = 0;  // of `started`: Open MPI's number of the job; 0: none
  // of `ended` and `told_to_end`:
  int exit_code = 0;
  int signal = 0;         // 0: it left by itself
  std::string last_line;  // the last error line of its log, else its last line; at most 300 bytes
  [[nodiscard]] bool failed() const;
};

/// How the last line of a rank begins that its keeper ended, because it stood still when its work was done.
constexpr std::string_view kStoodStill = "error: not ended";

/// One line with its newline, shorter than 1,024 bytes, so that a pipe takes it whole. `token` is the run's.
std::string report_line(const RankReport& report, std::string_view token);
/// Nothing when the line is not a report of this run.
std::optional<RankReport> parse_report(std::string_view line, std::string_view token);

/// The ranks that a rank waited for when it gave up: of "... has waited 60.0 s for rank 1, 3" 1 and 3.
std::vector<int> ranks_waited_for(std::string_view line);

/// The line that tells most about a failure: the last one with "error", "critical" or "terminate" in it, in any case, else the
/// last that is not empty. Looks at the last 64 KiB. Empty when there is none or no such file.
std::string last_error_line(const std::string& log_path);

}  // namespace cria
