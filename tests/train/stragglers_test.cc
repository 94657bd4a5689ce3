#include "train/stragglers.h"

#include <gtest/gtest.h>

#include <thread>

#include "train/tiny_run.h"

namespace cria {
namespace {

std::vector<int> named(Stragglers& s, std::vector<double> seconds) {
  std::vector<int> ranks;
  for (const Straggler& found : s.report(seconds)) ranks.push_back(found.rank);
  return ranks;
}

TEST(Stragglers, IsNamedOnceAtTheThirdReportInARow) {
  Stragglers s(make_grid(4, 1, 1, 4, 0), 50);
  const std::vector<double> slow = {1, 1.1, 1.6, 0.9}, even = {1, 1.1, 1.2, 0.9};
  EXPECT_TRUE(named(s, slow).empty());
  EXPECT_TRUE(named(s, slow).empty());
  EXPECT_TRUE(named(s, even).empty());  // begins anew
  EXPECT_TRUE(named(s, slow).empty());
  EXPECT_TRUE(named(s, slow).empty());
  EXPECT_EQ(named(s, slow), std::vector<int>{2});
  EXPECT_TRUE(named(s, slow).empty());
}

TEST(Stragglers, OnlyRanksOfOneStageAreCompared) {
  Stragglers s(make_grid(2, 1, 2, 4, 0), 50);
  for (int report = 0; report < 3; ++report) EXPECT_TRUE(named(s, {1, 1, 3, 3.2}).empty());
  EXPECT_TRUE(named(s, {1, 1, 3, 4.2}).empty());
  EXPECT_TRUE(named(s, {1, 1, 3, 4.2}).empty());
  EXPECT_EQ(named(s, {1, 1, 3, 4.2}), std::vector<int>{3});
}

struct Named : Reporter {
  std::vector<int> ranks;
  void slow_rank(const Straggler& s) override { ranks.push_back(s.rank); }
};

TEST(Stragglers, WaitingForASlowRankDoesNotCountAsWork) {
  run_as_threads(3, [](Transport& transport) {
    Groups groups(transport, make_grid(3, 1, 1, 3, transport.rank()));
    test::TinyRun run;
    run.settings.batch_size = 1;
    run.settings.max_steps = 6;
    run.settings.epochs = 6;
    run.settings.compare_times_every = 2;
    if (transport.rank() == 1) {
      run.samples.before_fill = [](int64_t) {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
      };
    }
    Named reporter;
    Trainer trainer(run.state, run.settings, run.samples, groups, run.exec, reporter);
    trainer.run();
    EXPECT_EQ(reporter.ranks, std::vector<int>{1});
  });
}

}  // namespace
}  // namespace cria
