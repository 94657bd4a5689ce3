// The groups of one rank of a training run, by the recipe's grid.
#pragma once

#include "comm/comm.h"
#include "comm/rank_grid.h"

namespace cria {

class Groups {
 public:
  /// dp's rows go by RankGrid::dp_block(), so that a copy's part is what its ranks have summed. `transport` outlives the object and has grid.size() ranks.
  Groups(Transport& transport, const RankGrid& grid, CommSettings settings = {});

  const RankGrid grid;
  CommWorld shared;
  Comm world, tp, dp;
  // Of dp: those that have the parts of one copy of what is cut, and those that have copies of one part (RankGrid::shard).
  Comm shard, copies;
  // Sums of gradients that go on during the backward, and what is gathered after them.
  Comm dp_sums, dp_gathers, copy_gathers;
  // Ranks of this rank's pipeline. What flows forward and what flows back are apart, so that neither waits for the other.
  Comm pp, pp_forward, pp_backward;
};

/// The last thing of a run: every rank waits here until all have come. A rank that stands still is named by those who wait for it,
/// and afterwards by its keeper `patience` later (base/keeper.h): MPI's own end has no deadline.
void end_together(Groups& groups, std::chrono::milliseconds patience);

/// The groups of a run of one rank.
struct OneRank {
  std::unique_ptr<Transport> transport = self_transport();
  Groups groups{*transport, RankGrid{}};
};

}  // namespace cria
