#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/error.h"
#include "ops/packed.h"
#include "ops/random_blocks.h"
#include "ops_cuda/tested_device.h"

namespace cria::ops {
namespace {

/// Every type of blocks, and bf16.
class PackedOnDevice : public testing::TestWithParam<DType> {
 protected:
  static std::vector<std::byte> stored(int64_t rows, int64_t cols, uint64_t seed) {
    if (GetParam() != DType::bf16) return random_blocks(GetParam(), rows, cols, seed);
    const Tensor numbers = random_matrix(DType::bf16, rows, cols, seed);
    return {numbers.bytes().begin(), numbers.bytes().end()};
  }
  static PackedMatrix matrix(int64_t rows, int64_t cols, uint64_t seed, Memory* memory) {
    PackedMatrix m(GetParam(), rows, cols, memory);
    m.put_rows(0, stored(rows, cols, seed));
    return m;
  }
};
std::vector<DType> all_types() {
  std::vector<DType> all(std::begin(kBlocks), std::end(kBlocks));
  all.push_back(DType::bf16);
  return all;
}
INSTANTIATE_TEST_SUITE_P(All, PackedOnDevice, testing::ValuesIn(all_types()),
                         [](const auto& p) { return std::string(name_of(p.param)); });

/// What the terms of y[t, o] add up to without their signs.
double sizes(ConstView x, const PackedMatrix& w, int64_t t, int64_t o) {
  std::vector<float> row(static_cast<size_t>(w.cols()));
  w.row(o, row);
  double sum = 0;
  for (int64_t k = 0; k < w.cols(); ++k)
    sum += std::abs(number_at(x, t, k) * static_cast<double>(row[static_cast<size_t>(k)]));
  return sum;
}

// Of few rows the whole numbers are the processor's. Sums in f32 of at most 800 terms in another order, each with up to three
// roundings; scales of opposite signs take nothing away, as sizes are added. Offsets and numbers are terms of their own: twice that.
TEST_P(PackedOnDevice, FewRowsGiveTheProcessorsNumbers) {
  for (const auto& [outs, cols] : {std::pair<int64_t, int64_t>{1, 256}, {37, 768}, {70, 256}}) {
    const PackedMatrix here = matrix(outs, cols, 3, nullptr),
                       there = matrix(outs, cols, 3, &device());
    for (const int64_t rows : {1, 3, 8, 9, 32}) {
      for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
        if (rows > 3 && dtype != DType::f32) continue;  // x is read by a kernel of its own
        const Into into = rows == 9 ? Into::add : Into::write;
        const Window x(dtype, rows, cols, 4, 3), y(DType::f32, rows, outs, 5, 3);
        Window want(y), numbers(x);
        There x_there(x), y_there(y);
        linear_packed(x_there, there, y_there, on_device(), into);
        linear_packed(numbers, here, want, reference(), into);
        const Tensor got = y_there.back();
        for (int64_t t = 0; t < rows; ++t)
          for (int64_t o = 0; o < outs; ++o)
            ASSERT_NEAR(number_at(got, t, o), number_at(want.view(), t, o),
                        (2 * sizes(numbers, here, t, o) + 1) * 32 * 0x1p-24)
                << outs << " x " << cols << ", " << rows << " rows, [" << t << ", " << o << "]";
        EXPECT_TRUE(same_bits(got.view().col_range(outs, 3), want.gap_view()));
      }
    }
  }
}

TEST_P(PackedOnDevice, FewRowsAreTheSameAloneAndInEveryOrderOfThreads) {
  const PackedMatrix w = matrix(37, 768, 3, &device());
  const Tensor x = random_matrix(DType::bf16, 19, 768, 1);
  There x_there(x);
  const Tensor all = in_both_orders([&] {
    There y(Tensor(DType::bf16, 19, 37));
    linear_packed(x_there, w, y, on_device());
    return y;
  });
  for (int64_t t = 0; t < 19; ++t) {
    There one(Tensor(DType::bf16, 1, 37));
    linear_packed(View(x_there).row_range(t, 1), w, one, on_device());
    EXPECT_TRUE(same_bits(one.back(), all.view().row_range(t, 1)));
  }
}

// Of many rows: linear() of what the weights stand for.
TEST_P(PackedOnDevice, ManyRowsAreMultipliedWithWhatTheWeightsStandFor) {
  constexpr int64_t kRows = 33, kOuts = 37, kCols = 512;
  const PackedMatrix here = matrix(kOuts, kCols, 5, nullptr),
                     there = matrix(kOuts, kCols, 5, &device());
  Tensor opened(DType::f32, kOuts, kCols);
  for (int64_t o = 0; o < kOuts; ++o) here.row(o, opened.view().row<float>(o));
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    Tensor rounded(dtype, kOuts, kCols);
    for (int64_t o = 0; o < kOuts; ++o)
      for (int64_t k = 0; k < kCols; ++k) set_number(rounded.view(), o, k, number_at(opened, o, k));
    const Tensor x = random_matrix(dtype, kRows, kCols, 6);
    Tensor want(DType::f32, kRows, kOuts);
    There x_there(x), y(Tensor(DType::f32, kRows, kOuts));
    linear_packed(x_there, there, y, on_device());
    linear(x, rounded, want, reference());
    const Tensor got = y.back();
    // A number may round to its neighbour where the device fuses scale and offset.
    for (int64_t t = 0; t < kRows; ++t)
      for (int64_t o = 0; o < kOuts; ++o)
        ASSERT_NEAR(number_at(got, t, o), number_at(want, t, o),
                    sizes(x, here, t, o) * 32 * 0x1p-24);
  }
}

TEST_P(PackedOnDevice, ATableGivesItsRows) {
  const std::vector<int32_t> ids = {3, 0, 39, 3, 20, 41};
  const PackedMatrix here = matrix(40, 256, 1, nullptr), there = matrix(40, 256, 1, &device());
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    const Window out(dtype, 6, 256, 2, 5);
    Window want(out);
    There got(out);
    // The first two rows of the vocabulary are elsewhere.
    embedding_packed(ids, there, got, on_device(), 2, 42);
    embedding_packed(ids, here, want, {pool()}, 2, 42);
    expect_close(got.back().view().col_range(0, 256), want.view(), 0);
    EXPECT_TRUE(same_bits(got.back().view().col_range(256, 5), want.gap_view()));
    EXPECT_THROW(embedding_packed(ids, there, got, on_device(), 2, 41), UsageError);
  }
}

TEST_P(PackedOnDevice, RowsCanBePutInAnyPieces) {
  const std::vector<std::byte> blocks = stored(40, 512, 9);
  const auto row_bytes = static_cast<size_t>(bytes_of(GetParam(), 512));
  PackedMatrix pieces(GetParam(), 40, 512, &device());
  const PackedMatrix whole = matrix(40, 512, 9, nullptr);
  for (const auto& [first, count] : {std::pair<size_t, size_t>{21, 19}, {0, 3}, {3, 10}, {13, 8}})
    pieces.put_rows(static_cast<int64_t>(first),
                    std::span(blocks).subspan(first * row_bytes, count * row_bytes));
  std::vector<std::byte> back(whole.size_bytes());
  device().read(back.data(), pieces.panel(0), back.size());
  EXPECT_EQ(std::memcmp(whole.panel(0), back.data(), back.size()), 0);
}

// Matrices of several types one after the other, of a range of rows too, share what is prepared of x.
TEST(PackedOnDeviceTogether, SeveralMatricesFollowOneAnother) {
  const auto both = [](DType type, int64_t rows, uint64_t seed) {
    return std::pair(packed(type, rows, 256, seed), packed(type, rows, 256, seed, &device()));
  };
  const auto [a, a_there] = both(DType::q4_0, 20, 1);
  const auto [b, b_there] = both(DType::int4_g128, 50, 2);
  const auto [none, none_there] = both(DType::q4_0, 0, 3);
  const auto [c, c_there] = both(DType::q6_k, 64, 4);
  const PackedMatrix range = c.row_range(16, 40), range_there = c_there.row_range(16, 40);
  const PackedMatrix* const here[] = {&a, &b, &none, &range};
  const PackedMatrix* const there[] = {&a_there, &b_there, &none_there, &range_there};
  for (const int64_t rows : {3, 40}) {
    const Tensor x = random_matrix(DType::f32, rows, 256, 3);
    There x_there(x);
    Tensor y = random_matrix(DType::f32, rows, 110, 4);
    There got(y);
    linear_packed(x_there, there, got, on_device(), Into::add);
    linear_packed(x, here, y, reference(), Into::add);
    // Many rows are not rounded to 8 bits: half a step of a group, 1 / 254 of a number below 1.
    double sum = 0;
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t o = 0; o < 110; ++o) {
        const PackedMatrix* m = o < 20 ? &a : o < 70 ? &b : &range;
        std::vector<float> row(256);
        m->row(o < 20 ? o : o < 70 ? o - 20 : o - 70, row);
        sum = 0;
        for (const float v : row) sum += std::abs(static_cast<double>(v));
        ASSERT_NEAR(number_at(got.back(), t, o), number_at(y, t, o),
                    rows > 32 ? sum / 250 : sum * 64 * 0x1p-24)
            << t << ", " << o;
      }
    }
  }
}

}  // namespace
}  // namespace cria::ops
