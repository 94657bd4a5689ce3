#include "base/thread_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdlib>
#include <fstream>
#include <stdexcept>

#include "base/error.h"

namespace cria {
namespace {

TEST(ThreadPool, CoversEveryIndexOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (const int64_t count : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
      pool.parallel_for(count, [&](int64_t i) { ++seen[static_cast<size_t>(i)]; });
      for (const auto& n : seen) ASSERT_EQ(n.load(), 1);
    }
  }
}

TEST(ThreadPool, ZeroThreadsMeansTheLaunchersShare) {
  setenv("CRIA_THREADS", "3", 1);
  EXPECT_EQ(ThreadPool(0).threads(), 3);
  EXPECT_EQ(ThreadPool(2).threads(), 2);
  for (const char* bad : {"0", "x", "4097", "1 "}) {
    setenv("CRIA_THREADS", bad, 1);
    EXPECT_THROW(ThreadPool(0), UsageError) << bad;
  }
  unsetenv("CRIA_THREADS");
}

TEST(ThreadPool, WithoutALauncherOfOursRanksShareTheHostEvenly) {
  setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "1000000", 1);
  EXPECT_EQ(ThreadPool(0).threads(), 1);
  setenv("CRIA_THREADS", "3", 1);
  EXPECT_EQ(ThreadPool(0).threads(), 3);
  unsetenv("CRIA_THREADS");
  unsetenv("OMPI_COMM_WORLD_LOCAL_SIZE");
}

TEST(ThreadPool, WorkerNumbersAreBelowTheNumberOfThreads) {
  ThreadPool pool(3);
  std::atomic<int> running[3] = {};
  std::atomic<bool> shared{false};
  pool.parallel_for_worker(500, [&](int64_t, int worker) {
    ASSERT_GE(worker, 0);
    ASSERT_LT(worker, 3);
    if (++running[worker] > 1) shared = true;
    --running[worker];
  });
  EXPECT_FALSE(shared);
}

TEST(ThreadPool, ThrowsTheFailureOfABodyAgainAndGoesOn) {
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 20; ++round) {
      try {
        pool.parallel_for(50, [&](int64_t i) {
          if (i == 17) throw std::runtime_error("seventeen");
        });
        FAIL();
      } catch (const std::runtime_error& e) {
        EXPECT_STREQ(e.what(), "seventeen");
      }
      std::atomic<int> done{0};
      pool.parallel_for(50, [&](int64_t) { ++done; });
      EXPECT_EQ(done, 50);
    }
  }
}

TEST(ThreadPool, ManyShortLoopsEndAndSeeEachOthersWrites) {
  ThreadPool pool(4);
  std::vector<int> values(64, 0);
  for (int round = 0; round < 2000; ++round) {
    pool.parallel_for(64, [&](int64_t i) { ++values[static_cast<size_t>(i)]; });
  }
  EXPECT_THAT(values, testing::Each(2000));
}

// Far more workers than cores: most of them come when a loop, or several, are over.
TEST(ThreadPool, WorkersThatComeLateTakeNothingOfAnotherLoop) {
  ThreadPool pool(24);
  for (int64_t round = 0; round < 3000; ++round) {
    const int64_t count = 2 + round % 7;
    std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
    pool.parallel_for(count, [&](int64_t i) { ++seen[static_cast<size_t>(i)]; });
    for (const auto& s : seen) ASSERT_EQ(s, 1) << round;
  }
}

TEST(ThreadPool, WakesParkedWorkers) {
  ThreadPool pool(2);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // longer than workers spin
    std::atomic<int> done{0};
    pool.parallel_for(10, [&](int64_t) { ++done; });
    EXPECT_EQ(done, 10);
  }
}

// The sanitizers take terabytes of addresses for themselves.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(ThreadPool, ThreadsThatCannotStartAreOneLineAndTheOthersEnd) {
  const auto start_many = [] {
    int64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const auto most = static_cast<rlim_t>(pages * 4096 + (64 << 20));
    const rlimit limit{most, most};
    setrlimit(RLIMIT_AS, &limit);
    try {
      ThreadPool pool(200);  // each has a stack of some MiB
    } catch (const Error& e) {
      std::exit(std::string(e.what()).starts_with("--threads is 200, but only ")
                    ? static_cast<int>(e.code)
                    : 99);
    }
    std::exit(0);
  };
  EXPECT_EXIT(start_many(), testing::ExitedWithCode(static_cast<int>(ExitCode::memory)), "");
}
#endif

}  // namespace
}  // namespace cria
