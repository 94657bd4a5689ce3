#include "ops/cuda/blas.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "ops_cuda/tested_device.h"

namespace cria::ops {
namespace {

/// What the stand-in for cuBLASLt must refuse, each wrong in one thing.
class WrongProduct : public testing::Test {
 protected:
  WrongProduct() {
    // d [4, 6] = a [4, 8] b [8, 6], all stored column after column without gaps.
    right_ = {.transpose_a = false,
              .transpose_b = false,
              .in = DType::bf16,
              .out = DType::f32,
              .m = 4,
              .n = 6,
              .k = 8,
              .lda = 4,
              .ldb = 8,
              .ldd = 4,
              .add = false,
              .a = View(a_).data,
              .b = View(b_).data,
              .d = View(d_).data};
  }
  void expect_refused(const cuda::Product& p) {
    EXPECT_THROW(blas_.run(stream_, p), Error);
    stream_.wait();
  }
  There a_{random_matrix(DType::bf16, 8, 4, 1)}, b_{random_matrix(DType::bf16, 6, 8, 2)};
  There d_{Tensor(DType::f32, 6, 4)};
  cuda::Stream stream_{0};
  cuda::Blas blas_;
  cuda::Product right_;
};

TEST_F(WrongProduct, IsNotTheRightOne) {
  blas_.run(stream_, right_);
  blas_.run(stream_, right_);
  EXPECT_EQ(blas_.plans(), 1);
  stream_.wait();
}
TEST_F(WrongProduct, OfALeadingDimensionThatIsTooSmall) {
  right_.lda = 3;
  expect_refused(right_);
}
TEST_F(WrongProduct, OfALeadingDimensionThatReachesBeyondTheMemory) {
  right_.ldb = 80;
  expect_refused(right_);
}
TEST_F(WrongProduct, OfTypesThatDoNotGoTogether) {
  right_.in = DType::f32;
  right_.out = DType::bf16;
  expect_refused(right_);
}
TEST_F(WrongProduct, OfMemoryOfTheHost) {
  float host[64];
  right_.d = host;
  expect_refused(right_);
}

// An algorithm chosen for aligned addresses must not be used for others: the key of a plan has the alignment.
TEST_F(WrongProduct, IsPlannedAnewForOtherAlignments) {
  blas_.run(stream_, right_);
  right_.n = 5;
  right_.b = static_cast<const char*>(right_.b) + 16;
  blas_.run(stream_, right_);
  right_.b = static_cast<const char*>(right_.b) - 14;
  blas_.run(stream_, right_);
  EXPECT_EQ(blas_.plans(), 3);
  stream_.wait();
}

}  // namespace
}  // namespace cria::ops
