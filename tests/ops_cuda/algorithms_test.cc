// Algorithms of products that were timed and are kept in a file.
#include "ops/cuda/algorithms.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/temporary_folder.h"
#include "ops/cuda/blas.h"
#include "ops_cuda/tested_device.h"

namespace cria::ops {
namespace {

using testing::HasSubstr;

class TimedProduct : public testing::Test {
 protected:
  /// Of a process that reads the file.
  void run(int64_t n, bool add, int64_t smallest = 0) {
    cuda::Blas blas(std::make_unique<cuda::Algorithms>(path_, 0, smallest));
    run(blas, n, add);
  }
  void run(cuda::Blas& blas, int64_t n, bool add) {
    There a(a_), b(b_), d(d_);
    blas.run(stream_, product_of(a, b, d, n, add));
    stream_.wait();
    expect_product(d.back().span<float>(), n, add);
  }
  /// d [4, n] = or += a [4, 8] b [8, n], all stored column after column without gaps.
  static cuda::Product product_of(View a, View b, View d, int64_t n, bool add) {
    return {.transpose_a = false,
            .transpose_b = false,
            .in = DType::bf16,
            .out = DType::f32,
            .m = 4,
            .n = n,
            .k = 8,
            .lda = 4,
            .ldb = 8,
            .ldd = 4,
            .add = add,
            .a = a.data,
            .b = b.data,
            .d = d.data};
  }
  void expect_product(std::span<const float> d, int64_t n, bool add) const {
    const auto at = [](const Tensor& t, int64_t i) {
      return static_cast<float>(t.span<bf16>()[static_cast<size_t>(i)]);
    };
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t i = 0; i < 4; ++i) {
        float sum = add ? d_.span<float>()[static_cast<size_t>(j * 4 + i)] : 0.0f;
        for (int64_t k = 0; k < 8; ++k) sum += at(a_, k * 4 + i) * at(b_, j * 8 + k);
        EXPECT_NEAR(d[static_cast<size_t>(j * 4 + i)], sum, 1e-5);
      }
    }
  }
  /// Products by the k-th algorithm since the last call.
  std::vector<int64_t> products() {
    std::vector<int64_t> now, since;
    for (int k = 0; k < kFakeAlgorithms; ++k) {
      now.push_back(fake_blas_products(k));
      since.push_back(now.back() - before_[static_cast<size_t>(k)]);
    }
    before_ = now;
    return since;
  }
  void SetUp() override { products(); }

  const TemporaryFolder folder_;
  const std::string path_ = folder_ / "algorithms.json";
  const Tensor a_ = random_matrix(DType::bf16, 8, 4, 1), b_ = random_matrix(DType::bf16, 6, 8, 2);
  const Tensor d_ = random_matrix(DType::f32, 6, 4, 3);
  cuda::Stream stream_{0};
  std::vector<int64_t> before_ = std::vector<int64_t>(kFakeAlgorithms);
};

TEST_F(TimedProduct, RunsByTheFastestAndTheNextProcessKnowsIt) {
  for (const bool add : {false, true}) {
    run(6, add);
    EXPECT_EQ(products(), (std::vector<int64_t>{4, 5, 0, 4}));
    run(6, add);
    EXPECT_EQ(products(), (std::vector<int64_t>{0, 1, 0, 0}));
  }
  run(5, false);  // another shape, beside the others in the file
  products();
  for (const bool add : {false, true}) run(6, add);
  run(5, false);
  EXPECT_EQ(products(), (std::vector<int64_t>{0, 3, 0, 0}));
}

TEST_F(TimedProduct, RunsByTheFirstWhereItIsSmallOrNoFileIsWanted) {
  run(6, false, 1000);
  cuda::Blas plain;
  run(plain, 6, false);
  EXPECT_EQ(products(), (std::vector<int64_t>{2, 0, 0, 0}));
  EXPECT_FALSE(is_file(path_));
}

// What another process has added meanwhile stays, and what this one has chosen it keeps.
TEST_F(TimedProduct, SharesTheFile) {
  cuda::Blas first(std::make_unique<cuda::Algorithms>(path_, 0, 0));
  run(6, true);
  run(first, 5, false);
  products();
  run(6, true);
  run(5, false);
  EXPECT_EQ(products(), (std::vector<int64_t>{0, 2, 0, 0}));
}

// The memory for sums that are timed is not to be had: the first choice, and nothing is kept.
TEST_F(TimedProduct, OfSumsWithoutMemoryIsNotTimed) {
  cuda::Blas blas(std::make_unique<cuda::Algorithms>(path_, 0, 0));
  There a(a_), b(b_), d(d_);
  fake_cuda_set_memory(0);
  blas.run(stream_, product_of(a, b, d, 6, true));
  stream_.wait();
  fake_cuda_set_memory(-1);
  EXPECT_EQ(products(), (std::vector<int64_t>{1, 0, 0, 0}));
  EXPECT_FALSE(is_file(path_));
}

/// The file's text with one thing changed.
std::string changed(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST_F(TimedProduct, IsRefusedWithAFileThatDoesNotFit) {
  run(6, false);
  const std::string good = read_text(path_);
  const auto expect = [&](const std::string& text, ExitCode code, const std::string& words) {
    write_file(path_, text);
    try {
      run(6, false);
      ADD_FAILURE() << words;
    } catch (const Error& e) {
      EXPECT_EQ(e.code, code) << e.what();
      EXPECT_THAT(e.what(), HasSubstr(words));
      EXPECT_THAT(e.what(), HasSubstr(path_));
    }
  };
  expect(good.substr(0, good.size() / 2), ExitCode::format, "algorithms");
  expect("[]", ExitCode::format, "made_for");
  expect(R"({"made_for": 3, "products": {}})", ExitCode::format, "made_for");
  expect(changed(good, "cuBLASLt 1", "cuBLASLt 2"), ExitCode::mismatch, "try: another path");
  expect(changed(good, "\": [", "\": [1, "), ExitCode::format, "is not 8 numbers");
  // Of another product.
  const auto begin = good.find('[') + 1;
  expect(changed(good, good.substr(begin, good.find(',', begin) - begin), " 7"), ExitCode::format,
         "the library refuses");
}

TEST(AlgorithmsOfTheEnvironment, AreThoseOfTheFileThatItNames) {
  unsetenv("CRIA_CUDA_ALGORITHMS");
  EXPECT_EQ(cuda::Algorithms::of_environment(0), nullptr);
  const TemporaryFolder folder;
  setenv("CRIA_CUDA_ALGORITHMS", (folder / "a.json").c_str(), 1);
  const auto algorithms = cuda::Algorithms::of_environment(0);
  unsetenv("CRIA_CUDA_ALGORITHMS");
  ASSERT_NE(algorithms, nullptr);
  EXPECT_EQ(algorithms->path(), folder / "a.json");
  EXPECT_FALSE(algorithms->worth_timing(int64_t{512} * 4096 * 4096 - 1));
  EXPECT_TRUE(algorithms->worth_timing(int64_t{8192} * 4096 * 4096));
}

}  // namespace
}  // namespace cria::ops
