// What collectives must do whatever carries their messages: the tests of every transport run these.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <thread>

#include "base/random.h"
#include "comm/comm.h"
#include "comm/groups.h"

namespace cria {

/// Runs a body once for each of so many ranks, each with its transport, as run_as_threads does.
using RunRanks = std::function<void(int ranks, const std::function<void(Transport&)>& body)>;

inline std::vector<int> first_ranks(int n) {
  std::vector<int> ranks(static_cast<size_t>(n));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

/// What rank r brings to a sum: values whose sum depends on the order they are added in.
inline float value_of(int rank, int64_t row, int64_t col) {
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
void check_sums(const RunRanks& run, DType dtype, int ranks, Shape s,
                std::vector<int> blocks = {}) {
  run(ranks, [&](Transport& transport) {
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

inline void check_all_sums(const RunRanks& run, int ranks, Shape s) {
  check_sums<float, float>(run, DType::f32, ranks, s);
  check_sums<bf16, float>(run, DType::bf16, ranks, s);
  check_sums<f16, float>(run, DType::f16, ranks, s);
  check_sums<double, double>(run, DType::f64, ranks, s);
}

inline void check_started_collectives(const RunRanks& run, std::span<const int> counts) {
  for (const int ranks : counts) {
    run(ranks, [&](Transport& transport) {
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

inline void check_gathers(const RunRanks& run, std::span<const int> counts) {
  for (const int ranks : counts) {
    for (const int64_t rows : {1, 4, 11}) {
      run(ranks, [&](Transport& transport) {
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

inline void check_messages(const RunRanks& run) {
  run(3, [](Transport& transport) {
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

inline void check_groups(const RunRanks& run) {
  run(8, [](Transport& transport) {
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

}  // namespace cria
