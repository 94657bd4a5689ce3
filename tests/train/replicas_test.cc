#include "train/replicas.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/thread_pool.h"
#include "train/tiny_run.h"

namespace cria {
namespace {

/// What four data-parallel ranks say when one of them has another bit in one weight.
std::string difference(int changed_rank, int64_t param) {
  std::string message;
  run_as_threads(4, [&](Transport& transport) {
    Groups groups(transport, make_grid(4, 1, 1, 4, transport.rank()));
    ThreadPool pool(1);
    ParamArena weights(test::tiny_config(), DType::f32);
    init_parameters(weights, 1, pool);
    if (transport.rank() == changed_rank) weights[param].row<float>(0)[0] *= 1.0000001f;
    try {
      check_replicas(weights, groups, 7);
    } catch (const Error& e) {
      EXPECT_EQ(e.code, ExitCode::numbers);
      if (transport.rank() == 0) message = e.what();
    }
  });
  return message;
}

TEST(Replicas, EqualOnesPass) { EXPECT_EQ(difference(-1, 0), ""); }

// Four ranks in groups of two: rank 3 has the rows of rank 1, and those alone.
TEST(Replicas, CopiesOfRowsAreComparedToo) {
  std::string message;
  run_as_threads(4, [&](Transport& transport) {
    const RankGrid grid = make_grid(4, 1, 1, 4, transport.rank(), 2);
    Groups groups(transport, grid);
    ThreadPool pool(1);
    ParamArena weights(test::tiny_config(), DType::f32, whole_model(test::tiny_config()),
                       {.count = 2, .index = grid.shard_index(), .threshold_bytes = 0, .zero = 3});
    init_parameters(weights, 1, pool);
    check_replicas(weights, groups, 6);
    if (grid.rank == 3) weights[4].row<float>(0)[0] *= 1.0000001f;
    try {
      check_replicas(weights, groups, 7);
      EXPECT_NE(grid.shard_index(), 1);
    } catch (const Error& e) {
      if (grid.rank == 1) message = e.what();
    }
  });
  EXPECT_NE(message.find("o_proj.weight differs between rank 1 and rank 3"), std::string::npos)
      << message;
}

TEST(Replicas, OneBitOnOneRankIsNamedWithTensorRanksAndStep) {
  const std::string message = difference(2, 4);
  EXPECT_NE(message.find("after step 7 model.layers.0.self_attn.o_proj.weight differs"),
            std::string::npos)
      << message;
  EXPECT_NE(message.find("rank 0 and rank 2"), std::string::npos) << message;
}

}  // namespace
}  // namespace cria
