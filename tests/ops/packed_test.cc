#include "ops/packed.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/error.h"
#include "ops/elementwise.h"
#include "ops/random_blocks.h"
#include "ops/random_matrix.h"
#include "tensor/open_block.h"

namespace cria::ops {
namespace {

class PackedTypes : public testing::TestWithParam<DType> {};

TEST_P(PackedTypes, GiveTheBitsOfThePlainVersion) {
  const DType type = GetParam();
  ThreadPool pool(2);
  for (const auto& [outs, cols] :
       {std::pair<int64_t, int64_t>{1, 256}, {16, 512}, {37, 768}, {70, 256}}) {
    const PackedMatrix w = packed(type, outs, cols, 3);
    for (const int64_t rows : {1, 2, 3, 5, 13, 27}) {
      for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
        const Tensor x = random_matrix(dtype, rows, cols, 4);
        Tensor y(DType::f32, rows, outs), want(DType::f32, rows, outs);
        linear_packed(x, w, y, {pool});
        linear_packed(x, w, want, {pool, true});
        ASSERT_TRUE(same_bits(y, want)) << outs << " x " << cols << ", " << rows << " rows";
      }
    }
  }
}

// Each number of x is off by at most half a step of its group, 1 / 254 of the largest, which is below 1.
TEST_P(PackedTypes, AreCloseToTheProductOfWhatTheyStandFor) {
  const DType type = GetParam();
  constexpr int64_t kRows = 7, kOuts = 33, kCols = 512;
  ThreadPool pool(1);
  const PackedMatrix w = packed(type, kOuts, kCols, 5);
  const Tensor x = random_matrix(DType::f32, kRows, kCols, 6);
  Tensor y(DType::f32, kRows, kOuts);
  linear_packed(x, w, y, {pool});
  std::vector<float> row(kCols);
  for (int64_t o = 0; o < kOuts; ++o) {
    w.row(o, row);
    for (int64_t t = 0; t < kRows; ++t) {
      double sum = 0, sizes = 0;
      for (int64_t k = 0; k < kCols; ++k) {
        sum += static_cast<double>(x.view().row<float>(t)[static_cast<size_t>(k)]) *
               static_cast<double>(row[static_cast<size_t>(k)]);
        sizes += std::abs(static_cast<double>(row[static_cast<size_t>(k)]));
      }
      const double found = static_cast<double>(y.view().row<float>(t)[static_cast<size_t>(o)]);
      EXPECT_NEAR(found, sum, sizes / 254 * 1.01);
    }
  }
}

TEST_P(PackedTypes, ARowIsTheSameAloneAndInAnyBatchAndOnAnyThreads) {
  const DType type = GetParam();
  const PackedMatrix w = packed(type, 300, 1024, 7);
  const Tensor x = random_matrix(DType::f32, 61, 1024, 8);
  ThreadPool one(1), three(3);
  Tensor all(DType::f32, 61, 300), again(DType::f32, 61, 300), alone(DType::f32, 1, 300);
  linear_packed(x, w, all, {one});
  linear_packed(x, w, again, {three});
  EXPECT_TRUE(same_bits(all, again));
  for (const int64_t t : {0, 11, 12, 23, 24, 60}) {
    linear_packed(x.view().row_range(t, 1), w, alone, {one});
    EXPECT_TRUE(same_bits(alone, all.view().row_range(t, 1))) << t;
  }
}

TEST_P(PackedTypes, RowsCanBePutInAnyPieces) {
  const DType type = GetParam();
  const std::vector<std::byte> blocks = random_blocks(type, 40, 512, 9);
  const auto row_bytes = static_cast<size_t>(bytes_of(type, 512));
  PackedMatrix whole(type, 40, 512), pieces(type, 40, 512);
  whole.put_rows(0, blocks);
  for (const auto& [first, count] : {std::pair<size_t, size_t>{21, 19}, {0, 3}, {3, 18}})
    pieces.put_rows(static_cast<int64_t>(first),
                    std::span(blocks).subspan(first * row_bytes, count * row_bytes));
  EXPECT_EQ(std::memcmp(whole.panel(0), pieces.panel(0), whole.size_bytes()), 0);
}

TEST_P(PackedTypes, ARangeOfRowsGivesTheirPartOfTheProduct) {
  constexpr int64_t kOuts = 70, kCols = 256;
  ThreadPool pool(2);
  const PackedMatrix w = packed(GetParam(), kOuts, kCols, 3);
  const Tensor x = random_matrix(DType::f32, 5, kCols, 4);
  Tensor whole(DType::f32, 5, kOuts), parts(DType::f32, 5, kOuts);
  linear_packed(x, w, whole, {pool});
  for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, 32}, {32, 20}, {48, 22}}) {
    const PackedMatrix range = w.row_range(first, count);
    EXPECT_EQ(range.rows(), count);
    linear_packed(x, range, parts.view().col_range(first, count), {pool});
  }
  EXPECT_TRUE(same_bits(parts, whole));
  EXPECT_THROW((void)w.row_range(8, 16), std::logic_error);
  EXPECT_THROW((void)w.row_range(64, 7), std::logic_error);
}

INSTANTIATE_TEST_SUITE_P(All, PackedTypes, testing::ValuesIn(kBlocks),
                         [](const auto& p) { return std::string(name_of(p.param)); });

TEST(Packed, Bf16GivesTheBitsOfLinear) {
  ThreadPool pool(2);
  for (const auto& [outs, cols] :
       {std::pair<int64_t, int64_t>{1, 1}, {15, 7}, {48, 64}, {77, 301}}) {
    const Tensor weights = random_matrix(DType::bf16, outs, cols, 1);
    PackedMatrix w(DType::bf16, outs, cols);
    w.put_rows(0, weights.bytes());
    for (const int64_t rows : {1, 2, 7, 24, 25, 53}) {
      for (const DType dtype : {DType::bf16, DType::f32}) {
        const Tensor x = random_matrix(dtype, rows, cols, 2);
        Tensor y(DType::f32, rows, outs), want(DType::f32, rows, outs);
        linear_packed(x, w, y, {pool});
        linear(x, weights, want, {pool});
        ASSERT_TRUE(same_bits(y, want)) << outs << " x " << cols << ", " << rows << " rows";
      }
    }
  }
}

// Alike or not, empty ones between them, and enough rows for several pieces.
TEST(Packed, SeveralMatricesFollowOneAnotherAndSumsAreAddedOnce) {
  ThreadPool pool(2);
  const PackedMatrix a = packed(DType::q4_0, 20, 256, 1), b = packed(DType::q4_0, 150, 256, 2),
                     none(DType::q4_0, 0, 256), c = packed(DType::q6_k, 9, 256, 3),
                     d = packed(DType::q4_0, 33, 256, 4);
  const PackedMatrix* const all[] = {&a, &none, &b, &c, &d};
  for (const int64_t rows : {3, 30, 200}) {
    const Tensor x = random_matrix(DType::f32, rows, 256, 3);
    Tensor y = random_matrix(DType::bf16, rows, 212, 4), want = y.clone();
    linear_packed(x, all, y, {pool}, Into::add);
    int64_t first = 0;
    for (const PackedMatrix* m : all) {
      linear_packed(x, *m, want.view().col_range(first, m->rows()), {pool, true}, Into::add);
      first += m->rows();
    }
    EXPECT_TRUE(same_bits(y, want)) << rows;
  }
}

TEST(EmbeddingPacked, GivesRowsRoundedAsTheOutputWantsThem) {
  ThreadPool pool(2);
  const std::vector<int32_t> ids = {3, 0, 39, 3};
  const Tensor plain = random_matrix(DType::bf16, 40, 256, 1);
  const std::vector<std::byte> bytes_of_bf16(plain.bytes().begin(), plain.bytes().end());
  for (const DType type : {DType::bf16, DType::q4_1, DType::q6_k, DType::q8_0}) {
    PackedMatrix table(type, 40, 256);
    table.put_rows(0, type == DType::bf16 ? bytes_of_bf16 : random_blocks(type, 40, 256, 1));
    Tensor rows(DType::f32, 4, 256);
    for (int64_t t = 0; t < 4; ++t)
      table.row(ids[static_cast<size_t>(t)], rows.view().row<float>(t));
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      Tensor out(dtype, 4, 256), want(dtype, 4, 256);
      embedding_packed(ids, table, out, {pool});
      convert(rows, want, {pool});
      EXPECT_TRUE(same_bits(out, want)) << name_of(type) << " as " << name_of(dtype);
    }
  }
  Tensor out(DType::f32, 1, 256);
  const PackedMatrix table(DType::q4_0, 40, 256);
  for (const int32_t id : {-1, 40})
    EXPECT_THROW(embedding_packed(std::vector<int32_t>{id}, table, out, {pool}), UsageError);
}

TEST(EmbeddingPacked, SlicesOfTheTableAddUp) {
  ThreadPool pool(1);
  const PackedMatrix table = packed(DType::q8_0, 48, 64, 3);
  const PackedMatrix upper = table.row_range(32, 16);
  const std::vector<int32_t> ids = {0, 31, 32, 47};
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    Tensor whole(dtype, 4, 64), part(dtype, 4, 64);
    embedding_packed(ids, table, whole, {pool});
    std::memset(part.bytes().data(), 1, part.size_bytes());
    embedding_packed(ids, upper, part, {pool}, 32, 48);
    const Tensor nothing(dtype, 2, 64);
    EXPECT_EQ(std::memcmp(part.bytes().data(), nothing.bytes().data(), nothing.size_bytes()), 0);
    EXPECT_EQ(std::memcmp(part.view().at(2, 0), whole.view().at(2, 0), nothing.size_bytes()), 0);
    EXPECT_THROW(embedding_packed(ids, upper, part, {pool}, 32, 47), UsageError);
  }
}

TEST(Packed, WhatIsNotFiniteSpoilsItsRowAndNoOther) {
  ThreadPool pool(1);
  const PackedMatrix w = packed(DType::q8_0, 16, 64, 1);
  for (const float bad :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    Tensor x = random_matrix(DType::f32, 2, 64, 2);
    x.span<float>()[40] = bad;
    Tensor y(DType::f32, 2, 16);
    linear_packed(x, w, y, {pool});
    for (size_t o = 0; o < 16; ++o) {
      EXPECT_TRUE(std::isnan(y.view().row<float>(0)[o]));
      EXPECT_TRUE(std::isfinite(y.view().row<float>(1)[o]));
    }
  }
}

// An odd number of groups, and a product whose whole sums are as large as they can be: -128 times -127 or -8 times -127, in every column.
TEST(Packed, WholeSumsOfGroupsDoNotOverflow) {
  ThreadPool pool(1);
  for (const DType type : {DType::int4_g64, DType::int4_g128, DType::int8_g64, DType::int8_g128}) {
    const int64_t cols = 3 * block_elements(type);
    const auto lowest = most_number(type) == 15 ? -8.0F : -128.0F;
    std::vector<std::byte> blocks(static_cast<size_t>(bytes_of(type, 16 * cols)));
    const float one = 1;
    for (size_t b = 0; b < blocks.size(); b += static_cast<size_t>(block_bytes(type)))
      std::memcpy(&blocks[b], &one, 4);  // numbers of 0 stand for the lowest
    PackedMatrix w(type, 16, cols);
    w.put_rows(0, blocks);
    for (const float sign : {-1.0F, 1.0F}) {
      Tensor x(DType::f32, 13, cols), y(DType::f32, 13, 16);
      std::ranges::fill(x.span<float>(), sign * 127);
      linear_packed(x, w, y, {pool});
      for (const float sum : y.span<float>())
        EXPECT_EQ(sum, sign * 127 * lowest * static_cast<float>(cols)) << name_of(type);
    }
  }
}

// A large number of x leaves nothing of small ones that share its scale: 128 or 64 columns beside int4 in such groups, else 32.
TEST(Packed, RowsOfXShareScalesAsTheHeaderSays) {
  ThreadPool pool(1);
  const std::pair<DType, int> cases[] = {{DType::int4_g128, 0},
                                         {DType::int4_g64, 64},
                                         {DType::int4_g32, 96},
                                         {DType::int8_g128, 96},
                                         {DType::int8_g64, 96}};
  for (const auto& [type, kept] : cases) {
    const auto block = static_cast<size_t>(block_bytes(type));
    const std::vector<uint8_t> ones(static_cast<size_t>(block_elements(type)),
                                    most_number(type) == 15 ? 9 : 129);
    std::vector<std::byte> row(static_cast<size_t>(bytes_of(type, 128)));
    const float scale = 1;
    for (size_t b = 0; b < row.size(); b += block) {
      std::memcpy(&row[b], &scale, 4);
      put_numbers(type, ones, &row[b]);
    }
    PackedMatrix w(type, 1, 128);
    w.put_rows(0, row);
    Tensor x(DType::f32, 1, 128), y(DType::f32, 1, 1);
    std::ranges::fill(x.span<float>(), 0.01F);
    x.span<float>()[0] = 1000;
    linear_packed(x, w, y, {pool});
    EXPECT_NEAR(y.span<float>()[0], 1000 + 0.01 * kept, 0.001) << name_of(type);
  }
}

TEST(Packed, RefusesWhatDoesNotFit) {
  ThreadPool pool(1);
  EXPECT_THROW(PackedMatrix(DType::f32, 4, 4), UsageError);
  EXPECT_THROW(PackedMatrix(DType::q4_k, 4, 128), UsageError);
  const PackedMatrix w = packed(DType::q8_0, 16, 64, 1);
  const Tensor x = random_matrix(DType::f32, 2, 32, 2);
  Tensor y(DType::f32, 2, 16);
  EXPECT_THROW(linear_packed(x, w, y, {pool}), UsageError);
}

}  // namespace
}  // namespace cria::ops
