#include "comm/comm.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <thread>

#include "base/error.h"
#include "comm/collectives.h"

namespace cria {
namespace {

constexpr std::array kCounts = {1, 2, 3, 4};

TEST(Comm, SumsAreTakenInTheOrderOfTheRanksBitForBit) {
  for (const int ranks : {1, 2, 3, 5}) {
    for (const Shape s :
         {Shape{1, 1, 1}, {3, 7, 7}, {13, 33, 40}, {301, 129, 129}, {2, 9000, 9001}}) {
      check_all_sums(run_as_threads, ranks, s);
    }
  }
}

TEST(Comm, AnotherOrderWouldBeNoticed) {
  int differ = 0;
  for (int64_t c = 0; c < 100; ++c)
    differ +=
        same_bits(expected<float, float>(5, 0, c), expected<float, float>(5, 0, c, true)) ? 0 : 1;
  EXPECT_GT(differ, 10);
}

TEST(Comm, LargeSumsGoInPieces) {
  check_sums<float, float>(run_as_threads, DType::f32, 3, {1, 2'000'003, 2'000'003});
  check_sums<float, float>(run_as_threads, DType::f32, 2, {700, 1500, 1500});
}

TEST(Comm, StartedCollectivesGiveTheSameBitsWhileOthersRun) {
  check_started_collectives(run_as_threads, kCounts);
}

// The sums stay in the order of the ranks, whoever's rows stand first.
TEST(Comm, RowsOfRanksMayStandInAnyOrder) {
  for (const int64_t rows : {1, 8, 11}) {
    check_sums<float, float>(run_as_threads, DType::f32, 4, {rows, 5, 7}, {0, 2, 1, 3});
    check_sums<float, float>(run_as_threads, DType::f32, 3, {rows, 5, 5}, {2, 0, 1});
  }
}

TEST(Comm, AStartedSumHasADeadlineToo) {
  run_as_threads(2, [&](Transport& transport) {
    CommWorld world(transport, {.deadline = std::chrono::milliseconds(200)});
    Comm comm(world, "sums", first_ranks(2), 0);
    if (comm.rank() == 1) {
      std::this_thread::sleep_for(std::chrono::milliseconds(700));
      return;
    }
    Tensor x(DType::f32, 4, 4);
    Comm::UnderWay sum = comm.start_reduce_scatter(x.view(), comm.rows_of(x.view(), 0));
    EXPECT_FALSE(sum.done());
    try {
      sum.wait();
      ADD_FAILURE() << "nobody answered, and it ended";
    } catch (const Error& e) {
      EXPECT_EQ(e.code, ExitCode::no_progress);
      EXPECT_NE(std::string(e.what()).find("reduce_scatter"), std::string::npos) << e.what();
    }
  });
}

TEST(Comm, GatheredRowsAreEverybodys) { check_gathers(run_as_threads, kCounts); }

TEST(Comm, MessagesArriveInOrderAndCollectivesDoNotMixWithThem) { check_messages(run_as_threads); }

TEST(Comm, WhoStaysAwayIsNamedAtTheDeadline) {
  std::string message;
  run_as_threads(3, [&](Transport& transport) {
    CommWorld world(transport, {.deadline = std::chrono::milliseconds(200)});
    Comm comm(world, "dp", first_ranks(3), 0);
    if (comm.rank() == 2) {
      std::this_thread::sleep_for(std::chrono::seconds(1));
      return;
    }
    try {
      comm.barrier();
    } catch (const Error& e) {
      EXPECT_EQ(e.code, ExitCode::no_progress);
      if (comm.rank() == 0) message = e.what();
    }
  });
  EXPECT_NE(message.find("rank 0: barrier number 1 of group dp (8 bytes)"), std::string::npos)
      << message;
  EXPECT_NE(message.find("for rank 2"), std::string::npos) << message;
}

TEST(Comm, DifferentCallsAreNamed) {
  std::atomic<int> named = 0;
  EXPECT_THROW(run_as_threads(2,
                              [&](Transport& transport) {
                                CommWorld world(transport, {.deadline = std::chrono::seconds(20),
                                                            .checked = true});
                                Comm comm(world, "tp", first_ranks(2), 0);
                                std::array<int64_t, 3> data{};
                                try {
                                  comm.all_reduce(std::span(data).first(comm.rank() == 0 ? 2 : 3));
                                } catch (const MismatchError& e) {
                                  const std::string text = e.what();
                                  named += text.find("of 16 bytes") != std::string::npos &&
                                                   text.find("of 24 bytes") != std::string::npos
                                               ? 1
                                               : 0;
                                  throw;
                                }
                              }),
               Error);
  EXPECT_GE(named, 1);
}

TEST(Comm, OneRanksFailureEndsTheOthers) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THROW(run_as_threads(4,
                              [](Transport& transport) {
                                CommWorld world(transport, {});
                                Comm comm(world, "world", first_ranks(4), 0);
                                if (comm.rank() == 3) throw FormatError("damaged");
                                comm.barrier();
                              }),
               FormatError);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST(Comm, CountersKnowTheBytesOfARing) {
  run_as_threads(2, [](Transport& transport) {
    CommWorld world(transport, {});
    Comm comm(world, "dp", first_ranks(2), 0);
    Tensor big(DType::f32, 1000, 100);
    comm.all_reduce(big.view());
    // Half goes out to be added, half goes out again as the sum.
    EXPECT_EQ(comm.bytes_sent(), 400'000);
  });
}

TEST(RankGrid, RanksCountTensorFirstThenDataThenStage) {
  const RankGrid g = make_grid(2, 3, 4, 24, 17);  // stage 2, dp 1, tp 2
  EXPECT_EQ(g.stage(), 2);
  EXPECT_EQ(g.dp_index(), 1);
  EXPECT_EQ(g.tp_index(), 2);
  EXPECT_EQ(g.tp_ranks(), std::vector<int>({15, 16, 17}));
  EXPECT_EQ(g.dp_ranks(), std::vector<int>({14, 17}));
  EXPECT_EQ(g.pp_ranks(), std::vector<int>({5, 11, 17, 23}));
  EXPECT_THROW(make_grid(2, 2, 2, 6, 0), UsageError);
}

TEST(RankGrid, NeighboursShareACopyOfWhatIsCut) {
  const RankGrid g = make_grid(4, 2, 2, 16, 13, 2);  // stage 1, dp 2, tp 1
  EXPECT_EQ(g.shard_index(), 0);
  EXPECT_EQ(g.copy_index(), 1);
  EXPECT_EQ(g.shard_ranks(), std::vector<int>({13, 15}));
  EXPECT_EQ(g.copy_ranks(), std::vector<int>({9, 13}));
  EXPECT_EQ(g.dp_blocks(), std::vector<int>({0, 2, 1, 3}));
  const RankGrid all = make_grid(4, 2, 2, 16, 13);
  EXPECT_EQ(all.shard_ranks(), all.dp_ranks());
  EXPECT_EQ(all.copy_ranks(), std::vector<int>({13}));
  EXPECT_EQ(all.dp_blocks(), std::vector<int>({0, 1, 2, 3}));
  EXPECT_EQ(make_grid(4, 1, 1, 4, 3, 1).copy_ranks(), std::vector<int>({0, 1, 2, 3}));
  EXPECT_THROW(make_grid(4, 1, 1, 4, 0, 3), UsageError);
  EXPECT_THROW(make_grid(4, 1, 1, 4, 0, 8), UsageError);
}

TEST(Groups, EveryRankSumsWithItsOwn) { check_groups(run_as_threads); }

}  // namespace
}  // namespace cria
