#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "base/error.h"

namespace cria {
namespace {

TEST(Tensor, IsZeroedAlignedAndOfItsSize) {
  const Tensor t(DType::bf16, 3, 5);
  EXPECT_EQ(t.size_bytes(), 30u);
  EXPECT_EQ(t.bytes().size(), 30u);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(t.view().data) % 64, 0u);
  for (const std::byte b : t.bytes()) EXPECT_EQ(b, std::byte{0});
  EXPECT_EQ(Tensor(DType::q4_k, 2, 512).size_bytes(), 4u * 144);
}

TEST(Tensor, MayBeEmpty) {
  EXPECT_EQ(Tensor().size_bytes(), 0u);
  const Tensor t(DType::f32, 0, 7);
  EXPECT_EQ(t.size_bytes(), 0u);
  EXPECT_EQ(t.clone().cols(), 7);
}

TEST(Tensor, CloneIsACopyAndAMoveIsNot) {
  Tensor a(DType::f32, 2, 2);
  a.span<float>()[3] = 5;
  Tensor b = a.clone();
  b.span<float>()[3] = 6;
  EXPECT_EQ(a.span<float>()[3], 5);
  const void* memory = a.view().data;
  const Tensor c = std::move(a);
  EXPECT_EQ(c.view().data, memory);
  EXPECT_EQ(c.span<float>()[3], 5);
}

TEST(Tensor, ThatDoesNotFitIsAMemoryErrorWithItsSize) {
  for (const int64_t n : {int64_t{1} << 31, INT64_MAX}) {
    try {
      const Tensor t(DType::f32, n, n);
      FAIL();
    } catch (const Error& e) {
      EXPECT_EQ(e.code, ExitCode::memory);
      EXPECT_EQ(std::string(e.what()),
                fmt::format("out of memory: a tensor of {} x {} F32 elements", n, n));
    }
  }
  EXPECT_THROW(Tensor(DType::f32, -1, 4), std::logic_error);
}

TEST(View, WindowsStepByTheirStride) {
  Tensor t(DType::f32, 4, 6);
  for (size_t i = 0; i < 24; ++i) t.span<float>()[i] = static_cast<float>(i);
  const View w = t.view().row_range(1, 2).col_range(2, 3);
  EXPECT_EQ(w.rows, 2);
  EXPECT_EQ(w.cols, 3);
  EXPECT_EQ(w.stride, 6);
  EXPECT_EQ(w.elements(), 6);
  EXPECT_EQ(w.row<float>(0).size(), 3u);
  EXPECT_EQ(w.row<float>(0)[0], 8);
  EXPECT_EQ(w.row<float>(1)[2], 16);
  EXPECT_EQ(*static_cast<float*>(w.at(1, 1)), 15);
  w.row<float>(1)[0] = -1;
  EXPECT_EQ(t.span<float>()[14], -1);
}

TEST(View, IsContiguousWhenItsRowsTouch) {
  const Tensor t(DType::f16, 4, 6);
  EXPECT_TRUE(t.view().contiguous());
  EXPECT_TRUE(t.view().row_range(1, 3).contiguous());
  EXPECT_FALSE(t.view().col_range(0, 3).contiguous());
  EXPECT_TRUE(t.view().col_range(0, 3).row_range(2, 1).contiguous());
}

TEST(View, OfMemoryThatMayBeWrittenServesForReading) {
  Tensor t(DType::f32, 1, 1);
  const ConstView v = t.view();
  t.span<float>()[0] = 3;
  EXPECT_EQ(v.row<float>(0)[0], 3);
}

}  // namespace
}  // namespace cria
