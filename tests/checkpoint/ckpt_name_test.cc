#include "checkpoint/ckpt_name.h"

#include <gtest/gtest.h>

namespace cria {
namespace {

TEST(CkptName, IsTakenApart) {
  const auto name = parse_ckpt_name("llama3-8b_rank_12-3_456.ckpt");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->before, "llama3-8b_rank_12");
  EXPECT_EQ(name->epoch, 3);
  EXPECT_EQ(name->step, 456);
  EXPECT_EQ(parse_ckpt_name("-1_999999999999999.ckpt")->step, 999999999999999);
}

TEST(CkptName, OtherNamesAreNone) {
  for (const char* name :
       {"", ".ckpt", "a.ckpt", "a-1.ckpt", "a-1_.ckpt", "a-_1.ckpt", "a-1_2.ckpt2", "a-1_2",
        "a-1_2_3.ckpt", "a-x_2.ckpt", "a-1_ 2.ckpt", "a-1_+2.ckpt", "a_1_2.ckpt",
        "a-1_1234567890123456.ckpt", "-.ckpt", "a-.ckp"})
    EXPECT_FALSE(parse_ckpt_name(name)) << name;
}

TEST(CkptName, WithoutItsRank) {
  EXPECT_EQ(without_rank("llama_rank_0-1_20.ckpt"), "llama_rank_-1_.ckpt");
  EXPECT_EQ(without_rank("llama_rank_11-1_20.ckpt"), "llama_rank_-1_.ckpt");
  EXPECT_EQ(without_rank("a_1b_2.c_3"), "a_1b_.c_3");
  EXPECT_EQ(without_rank("a_1234567890.ckpt"), "a_1234567890.ckpt");
  EXPECT_EQ(without_rank("__1-_"), "__-_");
  EXPECT_EQ(without_rank(""), "");
}

}  // namespace
}  // namespace cria
