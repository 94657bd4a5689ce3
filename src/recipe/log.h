// The recipe's log: lines on stdout and in output/log/rank_0/info.log.
#pragma once

#include <cstdio>
#include <source_location>
#include <string>

#include "train/reporter.h"

namespace cria::recipe {

class RecipeLog {
 public:
  /// Lines go to stdout at once. Empty folder: stdout only.
  explicit RecipeLog(const std::string& folder);
  ~RecipeLog();
  RecipeLog(const RecipeLog&) = delete;
  RecipeLog& operator=(const RecipeLog&) = delete;
  /// stdout: `2024-05-29 10:11:12,345 - mindformers[file:line] - INFO - text`; the file: `[INFO] time [file:line] func: text`.
  void info(const std::string& text,
            const std::source_location& where = std::source_location::current());
  /// From here on the file is written too, first with the lines so far: called when all input is known to be good, so
  /// that a refused run leaves no file. Lines are added to the folder's info.log; one over 50 MB moves to info.log.1 and so on
  /// to .5. Throws IoError.
  void keep();

 private:
  std::string folder_, lines_;  // until keep()
  std::FILE* file_ = nullptr;
};

/// How a step is written; spec: `{ Epoch:[  1/  2], step:[    2/ 6500], loss: 1.234, ...`.
struct StepLine {
  int64_t epoch = 1, epochs = 1, step = 1, steps = 1;
  double loss = 0, mean_loss = 0;  // of this step; of the epoch so far
  double seconds_per_step = 0;
  double lr = 0, loss_scale = 1, grad_norm = 0;
  bool overflow = false;
  double tflops = 0;  // model TFLOP/s
};
std::string step_line(const StepLine& line, bool sink_mode);
/// Percent done, a bar of 50 cells, throughput per device, and the time left.
std::string bar_line(double share_done, double samples_per_second, double seconds_left);
/// Python's str(timedelta) of whole seconds: "1 day, 2:03:04".
std::string time_left(double seconds);

}  // namespace cria::recipe
