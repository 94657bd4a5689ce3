#include <gtest/gtest.h>

#include <array>

#include "base/error.h"
#include "comm/pending.h"

namespace cria {
namespace {

TEST(Comm, SendsToARankOfTheGroup) {
  run_as_threads(3, [](Transport& t) {
    if (t.rank() == 1) return;
    CommWorld world(t);
    Comm comm(world, "dp", {0, 2}, 0);
    std::array<std::byte, 3> bytes{};
    if (comm.rank() == 0) {
      bytes.fill(std::byte{7});
      comm.send(bytes, 1).wait();
    } else {
      comm.receive(bytes, 0);
    }
    EXPECT_EQ(bytes[2], std::byte{7});
  });
}

TEST(Comm, AddsInTheOrderOfTheRanks) {
  run_as_threads(3, [](Transport& t) {
    CommWorld world(t);
    Comm comm(world, "dp", {0, 1, 2}, 0);
    const std::array<double, 3> x{1e16, 1.0, -1e16};
    double sum = x.at(static_cast<size_t>(comm.rank()));
    comm.all_reduce(std::span(&sum, 1));
    EXPECT_EQ(sum, (x[0] + x[1]) + x[2]);
    EXPECT_NE(sum, (x[0] + x[2]) + x[1]);
    comm.barrier();
  });
}

TEST(Comm, NamesTheRankThatStayedAwayAfterTheDeadline) {
  run_as_threads(2, [](Transport& t) {
    if (t.rank() == 1) return;
    CommWorld world(t, {.deadline = std::chrono::milliseconds(20)});
    Comm comm(world, "dp", {0, 1}, 0);
    std::array<std::byte, 3> bytes{};
    try {
      comm.receive(bytes, 1);
      FAIL();
    } catch (const Error& e) {
      EXPECT_EQ(e.code, ExitCode::no_progress);
      EXPECT_NE(std::string(e.what()).find("not heard from: rank 1"), std::string::npos);
    }
  });
}

}  // namespace
}  // namespace cria
