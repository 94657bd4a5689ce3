// Numbers of a training run as flags gave them.
#pragma once

#include <string>

#include "train/trainer.h"

namespace cria::cli {

/// Throws UsageError for counts and rates that make no sense; the schedule is checked where it is used.
void check_training(const std::string& command, const TrainSettings& settings);

}  // namespace cria::cli
