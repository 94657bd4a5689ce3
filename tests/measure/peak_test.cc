// The loops do what they count.
#include "measure/peak.h"

#include <gtest/gtest.h>

#include "base/cpu.h"

namespace cria {
namespace {

class PeakLoops : public testing::TestWithParam<Peak> {};

TEST_P(PeakLoops, DoEveryOperationTheyCount) {
  const auto loop = compute_loop(GetParam());
  if (!loop) GTEST_SKIP() << "level " << name_of(current_isa()) << " has no instruction for it";
  const double starts = 1.0 * loop->bits / 32 * loop->chains * (loop->chains - 1) / 2;
  // Exact: all sums are below 2^24 units of their last place.
  EXPECT_EQ(loop->run(), starts + static_cast<double>(loop->operations) / 2 * loop->product);
}

// A compiler that merged the chains would make a loop as many times faster: beyond two units that each take a whole register a
// cycle at 6.5 GHz, of which processors since 2015 reach more than a quarter.
TEST_P(PeakLoops, AreNotFasterThanAProcessorCanBe) {
  const auto loop = compute_loop(GetParam());
  if (!loop) GTEST_SKIP() << "level " << name_of(current_isa()) << " has no instruction for it";
  ThreadPool pool(1);
  const double rate = Peaks(pool).rate_of_one(GetParam());
  const double depth = GetParam() == Peak::f32 ? 1 : GetParam() == Peak::bf16 ? 2 : 4;
  EXPECT_GT(rate, 0);
  EXPECT_LT(rate, 6.5e9 * 2 * loop->bits / 32 * 2 * depth);
}

INSTANTIATE_TEST_SUITE_P(Kinds, PeakLoops, testing::Values(Peak::f32, Peak::bf16, Peak::int8));

TEST(PeakLoop, OfPairsOfBf16IsThereWhereTheLevelHasThem) {
  EXPECT_EQ(compute_loop(Peak::bf16).has_value(), current_isa() == Isa::avx512_bf16);
  EXPECT_FALSE(compute_loop(Peak::read).has_value());
  ThreadPool pool(1);
  EXPECT_EQ(Peaks(pool).rate(Peak::bf16) > 0, current_isa() == Isa::avx512_bf16);
}

TEST(PeakLoop, KeepsToTheLevelInUse) {
  const int bits = current_isa() == Isa::avx2 ? 256 : 512;
  for (const Peak peak : {Peak::f32, Peak::int8}) EXPECT_EQ(compute_loop(peak)->bits, bits);
}

TEST(PeakOfReading, GoesFarBeyondTheCaches) {
  ThreadPool pool(2);
  EXPECT_GE(ReadLoop(pool).size_bytes(), int64_t{256} << 20);
  EXPECT_GT(Peaks(pool).rate(Peak::read), 0);
}

}  // namespace
}  // namespace cria
