#include "train/pipeline_schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "base/error.h"

namespace cria {
namespace {

/// Runs all stages side by side, each blocked until what its next step needs is there; false when they stand still.
bool completes(const std::vector<std::vector<PipelineStep>>& stages, int chunks) {
  const auto pp = static_cast<int>(stages.size());
  const int last = pp * chunks - 1;
  std::map<std::tuple<bool, int, int64_t>, bool> done;  // backward, run of layers, micro batch
  std::vector<size_t> next(stages.size(), 0);
  for (bool moved = true; moved;) {
    moved = false;
    for (int s = 0; s < pp; ++s) {
      const auto& steps = stages[static_cast<size_t>(s)];
      size_t& at = next[static_cast<size_t>(s)];
      while (at < steps.size()) {
        const PipelineStep& step = steps[at];
        const int run = step.chunk * pp + s;
        const bool forward_done = done.contains({false, run, step.micro});
        const bool ready =
            step.backward
                ? forward_done && (run == last || done.contains({true, run + 1, step.micro}))
                : run == 0 || done.contains({false, run - 1, step.micro});
        if (!ready) break;
        done[{step.backward, run, step.micro}] = true;
        ++at;
        moved = true;
      }
    }
  }
  for (size_t s = 0; s < stages.size(); ++s)
    if (next[s] != stages[s].size()) return false;
  return true;
}

/// Every micro batch once forward and once backward through every chunk, backwards of a chunk in the micro batches' order.
void expect_whole(const std::vector<PipelineStep>& steps, int chunks, int64_t micros) {
  ASSERT_EQ(std::ssize(steps), 2 * chunks * micros);
  for (const bool backward : {false, true}) {
    for (int c = 0; c < chunks; ++c) {
      int64_t expected = 0;
      for (const PipelineStep& step : steps)
        if (step.backward == backward && step.chunk == c) {
          EXPECT_EQ(step.micro, expected++);
        }
      EXPECT_EQ(expected, micros);
    }
  }
}

/// All forwards, then all backwards: what 1F1B is better than.
std::vector<PipelineStep> schedule_all_forward_first(int chunks, int64_t micros) {
  std::vector<PipelineStep> steps;
  for (int c = 0; c < chunks; ++c)
    for (int64_t m = 0; m < micros; ++m) steps.push_back({false, c, m});
  for (int c = chunks - 1; c >= 0; --c)
    for (int64_t m = 0; m < micros; ++m) steps.push_back({true, c, m});
  return steps;
}

/// The most micro batches of one chunk that are under way at once.
int64_t most_in_flight(const std::vector<PipelineStep>& schedule, int chunk) {
  int64_t now = 0, most = 0;
  for (const PipelineStep& step : schedule) {
    if (step.chunk != chunk) continue;
    now += step.backward ? -1 : 1;
    most = std::max(most, now);
  }
  return most;
}

TEST(PipelineSchedule, EveryStageDoesAllItsWorkAndNoneWaitsForEver) {
  for (const int stages : {1, 2, 3, 4, 8}) {
    for (const int chunks : {1, 2, 3}) {
      for (const int64_t micros : {int64_t{stages}, int64_t{4} * stages}) {
        std::vector<std::vector<PipelineStep>> all;
        for (int s = 0; s < stages; ++s) {
          all.push_back(schedule_interleaved(stages, s, chunks, micros));
          expect_whole(all.back(), chunks, micros);
        }
        EXPECT_TRUE(completes(all, chunks)) << stages << " " << chunks << " " << micros;
      }
    }
  }
}

TEST(PipelineSchedule, TheSimulationNoticesStagesThatWaitForEachOther) {
  // Stage 0 wants the backward of micro batch 1 first, stage 1 gives that of 0 first.
  const PipelineStep f0{false, 0, 0}, f1{false, 0, 1}, b0{true, 0, 0}, b1{true, 0, 1};
  EXPECT_FALSE(completes({{f0, b1, b0, f1}, {f0, b0, f1, b1}}, 1));
}

TEST(PipelineSchedule, OneForwardOneBackwardKeepsNoMoreUnderWayThanStagesBehind) {
  for (int stage = 0; stage < 4; ++stage)
    EXPECT_EQ(most_in_flight(schedule_1f1b(4, stage, 16), 0), 4 - stage);
  EXPECT_EQ(most_in_flight(schedule_all_forward_first(1, 16), 0), 16);
}

TEST(PipelineSchedule, AnInterleavedOneNeedsWholeGroupsOfMicroBatches) {
  EXPECT_THROW(schedule_interleaved(4, 0, 2, 6), UsageError);
}

}  // namespace
}  // namespace cria
