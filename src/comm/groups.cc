#include "comm/groups.h"

#include "base/error.h"
#include "base/keeper.h"

namespace cria {

Groups::Groups(Transport& transport, const RankGrid& g, CommSettings settings)
    : grid(g),
      shared(transport, settings),
      world(shared, "world", g.all_ranks(), 0),
      tp(shared, "tp", g.tp_ranks(), 2),
      dp(shared, "dp", g.dp_ranks(), 4, g.dp_blocks()),
      shard(shared, "dp shard", g.shard_ranks(), 16),
      copies(shared, "dp copies", g.copy_ranks(), 18),
      dp_sums(shared, "dp sums", g.dp_ranks(), 12, g.dp_blocks()),
      dp_gathers(shared, "dp gathers", g.dp_ranks(), 14, g.dp_blocks()),
      copy_gathers(shared, "dp copy gathers", g.copy_ranks(), 20),
      pp(shared, "pp", g.pp_ranks(), 6),
      pp_forward(shared, "pp forward", g.pp_ranks(), 8),
      pp_backward(shared, "pp backward", g.pp_ranks(), 10) {
  check(transport.size() == g.size() && transport.rank() == g.rank,
        "a grid is of the transport's ranks");
}

void end_together(Groups& groups, std::chrono::milliseconds patience) {
  const int64_t seconds = std::chrono::ceil<std::chrono::seconds>(patience).count();
  tell_keeper(Done::here, seconds);
  groups.world.barrier();
  tell_keeper(Done::everywhere, seconds);
}

}  // namespace cria
