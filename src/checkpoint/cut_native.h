// A training checkpoint written for another layout over devices, by one process for all ranks.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "checkpoint/native_content.h"
#include "checkpoint/strategy.h"

namespace cria {

struct CutOptions {
  /// Files written at the same time.
  int threads = 1;
  /// Called after each box, from any thread but never twice at once.
  std::function<void(int64_t done, int64_t total)> progress;
};

/// Writes `<root>/step-<10 digits>` and returns it. Boxes and files are those that a run in layout `to` writes: the layout of a
/// parameter's weights without its optimizer shard, that of `adam_m.<parameter>` for moments and masters. Where a parameter cut
/// over tensor parallelism's copies has no shard in the strategy but a grid of its own (a head that tensor parallelism does not
/// cut), its weights are cut as their moments are.
///
/// By the commit protocol (docs/formats/checkpoint.md): the root is locked, everything goes into a temporary folder, one rename
/// commits. A failure leaves nothing; other steps of the root stay. Memory: a few MiB a thread beyond the mapped source.
/// Throws IoError, UsageError (the step is there), MismatchError (a parameter is not in the strategy, or sizes do not divide).
std::string cut_native(const NativeContent& content, const Strategy& to, const std::string& root,
                       const CutOptions& options = {});

}  // namespace cria
