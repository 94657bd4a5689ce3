#include "ops/embedding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"
#include "ops/window.h"

namespace cria::ops {
namespace {

ThreadPool& pool() {
  static ThreadPool p(2);
  return p;
}
Exec fast() { return {pool()}; }
Exec reference() { return {pool(), true}; }

constexpr int64_t kVocab = 11;
const std::vector<int32_t> kIds = {3, 0, 10, 3, 3, 7, 0, 3};

TEST(Embedding, CopiesRowsForEveryMixAndWidth) {
  const auto tokens = static_cast<int64_t>(kIds.size());
  for (const DType tt : kComputeTypes) {
    for (const DType ot : kComputeTypes) {
      for (const int64_t n : kWidths) {
        Window table(tt, kVocab, n, 1), out(ot, tokens, n, 2), expected(out);
        embedding(kIds, table, out, fast());
        embedding(kIds, table, expected, reference());
        EXPECT_TRUE(same_bits(out.memory, expected.memory)) << n;
      }
    }
  }
}

TEST(EmbeddingBackward, AgreesWithTheReferenceForEveryMixAndWidth) {
  const auto tokens = static_cast<int64_t>(kIds.size());
  for (const DType dt : kComputeTypes) {
    for (const int64_t n : kWidths) {
      Window dout(dt, tokens, n, 1), dtable(DType::f32, kVocab, n, 2), expected(dtable);
      Window before(dtable);
      embedding_backward(kIds, dout, dtable, fast());
      embedding_backward(kIds, dout, expected, reference());
      expect_close(dtable.view(), expected.view(), 0, 5 * 5 * 0x1p-24);  // five numbers below 1
      EXPECT_TRUE(same_bits(dtable.gap_view(), before.gap_view()));
      for (const int64_t unused : {1, 2, 4, 5, 6, 8, 9}) {
        EXPECT_TRUE(
            same_bits(dtable.view().row_range(unused, 1), before.view().row_range(unused, 1)));
      }
    }
  }
}

TEST(EmbeddingBackward, SumsInTokenOrderBeforeItAdds) {
  Tensor dout(DType::f32, 4, 1), dtable(DType::f32, 1, 1);
  const std::vector<int32_t> ids = {0, 0, 0, 0};
  // In f32 1e8 + 3 is 1e8, so the tokens' sum is -3 and the result -2. Were the tokens added to the
  // table's 1 one by one, 1e8 would swallow it, and the result would be -3.
  const float values[] = {1e8f, 3, -1e8f, -3};
  for (size_t i = 0; i < 4; ++i) dout.span<float>()[i] = values[i];
  dtable.span<float>()[0] = 1;
  embedding_backward(ids, dout, dtable, fast());
  EXPECT_EQ(dtable.span<float>()[0], -2);
}

TEST(EmbeddingBackward, ForgetsTheIdsOfTheCallBefore) {
  const Tensor dout = random_matrix(DType::f32, 2, 3, 1);
  for (const int32_t id : {9, 4, 9, 1}) {
    Tensor dtable(DType::f32, kVocab, 3);
    embedding_backward(std::vector<int32_t>{id, id}, dout, dtable, fast());
    for (int64_t r = 0; r < kVocab; ++r) {
      for (int64_t c = 0; c < 3; ++c) {
        const float sum = number_at(dout, 0, c) + number_at(dout, 1, c);
        EXPECT_EQ(number_at(dtable, r, c), r == id ? sum : 0);
      }
    }
  }
}

TEST(EmbeddingBackward, SameBitsForAnyNumberOfThreads) {
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 500; ++i) ids.push_back(i * i % 37);
  const Tensor dout = random_matrix(DType::bf16, 500, 2500, 1);
  expect_same_bits_for_any_threads([&](const Exec& exec) {
    Tensor dtable = random_matrix(DType::f32, 37, 2500, 2);
    embedding_backward(ids, dout, dtable, exec);
    return dtable;
  });
}

TEST(Embedding, SlicesOfTheVocabularyAddUpToTheWhole) {
  const auto tokens = static_cast<int64_t>(kIds.size());
  const Tensor table = random_matrix(DType::f32, kVocab, 37, 1);
  const Tensor dout = random_matrix(DType::f32, tokens, 37, 2);
  Tensor whole(DType::f32, tokens, 37), dwhole = random_matrix(DType::f32, kVocab, 37, 3);
  Tensor dsliced = random_matrix(DType::f32, kVocab, 37, 3);
  embedding(kIds, table, whole, fast());
  embedding_backward(kIds, dout, dwhole, fast());
  for (const Exec& exec : {fast(), reference()}) {
    std::vector<int> found(kIds.size());
    for (const auto& [first, rows] : {std::pair<int64_t, int64_t>{0, 3}, {3, 1}, {4, 7}}) {
      Tensor out = random_matrix(DType::f32, tokens, 37, 4);  // must be written over
      embedding(kIds, table.view().row_range(first, rows), out, exec, first, kVocab);
      for (int64_t t = 0; t < tokens; ++t) {
        const int64_t row = kIds[static_cast<size_t>(t)] - first;
        const bool here = row >= 0 && row < rows;
        found[static_cast<size_t>(t)] += here;
        for (int64_t i = 0; i < 37; ++i) {
          EXPECT_EQ(number_at(out, t, i), here ? number_at(whole, t, i) : 0);
        }
      }
      if (exec.reference) continue;
      embedding_backward(kIds, dout, dsliced.view().row_range(first, rows), exec, first, kVocab);
    }
    for (const int n : found) EXPECT_EQ(n, 1);
  }
  EXPECT_TRUE(same_bits(dsliced, dwhole));
}

TEST(EmbeddingBackward, OfASliceAgreesWithTheReference) {
  const Tensor dout = random_matrix(DType::f32, static_cast<int64_t>(kIds.size()), 37, 2);
  Tensor fast_sum(DType::f32, 4, 37), expected(DType::f32, 4, 37);
  embedding_backward(kIds, dout, fast_sum, fast(), 3, kVocab);
  embedding_backward(kIds, dout, expected, reference(), 3, kVocab);
  expect_close(fast_sum.view(), expected.view(), 0, 5 * 5 * 0x1p-24);
}

TEST(Embedding, RefusesSlicesAndIdsOutsideTheVocabulary) {
  Tensor table(DType::f32, 4, 4), out(DType::f32, 1, 4);
  const std::vector<int32_t> beyond = {static_cast<int32_t>(kVocab)}, inside = {0};
  EXPECT_THROW(embedding(beyond, table, out, fast(), 4, kVocab), UsageError);
  EXPECT_THROW(embedding_backward(beyond, out, table, fast(), 4, kVocab), UsageError);
  EXPECT_THROW(embedding(inside, table, out, fast(), 8, kVocab), UsageError);
  EXPECT_THROW(embedding(inside, table, out, fast(), -1, kVocab), UsageError);
  EXPECT_THROW(embedding(inside, table, out, fast(), 4), UsageError);
}

TEST(Embedding, RefusesIdsOutsideTheTable) {
  Tensor table(DType::f32, kVocab, 4), out(DType::f32, 2, 4);
  for (const int32_t bad : {-1, static_cast<int32_t>(kVocab), INT32_MIN}) {
    const std::vector<int32_t> ids = {0, bad};
    EXPECT_THROW(embedding(ids, table, out, fast()), UsageError);
    EXPECT_THROW(embedding_backward(ids, out, table, fast()), UsageError);
  }
  EXPECT_THROW(embedding(std::vector<int32_t>{1, 2, 3}, table, out, fast()), UsageError);
}

}  // namespace
}  // namespace cria::ops
