// The small headers of the room: checked arithmetic, random numbers, SHA-256, bytes, progress, CPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/cpu.h"
#include "base/progress.h"
#include "base/random.h"
#include "base/sha256.h"

namespace cria {
namespace {

TEST(Checked, SaysWhenANumberOverflows) {
  EXPECT_EQ(checked_add(1, 2), 3u);
  EXPECT_EQ(checked_add(UINT64_MAX, 0), UINT64_MAX);
  EXPECT_EQ(checked_add(UINT64_MAX, 1), std::nullopt);
  EXPECT_EQ(checked_mul(uint64_t{1} << 32, uint64_t{1} << 31), uint64_t{1} << 63);
  EXPECT_EQ(checked_mul(uint64_t{1} << 32, uint64_t{1} << 32), std::nullopt);
  EXPECT_EQ(checked_mul(0, UINT64_MAX), 0u);
  EXPECT_EQ(checked_round_up(0, 32), 0u);
  EXPECT_EQ(checked_round_up(1, 32), 32u);
  EXPECT_EQ(checked_round_up(32, 32), 32u);
  EXPECT_EQ(checked_round_up(UINT64_MAX - 31, 32), UINT64_MAX - 31);
  EXPECT_EQ(checked_round_up(UINT64_MAX - 30, 32), std::nullopt);
}

TEST(ClockText, WritesMinutesAndHours) {
  EXPECT_EQ(clock_text(0), "0:00");
  EXPECT_EQ(clock_text(9.4), "0:09");
  EXPECT_EQ(clock_text(59.6), "1:00");
  EXPECT_EQ(clock_text(75), "1:15");
  EXPECT_EQ(clock_text(3599), "59:59");
  EXPECT_EQ(clock_text(3600), "1:00:00");
  EXPECT_EQ(clock_text(100 * 3600 + 62), "100:01:02");
  EXPECT_EQ(clock_text(-3), "0:00");
}

TEST(Progress, SaysNothingAboutShortWork) {
  testing::internal::CaptureStderr();
  {
    Progress p("convert", 3, "tensors");
    for (int i = 0; i < 3; ++i) p.advance();
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(Progress, WritesTitleShareCountsAndNoteInALine) {
  testing::internal::CaptureStderr();
  {
    Progress p("convert", 4, "tensors");
    std::this_thread::sleep_for(std::chrono::milliseconds(1020));
    p.advance(2, "loss 1.5");
    p.advance(2, "loss 1.25");
  }
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, testing::MatchesRegex(
                        "convert [^\n]* 50% 2/4 tensors [^\n]*/s left 0:01  loss 1.5\n"
                        "convert [^\n]* 100% 4/4 tensors [^\n]*/s took 0:01  loss 1.25\n"));
}

TEST(Random, DependsOnAllThreeWordsAndNothingElse) {
  EXPECT_EQ(random_bits(1, 2, 3), random_bits(1, 2, 3));
  EXPECT_NE(random_bits(1, 2, 3), random_bits(1, 2, 4));
  EXPECT_NE(random_bits(1, 2, 3), random_bits(1, 3, 2));
  EXPECT_NE(random_bits(1, 2, 3), random_bits(2, 1, 3));
}

TEST(Random, HasTheMomentsOfItsDistributions) {
  constexpr int n = 100'000;
  double sum = 0, normal = 0, squares = 0;
  for (uint64_t i = 0; i < n; ++i) {
    const double u = random_unit(7, 1, i), z = random_normal(7, 2, i);
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
    normal += z;
    squares += z * z;
  }
  // five standard errors
  EXPECT_NEAR(sum / n, 0.5, 5 * 0.2887 / std::sqrt(n));
  EXPECT_NEAR(normal / n, 0, 5 / std::sqrt(n));
  EXPECT_NEAR(squares / n, 1, 5 * std::sqrt(2.0 / n));
}

// The examples of FIPS 180-2.
TEST(Sha256, GivesTheStandardsDigests) {
  EXPECT_EQ(sha256_hex({}), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex(raw_bytes("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 parts;
  parts.add(raw_bytes("abcdbcdecdefdefgefghfghighij"));
  parts.add(raw_bytes("hijkijkljklmklmnlmnomnopnopq"));
  EXPECT_EQ(parts.hex(), "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(Bytes, AreReadAndWrittenInBothOrders) {
  std::vector<std::byte> out;
  append_le<uint32_t>(out, 0x01020304);
  append_be<uint32_t>(out, 0x01020304);
  EXPECT_EQ(text_of(out), std::string_view("\x04\x03\x02\x01\x01\x02\x03\x04"));
  EXPECT_EQ(load_le<uint32_t>(out, 0), 0x01020304u);
  EXPECT_EQ(load_be<uint32_t>(out, 4), 0x01020304u);
  EXPECT_EQ(load_le<uint16_t>(out, 3), 0x0101u);
}

TEST(Cpu, HasAtLeastOneCoreAndALevelWithAName) {
  EXPECT_GE(available_cores(), 1);
  EXPECT_THAT(name_of(current_isa()),
              testing::AnyOf("avx2", "avx512", "avx512_vnni", "avx512_bf16"));
}

}  // namespace
}  // namespace cria
