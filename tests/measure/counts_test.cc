// Counts against numbers worked out by hand. The shape "tiny": hidden 64, MLP 192, 2 layers, 4 heads and 2 KV heads of 16, 512
// words, a head of its own.
#include "measure/counts.h"

#include <gtest/gtest.h>

namespace cria {
namespace {

// q 64 x 64, k and v 32 x 64, o 64 x 64, three of 192 x 64, two norms of 64.
constexpr int64_t kLayer = 4096 + 2 * 2048 + 4096 + 3 * 12288 + 128;
static_assert(kLayer == 49280);
constexpr int64_t kTable = 512 * 64;
// Two layers, the last norm, the head; not the embedding.
constexpr int64_t kMultiplied = 2 * kLayer + 64 + kTable;
static_assert(kMultiplied == 131392);

TEST(Counts, TrainingIsSixOperationsAParameterAndTokenAndAttention) {
  // Attention of a token at length 8: 2 layers, 2 products, on average half of 8 keys, 64 wide, 2 operations.
  EXPECT_EQ(training_flops(named_config("tiny"), 3, 8), 3 * 24 * (2 * 131392 + 2 * 2 * 4 * 64 * 2));
  EXPECT_EQ(training_flops(named_config("tiny"), 3, 8), 19067904);
}

TEST(Counts, TheHeadOfAPromptIsForItsLastTokenOnly) {
  // 8 tokens through the layers and the last norm with attention, one through the head.
  EXPECT_EQ(prefill_flops(named_config("tiny"), 8), 8 * (2 * 98624 + 2048) + 2 * 32768);
  EXPECT_EQ(prefill_flops(named_config("tiny"), 8), 1659904);
  EXPECT_EQ(prefill_flops(named_config("tiny"), 1), 2 * kMultiplied + 256);
}

TEST(Counts, ADecodeStepReadsEveryMatrixOnceAndARowOfTheEmbeddingForEachSequence) {
  EXPECT_EQ(decode_weight_bytes(named_config("tiny"), DType::bf16, 1), 2 * kMultiplied + 128);
  EXPECT_EQ(decode_weight_bytes(named_config("tiny"), DType::bf16, 3), 263168);
  EXPECT_EQ(decode_weight_bytes(named_config("tiny"), DType::f32, 3), 2 * 263168);
}

TEST(Counts, ATiedTableIsReadAsTheHead) {
  LlamaConfig tied = named_config("tiny");
  tied.tie_word_embeddings = true;
  EXPECT_EQ(decode_weight_bytes(tied, DType::bf16, 1), 2 * kMultiplied);
  EXPECT_EQ(decode_weight_bytes(tied, DType::bf16, 3), 2 * kMultiplied);
  EXPECT_EQ(training_flops(tied, 3, 8), 19067904);
}

TEST(Counts, ADecodeStepReadsTheKeysAndValuesOfAllTokensBefore) {
  // keys and values, 2 layers, 2 heads of 16, 2 bytes
  EXPECT_EQ(cache_bytes(named_config("tiny"), DType::bf16, 1), 2 * 2 * 32 * 2);
  // 4 steps of 3 sequences see 11, 12, 13 and 14 tokens.
  EXPECT_EQ(decode_bytes(named_config("tiny"), DType::bf16, DType::bf16, 3, 10, 4),
            4 * 263168 + 3 * 256 * 50);
  EXPECT_EQ(decode_bytes(named_config("tiny"), DType::bf16, DType::f32, 3, 10, 4),
            4 * 263168 + 3 * 512 * 50);
}

TEST(Counts, BytesOfAWeightAreAFunctionOfItsDtype) {
  const std::vector<Param> params = llama_params(named_config("tiny"));
  const Param& q_proj = params[1];
  const Param& norm = params[8];
  ASSERT_TRUE(norm.is_norm());
  EXPECT_EQ(weight_bytes(q_proj, DType::f32), 16384);
  EXPECT_EQ(weight_bytes(q_proj, DType::bf16), 8192);
  // Blocks of 32 weights: q8_0 a scale of 2 bytes and 32, q4_0 2 and 16. Norms stay f32.
  EXPECT_EQ(weight_bytes(q_proj, DType::q8_0), 128 * 34);
  EXPECT_EQ(weight_bytes(q_proj, DType::q4_0), 128 * 18);
  EXPECT_EQ(weight_bytes(norm, DType::bf16), 128);
  EXPECT_EQ(weight_bytes(norm, DType::q4_0), 256);
}

TEST(Counts, TheDemosModelIsAsLargeAsPublished) {
  // SmolLM2-135M: 134,515,008 parameters, tied.
  EXPECT_EQ(decode_weight_bytes(named_config("135m"), DType::bf16, 1), 2 * 134515008);
}

}  // namespace
}  // namespace cria
