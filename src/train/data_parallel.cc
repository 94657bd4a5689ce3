#include "train/data_parallel.h"

#include "base/error.h"
#include "ops/device.h"
#include "ops/elementwise.h"

namespace cria {
namespace {

/// The first stage has the entrance's part of a tied table's gradient, the last the head's; both get head + entrance.
void exchange_tied(View mine, Groups& groups, ops::Exec& exec) {
  const bool first = groups.grid.first_stage();
  const int other = first ? groups.grid.pp - 1 : 0;
  Tensor theirs(mine.dtype, mine.rows, mine.cols, exec.device);
  {
    const Comm::Pending sent = groups.pp.send(bytes_of(mine), other);
    groups.pp.receive(theirs.bytes(), other);
  }
  // Sums of two terms are the same in either order.
  ops::add(mine, theirs, exec);
}

}  // namespace

void combine_gradients(const TrainState& state, ParamArena& grads, View entrance,
                       bool sequence_parallel, Groups& groups, ops::Exec& exec,
                       const std::vector<bool>& summed) {
  const ParamIndex& index = grads.index();
  for (int64_t i = 0; i < std::ssize(grads.params()); ++i) {
    const Param& held = grads.params()[static_cast<size_t>(i)];
    if (held.is_norm() && sequence_parallel && !groups.tp.alone()) groups.tp.all_reduce(grads[i]);
    if (groups.dp.alone() || (!summed.empty() && summed[static_cast<size_t>(i)])) continue;
    if (state.m.params()[static_cast<size_t>(i)].sharded) {
      const View mine = state.rows_of_state(grads, i);
      // Each of those that have a copy of these rows sums some of them, and all get the others'.
      const View summed_here = groups.copies.rows_of(mine, groups.copies.rank());
      groups.dp.reduce_scatter(grads[i], summed_here);
      groups.copies.all_gather(summed_here, mine);
    } else {
      groups.dp.all_reduce(grads[i]);
    }
  }
  if (entrance.data != nullptr) {
    if (!groups.dp.alone()) groups.dp.all_reduce(entrance);
    ops::add(grads[index.embed_tokens()], entrance, exec);
  }
  if (!index.tied() || groups.grid.pp == 1) return;
  if (groups.grid.first_stage()) exchange_tied(grads[index.embed_tokens()], groups, exec);
  if (groups.grid.last_stage()) exchange_tied(grads[index.lm_head()], groups, exec);
}

void gather_weights(TrainState& state, Groups& groups) {
  if (groups.shard.alone()) return;
  for (int64_t i = 0; i < std::ssize(state.weights.params()); ++i) {
    const auto at = static_cast<size_t>(i);
    if (!state.m.params()[at].sharded || state.weights.params()[at].sharded) continue;
    groups.shard.all_gather(state.rows_of_state(state.weights, i), state.weights[i]);
  }
}

}  // namespace cria
