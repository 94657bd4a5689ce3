#include "comm/comm.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <numeric>
#include <thread>

#include "base/error.h"
#include "base/random.h"
#include "comm/groups.h"

namespace cria {
namespace {

std::vector<int> first_ranks(int n) {
  std::vector<int> ranks(static_cast<size_t>(n));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

/// What rank r brings to a sum: values whose sum depends on the order they are added in.
float value_of(int rank, int64_t row, int64_t col) {
  const auto r = static_cast<uint64_t>(rank);
  return static_cast<float>(
      random_normal(r, static_cast<uint64_t>(row), static_cast<uint64_t>(col)) *
      std::pow(10.0, rank % 3 * 3));
}

template <class T>
void fill(View v, int rank) {
  for (int64_t r = 0; r < v.rows; ++r)
    for (int64_t c = 0; c < v.cols; ++c)
      v.row<T>(r)[static_cast<size_t>(c)] = static_cast<T>(value_of(rank, r, c));
}

/// ((x0 + x1) + x2) + ..., in Sum, rounded to T once.
template <class T, class Sum>
T expected(int ranks, int64_t row, int64_t col, bool reversed = false) {
  const auto term = [&](int r) { return static_cast<Sum>(static_cast<T>(value_of(r, row, col))); };
  Sum sum = term(reversed ? ranks - 1 : 0);
  for (int i = 1; i < ranks; ++i) sum += term(reversed ? ranks - 1 - i : i);
  return T(sum);
}

template <class T>
bool same_bits(T a, T b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

struct Shape {
  int64_t rows, cols, stride;
};

template <class T, class Sum>
void check_sums(DType dtype, int ranks, Shape s, std::vector<int> blocks = {}) {
  run_as_threads(ranks, [&](Transport& transport) {
    CommWorld world(transport, {.deadline = std::chrono::seconds(20), .checked = true});
    Comm comm(world, "world", first_ranks(ranks), 0, blocks);
    Tensor memory(dtype, s.rows, s.stride);
    const View data = memory.view().col_range(0, s.cols);
    fill<T>(data, comm.rank());
    const int64_t first = comm.begin(s.rows, comm.rank());
    const int64_t count = comm.rows_of(data, comm.rank()).rows;
    Tensor mine(dtype, std::max<int64_t>(count, 1), s.cols);
    comm.reduce_scatter(data, mine.view().row_range(0, count));
    comm.all_reduce(data);
    int wrong = 0;
    for (int64_t r = 0; r < s.rows; ++r) {
      for (int64_t c = 0; c < s.cols; ++c) {
        const T want = expected<T, Sum>(ranks, r, c);
        wrong += same_bits(data.row<T>(r)[static_cast<size_t>(c)], want) ? 0 : 1;
        if (r >= first && r < first + count)
          wrong += same_bits(mine.view().row<T>(r - first)[static_cast<size_t>(c)], want) ? 0 : 1;
      }
    }
    EXPECT_EQ(wrong, 0) << ranks << " ranks, " << s.rows << " x " << s.cols << " of "
                        << name_of(dtype);
  });
}

TEST(Comm, SumsAreTakenInTheOrderOfTheRanksBitForBit) {
  for (const int ranks : {1, 2, 3, 5}) {
    for (const Shape s :
         {Shape{1, 1, 1}, {3, 7, 7}, {13, 33, 40}, {301, 129, 129}, {2, 9000, 9001}}) {
      check_sums<float, float>(DType::f32, ranks, s);
      check_sums<bf16, float>(DType::bf16, ranks, s);
      check_sums<f16, float>(DType::f16, ranks, s);
      check_sums<double, double>(DType::f64, ranks, s);
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
  check_sums<float, float>(DType::f32, 3, {1, 2'000'003, 2'000'003});
  check_sums<float, float>(DType::f32, 2, {700, 1500, 1500});
}

TEST(Comm, StartedCollectivesGiveTheSameBitsWhileOthersRun) {
  for (const int ranks : {1, 2, 3, 4}) {
    run_as_threads(ranks, [&](Transport& transport) {
      CommWorld world(transport, {.deadline = std::chrono::seconds(20)});
      Comm sums(world, "sums", first_ranks(ranks), 0),
          gathers(world, "gathers", first_ranks(ranks), 2),
          others(world, "others", first_ranks(ranks), 4);
      constexpr int64_t kRows = 11, kCols = 5;
      Tensor a(DType::f32, kRows, kCols), b(DType::f32, kRows, kCols),
          onto(DType::f32, kRows, kCols);
      fill<float>(a.view(), sums.rank());
      fill<float>(b.view(), sums.rank());
      fill<float>(onto.view(), 7);
      const View mine = sums.rows_of(b.view(), sums.rank());
      const View kept = sums.rows_of(onto.view(), sums.rank());
      // The first adds to what is there, the second writes over the rank's own rows of its terms.
      Comm::UnderWay added = sums.start_reduce_scatter(a.view(), kept, true);
      Comm::UnderWay written = sums.start_reduce_scatter(b.view(), mine);
      std::array<int64_t, 1> count = {1};
      others.all_reduce(count);
      EXPECT_EQ(count[0], ranks);
      while (!added.done()) std::this_thread::yield();
      written.wait();
      Comm::UnderWay gathered = gathers.start_all_gather(b.view());
      gathered.wait();
      EXPECT_TRUE(gathered.done());
      int wrong = 0;
      const int64_t first = sums.begin(kRows, sums.rank());
      for (int64_t r = 0; r < kRows; ++r) {
        for (int64_t c = 0; c < kCols; ++c) {
          wrong += same_bits(b.view().row<float>(r)[static_cast<size_t>(c)],
                             expected<float, float>(ranks, r, c))
                       ? 0
                       : 1;
          if (r < first || r >= first + kept.rows) continue;
          float sum = value_of(7, r, c);
          for (int i = 0; i < ranks; ++i) sum += value_of(i, r, c);
          wrong += same_bits(onto.view().row<float>(r)[static_cast<size_t>(c)], sum) ? 0 : 1;
        }
      }
      EXPECT_EQ(wrong, 0) << ranks << " ranks";
    });
  }
}

// The sums stay in the order of the ranks, whoever's rows stand first.
TEST(Comm, RowsOfRanksMayStandInAnyOrder) {
  for (const int64_t rows : {1, 8, 11}) {
    check_sums<float, float>(DType::f32, 4, {rows, 5, 7}, {0, 2, 1, 3});
    check_sums<float, float>(DType::f32, 3, {rows, 5, 5}, {2, 0, 1});
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

TEST(Comm, GatheredRowsAreEverybodys) {
  for (const int ranks : {1, 2, 3, 4}) {
    for (const int64_t rows : {1, 4, 11}) {
      run_as_threads(ranks, [&](Transport& transport) {
        CommWorld world(transport, {.deadline = std::chrono::seconds(20), .checked = true});
        Comm comm(world, "world", first_ranks(ranks), 0);
        Tensor memory(DType::f32, rows, 6);
        const View all = memory.view().col_range(0, 5);
        const int64_t first = comm.begin(rows, comm.rank());
        const View mine = comm.rows_of(all, comm.rank());
        for (int64_t r = 0; r < mine.rows; ++r)
          for (float& x : mine.row<float>(r)) x = static_cast<float>(first + r);
        comm.all_gather(mine, all);
        for (int64_t r = 0; r < rows; ++r)
          for (const float x : all.row<float>(r)) EXPECT_EQ(x, static_cast<float>(r));
      });
    }
  }
}

TEST(Comm, MessagesArriveInOrderAndCollectivesDoNotMixWithThem) {
  run_as_threads(3, [](Transport& transport) {
    CommWorld world(transport, {.deadline = std::chrono::seconds(20)});
    Comm comm(world, "ring", first_ranks(3), 0);
    const int next = (comm.rank() + 1) % 3, before = (comm.rank() + 2) % 3;
    std::array<std::array<int, 3>, 2> out = {{{comm.rank(), 1, 2}, {comm.rank(), 3, 4}}};
    Comm::Pending a = comm.send(std::as_bytes(std::span(out[0])), next);
    Comm::Pending b = comm.send(std::as_bytes(std::span(out[1])), next);
    std::array<int64_t, 1> count = {1};
    comm.all_reduce(count);
    EXPECT_EQ(count[0], 3);
    std::array<int, 3> in{};
    for (const int expected : {1, 3}) {
      comm.receive(std::as_writable_bytes(std::span(in)), before);
      EXPECT_EQ(in[0], before);
      EXPECT_EQ(in[1], expected);
    }
    std::array<char, 4> word = {'n', 'o', 'n', 'e'};
    if (comm.rank() == 1) word = {'c', 'r', 'i', 'a'};
    comm.broadcast(std::as_writable_bytes(std::span(word)), 1);
    EXPECT_EQ(std::string(word.data(), 4), "cria");
  });
}

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

TEST(Groups, EveryRankSumsWithItsOwn) {
  run_as_threads(8, [](Transport& transport) {
    const RankGrid grid = make_grid(2, 2, 2, 8, transport.rank());
    Groups groups(transport, grid, {.deadline = std::chrono::seconds(20), .checked = true});
    std::array<int64_t, 1> tp = {grid.rank}, dp = tp, pp = tp, all = tp;
    groups.tp.all_reduce(tp);
    groups.dp.all_reduce(dp);
    groups.pp.all_reduce(pp);
    groups.world.all_reduce(all);
    const int base_tp = grid.rank / 2 * 2;
    EXPECT_EQ(tp[0], base_tp + base_tp + 1);
    EXPECT_EQ(dp[0], 2 * (grid.rank - 2 * grid.dp_index()) + 2);
    EXPECT_EQ(pp[0], 2 * (grid.rank % 4) + 4);
    EXPECT_EQ(all[0], 28);
  });
}

}  // namespace
}  // namespace cria
