// Which division over ranks suits a run, and what to change when it does not fit.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "plan/rank_memory.h"
#include "plan/step_traffic.h"

namespace cria {

/// A run is taken to fit when it needs no more than this share of a rank's memory.
inline constexpr double kUsableShare = 0.95;
inline bool fits(int64_t bytes, int64_t available) {
  return available <= 0 ||
         static_cast<double>(bytes) <= kUsableShare * static_cast<double>(available);
}

struct Layout {
  TrainingRun run;
  RankMemory memory;       // of the fullest rank
  int64_t sent_bytes = 0;  // in a step, by the rank that sends most
  double bubble =
      0;  // share of a step in which a stage waits for the pipeline to fill and to empty
  /// Of a step, in the time that one FLOP takes: the slowest stage's arithmetic over all micro batches, filling and emptying the
  /// pipeline, and messages at kFlopsPerByte. Only good for comparing layouts.
  double time = 0;
};
/// FLOPs that a device does in the time in which it sends a byte: 100 TFLOP/s beside 100 GB/s, or 100 GFLOP/s beside 100 MB/s.
inline constexpr double kFlopsPerByte = 1000;

/// Throws UsageError where the rules forbid the layout.
Layout measure_layout(const TrainingRun& run);

/// The same samples per step by so many ranks, in every division that the rules allow: those that fit `available` bytes first,
/// the fastest first. With several stages there are as many micro batches as the batch size allows.
std::vector<Layout> propose_layouts(const TrainingRun& run, int ranks, int64_t available);

struct Change {
  std::string text;  // "recompute_config.recompute True", or several joined by "and"
  TrainingRun run;
  RankMemory memory;
};
/// The cheapest change after which the run fits: settings that cost nothing, then smaller micro batches, then recomputing, all of
/// them together, then another division over the same ranks, then more ranks. Nothing when nothing helps.
std::optional<Change> cheapest_change(const TrainingRun& run, int64_t available);

}  // namespace cria
