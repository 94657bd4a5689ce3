#include "train/loss_scale.h"

#include <gtest/gtest.h>

namespace cria {
namespace {

TEST(LossScale, aFixedOneNeverMoves) {
  LossScale s({.value = 8});
  for (const bool overflow : {true, false, true}) s.update(overflow);
  EXPECT_EQ(s.scale(), 8);
  EXPECT_TRUE(s.at_minimum());
}

TEST(LossScale, aDynamicOneShrinksOnOverflowAndGrowsAfterAWindow) {
  LossScale s({.kind = LossScaleSettings::Kind::dynamic, .value = 16, .factor = 2, .window = 3});
  s.update(true);  // counter 1: last = 1
  EXPECT_EQ(s.scale(), 8);
  s.update(false);  // 2 - 1 < 3
  s.update(false);  // 3 - 1 < 3
  EXPECT_EQ(s.scale(), 8);
  s.update(false);  // 4 - 1 >= 3
  EXPECT_EQ(s.scale(), 16);
  for (int i = 0; i < 10; ++i) s.update(true);
  EXPECT_EQ(s.scale(), 1);
  EXPECT_TRUE(s.at_minimum());
}

TEST(LossScale, aRestoredOneGoesOnAsIfNeverStopped) {
  for (const auto kind : {LossScaleSettings::Kind::dynamic, LossScaleSettings::Kind::adaptive}) {
    const LossScaleSettings settings{
        .kind = kind, .value = 1024, .window = 4, .max_window = 40, .min_window = 5};
    LossScale whole(settings), first(settings);
    const auto overflow = [](int i) { return i % 17 == 3; };
    for (int i = 0; i < 100; ++i) whole.update(overflow(i));
    for (int i = 0; i < 37; ++i) first.update(overflow(i));
    LossScale second(settings);
    second.restore(first.state());
    for (int i = 37; i < 100; ++i) second.update(overflow(i));
    EXPECT_EQ(second.state(), whole.state());
  }
}

}  // namespace
}  // namespace cria
