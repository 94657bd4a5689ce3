// The bytes that one rank of a training run sends in a step, by group and purpose: those that the counters of Comm will show.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "plan/training_run.h"

namespace cria {

struct Traffic {
  std::string_view
      group;  // "tp", "dp", "dp sums", "dp gathers", "pp forward", "pp backward", "pp", "world": names of Groups
  std::string_view purpose;  // "sums of activations", ...
  int64_t bytes = 0;
};

struct StepTraffic {
  std::vector<Traffic> sent;  // none is 0
  int64_t buffer_bytes = 0;   // memory that the groups keep for it
  [[nodiscard]] int64_t total() const;
  [[nodiscard]] int64_t of(std::string_view group) const;
};

/// One step with an update, without the comparison of replicas that is made now and then, without saving and evaluation. Over a
/// split vocabulary the loss is summed for trained tokens only; the run says how many there are.
StepTraffic step_traffic(const TrainingRun& run, const RankShare& share);
inline StepTraffic step_traffic(const TrainingRun& run, int rank) {
  return step_traffic(run, RankShare(run, rank));
}

}  // namespace cria
