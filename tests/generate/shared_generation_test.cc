// Generation by several ranks that share every matrix, have some of the layers each, or both: the tokens of one rank, on all of them.
#include <cmath>

#include "base/error.h"
#include "shared_testing.h"

namespace cria {
namespace {

class SharedGeneration : public testing::TestWithParam<Case> {
 protected:
  SharedGeneration() {
    // Longer than a piece of a prefill, short, and of one token.
    prompts_ = {random_ids(GetParam().long_prompt(), GetParam().vocab, 3),
                random_ids(9, GetParam().vocab, 4), random_ids(1, GetParam().vocab, 5)};
    settings_.compute = DType::f32;
    settings_.max_new_tokens = 20;
    settings_.batch_size = 2;
  }
  [[nodiscard]] std::vector<Rows> on(const Case& c) const {
    return generate_on(c, prompts_, settings_);
  }
  Rows prompts_;
  GenerateSettings settings_;
};

TEST_P(SharedGeneration, GreedyTokensAreThoseOfOneRank) {
  const Rows alone = on(GetParam().alone())[0];
  ASSERT_EQ(alone[1].size(), 20U);
  EXPECT_NE(alone[0], alone[1]);
  for (const Rows& rows : on(GetParam())) EXPECT_EQ(rows, alone);
}

TEST_P(SharedGeneration, DrawsAreTheSameOnAllRanks) {
  settings_.sampling.do_sample = true;
  settings_.sampling.temperature = 2;
  settings_.sampling.seed = 11;
  const auto first = on(GetParam());
  for (const Rows& rows : first) EXPECT_EQ(rows, first[0]);
  // Stages change no bit of a logit, so that even draws are one rank's.
  if (GetParam().tp == 1) {
    EXPECT_EQ(first[0], on(GetParam().alone())[0]);
  }
  settings_.sampling.seed = 12;
  EXPECT_NE(on(GetParam())[0], first[0]);
}

TEST_P(SharedGeneration, ARowOfABatchIsTheRowAlone) {
  const Rows together = on(GetParam())[0];
  const Rows all = prompts_;
  for (size_t i = 0; i < all.size(); ++i) {
    prompts_ = {all[i]};
    EXPECT_EQ(on(GetParam())[0][0], together[i]) << i;
  }
}

/// Logits after each of 40 tokens, on the last rank.
std::vector<float> logits_on(const Case& c, const std::vector<int32_t>& ids) {
  Tensor logits(DType::f32, std::ssize(ids), c.vocab);
  on_ranks(c, [&](Decoder& decoder, Groups& groups) {
    Tensor mine(DType::f32, std::ssize(ids), c.vocab);
    KvCache cache(decoder.local(), DType::f32);
    decoder.prefill_all(ids, cache, mine);
    if (groups.grid.rank == groups.grid.size() - 1) logits = std::move(mine);
  });
  return {logits.span<float>().begin(), logits.span<float>().end()};
}

// Sums over ranks have another order, which costs a few units of the last of 24 bits. Beside blocks it costs at most what rounding x to
// 8 bits costs at all: 0.6 % a product, and 29 of them follow one another.
TEST_P(SharedGeneration, LogitsAreCloseToThoseOfOneRank) {
  const std::vector<int32_t> ids = random_ids(40, GetParam().vocab, 6);
  const std::vector<float> alone = logits_on(GetParam().alone(), ids),
                           shared = logits_on(GetParam(), ids);
  double squares = 0, size = 0;
  for (size_t i = 0; i < alone.size(); ++i) {
    squares += std::pow(double{shared[i]} - double{alone[i]}, 2);
    size += std::pow(double{alone[i]}, 2);
  }
  EXPECT_GT(size, 0);
  EXPECT_LT(std::sqrt(squares / size), GetParam().blocks() ? std::sqrt(29) * 0.006 : 1e-5);
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, SharedGeneration,
    testing::Values(
        Case{.name = "tp2", .tp = 2},  // the whole head, shared out
        Case{.name = "tp2_rows_that_do_not_divide", .tp = 2, .vocab = 61},
        Case{.name = "tp2_split", .tp = 2, .vocab_split = true},
        Case{.name = "tp4_split", .tp = 4, .vocab_split = true},
        Case{.name = "tp2_tied_split", .tp = 2, .tied = true, .vocab_split = true},
        Case{.name = "tp4_tied", .tp = 4, .tied = true},
        Case{.name = "pp2", .stages = {{0, 1}, {2, 3}}},
        Case{.name = "pp2_uneven_tied", .tied = true, .stages = {{0}, {1, 2, 3}}},
        Case{.name = "pp4_split", .vocab_split = true, .stages = {{0}, {1}, {2}, {3}}},
        Case{.name = "pp2_interleaved", .stages = {{0, 2}, {1, 3}}},
        Case{.name = "tp2_pp2", .tp = 2, .stages = {{0, 1}, {2, 3}}},
        Case{.name = "tp2_pp2_tied_split_interleaved",
             .tp = 2,
             .tied = true,
             .vocab_split = true,
             .stages = {{0, 2}, {1, 3}}},
        Case{.name = "packed_tp2", .tp = 2, .packed = DType::q8_0},
        Case{.name = "packed_tp4_split", .tp = 4, .vocab_split = true, .packed = DType::q4_1},
        Case{.name = "packed_tp2_rows_of_half_panels", .tp = 2, .vocab = 60, .packed = DType::bf16},
        Case{.name = "packed_tp2_tied_split",
             .tp = 2,
             .tied = true,
             .vocab_split = true,
             .packed = DType::q8_0},
        Case{.name = "packed_pp2_tied",
             .tied = true,
             .stages = {{0, 2}, {1, 3}},
             .packed = DType::q8_0},
        Case{.name = "packed_tp2_pp2", .tp = 2, .stages = {{0, 1}, {2, 3}}, .packed = DType::bf16}),
    [](const auto& p) { return p.param.name; });

TEST(SharedGenerationErrors, WeightsOfAnotherGroupAreABug) {
  const LlamaConfig config = config_of(false, 64);
  ThreadPool pool(1);
  ops::Exec exec{pool};
  ModelPart part = whole_model(config);
  part.tp = 2;
  const ParamArena half = slices(config, part, pool);
  const Rows prompts = {{1, 2}};
  EXPECT_THROW(generate(config, half, prompts, {.compute = DType::f32}, exec), std::logic_error);
  part = whole_model(config);
  part.layers = {0, 1};
  part.head = false;
  const ParamArena first = slices(config, part, pool);
  EXPECT_THROW(generate(config, first, prompts, {.compute = DType::f32}, exec), std::logic_error);
}

}  // namespace
}  // namespace cria
