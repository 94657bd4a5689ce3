#include "train/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace cria {
namespace {

Schedule schedule(Schedule::Kind kind) {
  Schedule s;
  s.kind = kind;
  s.lr = 1;
  s.warmup_steps = 4;
  s.total_steps = 12;
  return s;
}

TEST(Schedule, warmUpStartsAtItsFirstRateAndReachesThePeak) {
  using enum Schedule::Kind;
  for (const auto kind : {constant, linear, cosine, cosine_restarts, polynomial}) {
    Schedule s = schedule(kind);
    s.warmup_lr_init = 0.2;
    EXPECT_DOUBLE_EQ(learning_rate(s, 0), 0.2);
    EXPECT_DOUBLE_EQ(learning_rate(s, 2), 0.6);
    EXPECT_DOUBLE_EQ(learning_rate(s, 4), 1);
  }
}

TEST(Schedule, valuesOfTheFormulas) {
  using enum Schedule::Kind;
  EXPECT_DOUBLE_EQ(learning_rate(schedule(constant), 100), 1);
  EXPECT_DOUBLE_EQ(learning_rate(schedule(linear), 8), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate(schedule(linear), 12), 0);
  Schedule s = schedule(cosine);
  EXPECT_NEAR(learning_rate(s, 8), 0.5, 1e-15);
  EXPECT_NEAR(learning_rate(s, 6), 0.5 * (1 + std::sqrt(0.5)), 1e-15);
  s.lr_end = 0.25;
  EXPECT_DOUBLE_EQ(learning_rate(s, 12), 0.25);
  EXPECT_DOUBLE_EQ(learning_rate(s, 1000), 0.25);
  s = schedule(cosine_restarts);
  s.num_cycles = 2;
  EXPECT_NEAR(learning_rate(s, 8), 1, 1e-15);  // the second wave begins
  EXPECT_NEAR(learning_rate(s, 6), 0.5, 1e-15);
  s = schedule(polynomial);
  s.power = 2;
  EXPECT_DOUBLE_EQ(learning_rate(s, 8), 0.25);
}

TEST(Schedule, namesAndSettingsAreChecked) {
  EXPECT_EQ(parse_schedule("CosineWithWarmUpLR"), Schedule::Kind::cosine);
  EXPECT_THROW(parse_schedule("CosineWithWarmupLR"), UsageError);
  Schedule s = schedule(Schedule::Kind::polynomial);
  s.lr_end = 2;
  EXPECT_THROW(check_schedule(s), UsageError);
  s = schedule(Schedule::Kind::cosine);
  s.lr = NAN;
  EXPECT_THROW(check_schedule(s), UsageError);
}

}  // namespace
}  // namespace cria
