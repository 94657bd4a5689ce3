#include <gtest/gtest.h>

#include "ops/attention.h"
#include "ops/attention_cases.h"
#include "ops/int8_rows.h"
#include "ops_cuda/tested_device.h"

namespace cria::ops {
namespace {

struct Results {
  Tensor out, lse, gradients;
};

Results on_gpu(const AttentionCase& c, const Offsets& documents) {
  const int64_t q = c.q_cols(), kv = c.kv_cols();
  There packed(c.packed), dout(c.dout_memory),
      gradients(Tensor(c.packed.dtype(), c.packed.rows(), c.packed.cols()));
  There out(Tensor(c.packed.dtype(), c.packed.rows(), q)),
      lse(Tensor(DType::f32, c.packed.rows(), c.shape.heads));
  const View all = packed, d = gradients;
  attention(all.col_range(0, q), all.col_range(q, kv), all.col_range(q + kv, kv), documents,
            c.shape, out, lse, on_device());
  attention_backward(all.col_range(0, q), all.col_range(q, kv), all.col_range(q + kv, kv), out, lse,
                     dout, documents, c.shape, d.col_range(0, q), d.col_range(q, kv),
                     d.col_range(q + kv, kv), on_device());
  return {out.back(), lse.back(), gradients.back()};
}

/// f32: sums of up to D and T products of numbers of size 1. 16 bits: the output is rounded once, and the gradients' largest
/// terms have the rounding of the output (which backward reads) in them.
double tolerance(DType dtype) {
  return dtype == DType::f32 ? 2e-5 : dtype == DType::f16 ? 2 * 0x1p-11 : 2 * 0x1p-8;
}

void expect_reference(const AttentionCase& c, const Offsets& documents) {
  const AttentionOutputs plain = run_attention(c, documents, reference());
  const Results gpu = on_gpu(c, documents);
  const double relative = tolerance(c.packed.dtype());
  expect_close("out", gpu.out, plain.out, relative);
  expect_close("lse", gpu.lse, plain.lse, 1e-5);
  const int64_t q = c.q_cols(), kv = c.kv_cols();
  expect_close("dq", gpu.gradients.view().col_range(0, q), plain.dq, relative);
  expect_close("dk", gpu.gradients.view().col_range(q, kv), plain.dk, relative);
  expect_close("dv", gpu.gradients.view().col_range(q + kv, kv), plain.dv, relative);
}

TEST(AttentionOnDevice, AgreesWithTheReferenceForEveryShape) {
  const std::vector<HeadShape> shapes = {{1, 1, 2},  {4, 2, 6},   {3, 1, 16}, {2, 2, 30},
                                         {8, 2, 64}, {2, 1, 128}, {1, 1, 256}};
  for (const HeadShape& shape : shapes) {
    for (const DType dtype : kComputeTypes) {
      SCOPED_TRACE(testing::Message()
                   << shape.heads << " heads of " << shape.head_dim << ", " << name_of(dtype));
      expect_reference(AttentionCase(shape, 83, dtype), {0, 1, 1, 40, 83});
    }
  }
}

TEST(AttentionOnDevice, AgreesBeyondASpanOfKeys) {
  expect_reference(AttentionCase({2, 1, 8}, 530, DType::f32), {0, 530});
}

TEST(AttentionOnDevice, SameBitsInEveryOrderAndForADocumentAlone) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const AttentionCase c({4, 2, 16}, 70, dtype);
    threads_descend(true);
    const Results descending = on_gpu(c, {0, 30, 70});
    threads_descend(false);
    const Results ascending = on_gpu(c, {0, 30, 70});
    EXPECT_TRUE(same_bits(descending.out, ascending.out));
    EXPECT_TRUE(same_bits(descending.gradients, ascending.gradients));
    AttentionCase second({4, 2, 16}, 40, dtype);
    std::memcpy(second.packed.bytes().data(), c.packed.view().at(30, 0),
                second.packed.size_bytes());
    std::memcpy(second.dout_memory.bytes().data(), c.dout_memory.view().at(30, 0),
                second.dout_memory.size_bytes());
    const Results alone = on_gpu(second, {0, 40});
    EXPECT_TRUE(same_bits(alone.out, ascending.out.view().row_range(30, 40)));
    EXPECT_TRUE(same_bits(alone.gradients, ascending.gradients.view().row_range(30, 40)));
  }
}

/// Caches of two sequences: one that has read `first` tokens, one that reads 5 at once.
class CachedOnDevice : public testing::TestWithParam<int64_t> {};
INSTANTIATE_TEST_SUITE_P(Lengths, CachedOnDevice, testing::Values(0, 1, 31, 32, 511, 512, 1100));

TEST_P(CachedOnDevice, AgreesWithTheReferenceAndWithPrompts) {
  const int64_t first = GetParam();
  const HeadShape shape{4, 2, 10};
  const int64_t capacity = first + 7;
  for (const DType dtype : {DType::f32, DType::bf16}) {
    Tensor k = random_matrix(dtype, 2 * capacity, 10, 1),
           v = random_matrix(dtype, 2 * capacity, 10, 2);
    const Tensor q = random_matrix(dtype, 6, 40, 3);
    const auto sequences = [&](View keys, View values) {
      return std::vector<CachedSequence>{{0, 1, first, keys, values, capacity},
                                         {1, 5, first, keys, values, capacity}};
    };
    Tensor out(dtype, 6, 40);
    attention_cached(q, sequences(k, v), shape, out, reference());
    There k_there(k), v_there(v), q_there(q);
    const Tensor back = in_both_orders([&] {
      There out_there(Tensor(dtype, 6, 40));
      attention_cached(q_there, sequences(k_there, v_there), shape, out_there, on_device());
      return out_there;
    });
    expect_close("out", back, out, tolerance(dtype));
    // The five tokens one at a time.
    for (int64_t i = 0; i < 5; ++i) {
      There one(Tensor(dtype, 1, 40));
      const std::vector<CachedSequence> token = {{0, 1, first + i, k_there, v_there, capacity}};
      attention_cached(View(q_there).row_range(1 + i, 1), token, shape, one, on_device());
      // Prompts of 16-bit types go through tensor cores, single tokens do not.
      if (dtype == DType::f32) {
        EXPECT_TRUE(same_bits(one.back(), back.view().row_range(1 + i, 1))) << i;
      } else {
        expect_close("alone", one.back(), back.view().row_range(1 + i, 1), tolerance(dtype));
      }
    }
  }
}

// Single tokens and pieces of a prompt over caches of 8 bits are those over the numbers that the rows stand for.
TEST_P(CachedOnDevice, ReadsCachesOf8Bits) {
  const int64_t first = GetParam(), dim = 40;
  const HeadShape shape{4, 2, dim};
  const int64_t capacity = first + 7;
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensor k = random_matrix(dtype, 2 * capacity, dim, 1),
                 v = random_matrix(dtype, 2 * capacity, dim, 2),
                 q = random_matrix(dtype, 6, 4 * dim, 3);
    Tensor k8(DType::i8, 2 * capacity, int8_row_bytes(dim)), v8 = k8.clone();
    round_to_int8(k, k8);
    round_to_int8(v, v8);
    const auto sequences = [&](View keys, View values) {
      return std::vector<CachedSequence>{{0, 1, first, keys, values, capacity},
                                         {1, 5, first, keys, values, capacity}};
    };
    Tensor out(dtype, 6, 4 * dim);
    attention_cached(q, sequences(k8, v8), shape, out, reference());
    There k_there(k8), v_there(v8), q_there(q);
    const Tensor back = in_both_orders([&] {
      There out_there(Tensor(dtype, 6, 4 * dim));
      attention_cached(q_there, sequences(k_there, v_there), shape, out_there, on_device());
      return out_there;
    });
    expect_close("out", back, out, tolerance(dtype));
  }
}

// More sequences than a kernel's arguments hold, of unlike lengths, and more heads in a group than a block has rows.
TEST(AttentionOnDevice, DecodesManySequencesOfLargeGroups) {
  const HeadShape shape{40, 2, 10};
  constexpr int64_t kSequences = 11, kCapacity = 1100;
  Tensor k = random_matrix(DType::f32, 2 * kCapacity, 10, 1),
         v = random_matrix(DType::f32, 2 * kCapacity, 10, 2);
  const Tensor q = random_matrix(DType::f32, kSequences, 400, 3);
  const auto sequences = [&](View keys, View values) {
    std::vector<CachedSequence> all;
    for (int64_t n = 0; n < kSequences; ++n)
      all.push_back({n, 1, n % 4 * 300 + n, keys, values, kCapacity});
    return all;
  };
  Tensor out(DType::f32, kSequences, 400);
  attention_cached(q, sequences(k, v), shape, out, reference());
  There k_there(k), v_there(v), q_there(q), out_there(Tensor(DType::f32, kSequences, 400));
  attention_cached(q_there, sequences(k_there, v_there), shape, out_there, on_device());
  expect_close("out", out_there.back(), out, tolerance(DType::f32));
}

TEST(AttentionOnDevice, RefusesHeadsThatAreTooWide) {
  There q(Tensor(DType::f32, 1, 258)), out(Tensor(DType::f32, 1, 258));
  EXPECT_THROW(attention(q, q, q, std::vector<int64_t>{0, 1}, {1, 1, 258}, out, {}, on_device()),
               UsageError);
}

}  // namespace
}  // namespace cria::ops
