// A plan in words, and the verdict that stops a run before it allocates.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "plan/layouts.h"

namespace cria {

/// One line: the sum, what is available (0: unknown), the three largest items. Throws Error(memory) with the same numbers and with
/// what `hint` advises when it does not fit.
std::string check_memory(std::vector<MemoryItem> items, int64_t available,
                         const std::function<std::string()>& hint);
/// The same for one rank of a training run; advises the cheapest change.
std::string check_training_memory(const TrainingRun& run, int rank, int64_t available);

/// At the end of a run: what a rank held, and how far from it the plan was.
std::string peak_text(int64_t planned, int64_t peak);

struct PlanReport {
  TrainingRun run;
  int64_t available = 0;  // bytes for each rank; 0: unknown
  std::vector<Layout> layouts;
};
/// Tables of the fullest rank's memory, of what it sends, and of the first few layouts.
std::string plan_text(const PlanReport& report);
/// The same numbers, in bytes, for programs; all layouts.
std::string plan_json(const PlanReport& report);
/// "fits: 45.20 of 64.00 GiB on the fullest rank (71 %)". Throws Error(memory) with both numbers and the cheapest change when it
/// does not.
std::string plan_verdict(const PlanReport& report);

}  // namespace cria
