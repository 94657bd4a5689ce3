#include "comm/transport.h"

#include <gtest/gtest.h>

#include <array>
#include <stdexcept>
#include <thread>

#include "base/error.h"
#include "comm/operation_log.h"
#include "comm/rank_grid.h"

namespace cria {
namespace {

TEST(Transport, KeepsTheOrderOfMessagesBetweenTwoRanks) {
  run_as_threads(2, [](Transport& t) {
    std::array<int, 2> values{t.rank() == 0 ? 3 : 0, t.rank() == 0 ? 4 : 0};
    for (int& v : values) {
      const auto bytes = std::as_writable_bytes(std::span(&v, 1));
      auto x = t.rank() == 0 ? t.send(1, 0, bytes) : t.receive(0, 0, bytes);
      while (!x->done()) std::this_thread::yield();
    }
    EXPECT_EQ(values, (std::array<int, 2>{3, 4}));
  });
}

TEST(Transport, AnExceptionInOneRankWakesTheOthersAndIsThrownOn) {
  EXPECT_THROW(run_as_threads(3,
                              [](Transport& t) {
                                if (t.rank() == 1) throw std::domain_error("rank 1");
                                std::array<std::byte, 4> bytes{};
                                auto x = t.receive(1, 0, bytes);
                                while (!x->done()) std::this_thread::yield();
                              }),
               std::domain_error);
}

TEST(RankGrid, CountsTpFastestThenDpThenPp) {
  const RankGrid g = make_grid(2, 2, 2, 8, 5);
  EXPECT_EQ(g.tp_ranks(), (std::vector<int>{4, 5}));
  EXPECT_EQ(g.dp_ranks(), (std::vector<int>{5, 7}));
  EXPECT_EQ(g.pp_ranks(), (std::vector<int>{1, 5}));
  EXPECT_THROW(make_grid(2, 2, 2, 7, 0), UsageError);
}

TEST(OperationLog, SaysWhichOperationWaits) {
  OperationLog log;
  log.end(log.begin("barrier", "dp", 0));
  log.begin("all_reduce", "tp", 64);
  const std::string text = log.text(), last = text.substr(text.find('\n') + 1);
  EXPECT_EQ(last.find("2 all_reduce tp 64 bytes"), 0) << text;
  EXPECT_NE(last.find("waiting"), std::string::npos) << text;
}

}  // namespace
}  // namespace cria
