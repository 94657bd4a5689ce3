#include <gtest/gtest.h>

#include "base/error.h"
#include "ops/attention_cases.h"
#include "ops/int8_rows.h"

namespace cria::ops {
namespace {

/// One sequence of `tokens` tokens whose cache holds all keys and values, and nonsense after them.
struct Conversation {
  AttentionCase c;
  int64_t capacity;
  mutable Tensor k, v;  // which attention only reads
  Conversation(const HeadShape& shape, int64_t tokens, DType dtype, uint64_t seed = 1)
      : c(shape, tokens, dtype, seed),
        capacity(tokens + 3),
        k(dtype, shape.kv_heads * capacity, shape.head_dim),
        v(dtype, shape.kv_heads * capacity, shape.head_dim) {
    for (int64_t g = 0; g < shape.kv_heads; ++g) {
      for (int64_t t = 0; t < capacity; ++t) {
        for (int64_t d = 0; d < shape.head_dim; ++d) {
          const int64_t row = g * capacity + t, column = g * shape.head_dim + d;
          set_number(k, row, d, t < tokens ? number_at(c.k(), t, column) : NAN);
          set_number(v, row, d, t < tokens ? number_at(c.v(), t, column) : NAN);
        }
      }
    }
  }
  [[nodiscard]] CachedSequence part(int64_t position, int64_t count, int64_t row) const {
    return {row, count, position, k, v, capacity};
  }
  /// The outputs of all tokens, which come in calls of the given sizes.
  [[nodiscard]] Tensor run(const std::vector<int64_t>& calls, const Exec& exec) const {
    Tensor out(c.packed.dtype(), c.packed.rows(), c.q_cols());
    int64_t position = 0;
    for (const int64_t count : calls) {
      const CachedSequence s = part(position, count, 0);
      attention_cached(c.q().row_range(position, count), {&s, 1}, c.shape,
                       out.view().row_range(position, count), exec);
      position += count;
    }
    return out;
  }
};

const HeadShape kShapes[] = {{1, 1, 2},  {3, 3, 6},  {2, 1, 16},  {6, 2, 18},
                             {9, 3, 64}, {4, 1, 80}, {8, 1, 128}, {14, 2, 64}};

class CachedShapes : public testing::TestWithParam<std::tuple<HeadShape, DType>> {};

TEST_P(CachedShapes, MatchReference) {
  const auto& [shape, dtype] = GetParam();
  ThreadPool pool(2);
  const Conversation conversation(shape, 150, dtype);
  const std::vector<int64_t> calls{130, 1, 1, 2, 1, 15};
  // f32: sums of 150 terms. 16 bits: one rounding of the result.
  const double unit = dtype == DType::f32 ? 1e-5 : dtype == DType::f16 ? 0x1p-11 : 0x1p-8;
  expect_close("out", conversation.run(calls, {pool}), conversation.run({150}, {pool, true}), unit);
}

TEST_P(CachedShapes, PrefillThenDecodeGivesTheBitsOfOneLongerPrefill) {
  const auto& [shape, dtype] = GetParam();
  ThreadPool pool(2);
  const Conversation conversation(shape, 150, dtype);
  const Tensor whole = conversation.run({150}, {pool});
  EXPECT_TRUE(same_bits(whole, conversation.run({63, 1, 1, 2, 1, 64, 18}, {pool})));
  EXPECT_TRUE(same_bits(whole, conversation.run(std::vector<int64_t>(150, 1), {pool})));
}
INSTANTIATE_TEST_SUITE_P(Odd, CachedShapes,
                         testing::Combine(testing::ValuesIn(kShapes),
                                          testing::Values(DType::f32, DType::f16, DType::bf16)));

TEST(AttentionCached, SpansOfKeysAreCombinedAsInPrefill) {
  ThreadPool pool(2);
  const Conversation conversation({4, 2, 8}, 2100, DType::f32);
  const Tensor whole = conversation.run({2100}, {pool});
  EXPECT_TRUE(same_bits(whole, conversation.run({1020, 1, 1, 1, 1, 1, 1023, 1, 1, 50}, {pool})));
  expect_close("out", whole, conversation.run({2100}, {pool, true}), 1e-5);
}

TEST(AttentionCached, AWholePromptGivesTheBitsOfAttention) {
  ThreadPool pool(2);
  const Conversation conversation({6, 2, 16}, 1100, DType::bf16);
  AttentionOutputs r(conversation.c);
  attention(conversation.c.q(), conversation.c.k(), conversation.c.v(), Offsets{0, 1100},
            conversation.c.shape, r.out, View{}, {pool});
  EXPECT_TRUE(same_bits(r.out, conversation.run({1100}, {pool})));
}

// A cache of 8 bits: everything is as with a cache of the numbers that its rows stand for.
class CachedInt8 : public testing::TestWithParam<HeadShape> {};

struct Int8Conversation : Conversation {
  Int8Conversation(const HeadShape& shape, int64_t tokens, DType dtype)
      : Conversation(shape, tokens, dtype) {
    for (Tensor* m : {&k, &v}) {
      Tensor rounded(DType::i8, m->rows(), int8_row_bytes(shape.head_dim));
      round_to_int8(*m, rounded);
      *m = std::move(rounded);
    }
  }
  [[nodiscard]] Conversation opened() const {
    Conversation other(c.shape, capacity - 3, DType::f32);
    other.c = AttentionCase(c.shape, capacity - 3, c.packed.dtype());
    for (const auto& [from, to] : {std::pair{&k, &other.k}, {&v, &other.v}}) {
      for (int64_t r = 0; r < from->rows(); ++r)
        open_int8_row(from->view().row_range(r, 1), c.shape.head_dim,
                      to->view().row<float>(r).data());
    }
    return other;
  }
};

TEST_P(CachedInt8, GivesTheBitsOfTheNumbersItsRowsStandFor) {
  ThreadPool pool(2);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Int8Conversation conversation(GetParam(), 150, dtype);
    const Conversation opened = conversation.opened();
    const std::vector<int64_t> calls{130, 1, 1, 2, 1, 15};
    EXPECT_TRUE(same_bits(conversation.run(calls, {pool}), opened.run(calls, {pool})));
    EXPECT_TRUE(same_bits(conversation.run(calls, {pool}), conversation.run({64, 1, 85}, {pool})));
    EXPECT_TRUE(same_bits(conversation.run(calls, {pool, true}), opened.run(calls, {pool, true})));
  }
}
INSTANTIATE_TEST_SUITE_P(Odd, CachedInt8, testing::ValuesIn(kShapes));

TEST(AttentionCached, RefusesACacheThatIsOnlyHalfInEightBits) {
  ThreadPool pool(1);
  const Int8Conversation a({2, 1, 4}, 5, DType::f32);
  CachedSequence s = a.part(0, 1, 0);
  Conversation plain({2, 1, 4}, 5, DType::f32);
  s.v = plain.v;
  Tensor out(DType::f32, 1, 8);
  EXPECT_THROW(attention_cached(a.c.q().row_range(0, 1), {&s, 1}, a.c.shape, out, {pool}),
               UsageError);
}

TEST(AttentionCached, SequencesInOneCallGiveTheBitsOfEachAloneOnAnyThreads) {
  const HeadShape shape{6, 2, 16};
  const Conversation a(shape, 90, DType::f32, 1), b(shape, 1500, DType::f32, 2),
      c(shape, 40, DType::f32, 3);
  ThreadPool one(1), two(2), three(3);
  // Rows of the call: b decodes its last token, a prefills 30, c decodes; c's row lies before a's.
  const std::vector<CachedSequence> sequences{b.part(1499, 1, 0), a.part(60, 30, 2),
                                              c.part(39, 1, 1)};
  Tensor q(DType::f32, 32, a.c.q_cols()), expected(DType::f32, 32, a.c.q_cols());
  const auto place = [&](const Conversation& from, int64_t position, int64_t count, int64_t row) {
    const CachedSequence s = from.part(position, count, 0);
    const ConstView rows = from.c.q().row_range(position, count);
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t i = 0; i < q.cols(); ++i) set_number(q, row + r, i, number_at(rows, r, i));
    }
    attention_cached(rows, {&s, 1}, shape, expected.view().row_range(row, count), {one});
  };
  place(b, 1499, 1, 0);
  place(c, 39, 1, 1);
  place(a, 60, 30, 2);
  for (ThreadPool* pool : {&one, &two, &three}) {
    Tensor out(DType::f32, 32, q.cols());
    attention_cached(q, sequences, shape, out, {*pool});
    EXPECT_TRUE(same_bits(out, expected));
  }
}

TEST(AttentionCached, SaysWhatIsWrongWithASequence) {
  ThreadPool pool(1);
  const Conversation conversation({2, 1, 4}, 5, DType::f32);
  Tensor out(DType::f32, 5, 8);
  const auto failure = [&](const CachedSequence& s) -> std::string {
    try {
      attention_cached(conversation.c.q(), {&s, 1}, conversation.c.shape, out, {pool});
    } catch (const UsageError& e) {
      return e.what();
    }
    return "no failure";
  };
  EXPECT_EQ(failure(conversation.part(0, 3, 4)),
            "attention_cached: sequence 0 has rows 4 .. 7 of 5");
  EXPECT_EQ(failure(conversation.part(7, 2, 0)),
            "attention_cached: sequence 0 reaches position 9 of a cache for 8");
  CachedSequence s = conversation.part(0, 1, 0);
  s.capacity = 9;
  EXPECT_EQ(failure(s), "attention_cached: k is [8, 4], expected [9, 4]");
}

}  // namespace
}  // namespace cria::ops
