#include "ops/linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/cpu.h"
#include "ops/random_matrix.h"

namespace cria::ops {
namespace {

enum class Form { forward, input_grad, weight_grad, decode };
constexpr Form kForms[] = {Form::forward, Form::input_grad, Form::weight_grad, Form::decode};
constexpr DType kDTypes[] = {DType::f32, DType::f16, DType::bf16};

std::string name_of(Form form) {
  switch (form) {
    case Form::forward:
      return "linear";
    case Form::input_grad:
      return "linear_input_grad";
    case Form::weight_grad:
      return "linear_weight_grad";
    case Form::decode:
      return "linear_decode";
  }
  return "?";
}

void run(Form form, ConstView a, ConstView b, View c, const Exec& exec, Into into = Into::write) {
  switch (form) {
    case Form::forward:
      return linear(a, b, c, exec, into);
    case Form::input_grad:
      return linear_input_grad(a, b, c, exec, into);
    case Form::weight_grad:
      return linear_weight_grad(a, b, c, exec, into);
    case Form::decode:
      return linear_decode(a, b, c, exec, into);
  }
}

/// Operands of c [m, n] summed over k, with rows longer than the matrix when `gap` > 0.
struct Operands {
  Tensor a_memory, b_memory;
  ConstView a, b;
  Operands(Form form, DType a_type, DType b_type, int64_t m, int64_t n, int64_t k, int64_t gap = 0)
      : a_memory(a_type, form == Form::weight_grad ? k : m,
                 (form == Form::weight_grad ? m : k) + gap),
        b_memory(b_type, form == Form::forward || form == Form::decode ? n : k,
                 (form == Form::forward || form == Form::decode ? k : n) + gap) {
    fill_random(a_memory, 1);
    fill_random(b_memory, 2);
    a = a_memory.view().col_range(0, a_memory.cols() - gap);
    b = b_memory.view().col_range(0, b_memory.cols() - gap);
  }
};

/// What a result may be off by. Numbers are in [-1, 1): the sum of k products, each step rounded to
/// f32, is off by at most k * 2^-24 times the sum of absolute products, which is at most k; random
/// signs keep partial sums near sqrt(k), so k * sqrt(k) * 2^-24 bounds it amply. Then the result is
/// rounded once to its dtype: half a unit of a number of size |value|.
double allowed(DType out, int64_t k, double value) {
  const auto depth = static_cast<double>(std::max<int64_t>(k, 4));
  const double sum = depth * std::sqrt(depth) * std::ldexp(1, -24);
  const double half_unit = out == DType::f32    ? std::ldexp(1, -24)
                           : out == DType::bf16 ? std::ldexp(1, -8)
                                                : std::ldexp(1, -11);
  const double smallest = out == DType::f16 ? std::ldexp(1, -25) : 0;
  return sum + 1.01 * half_unit * std::abs(value) + smallest;
}

testing::AssertionResult close_to(ConstView c, ConstView want, int64_t k) {
  for (int64_t r = 0; r < c.rows; ++r) {
    for (int64_t i = 0; i < c.cols; ++i) {
      const double found = number_at(c, r, i);
      const double expected = number_at(want, r, i);
      if (!(std::abs(found - expected) <= allowed(c.dtype, k, expected))) {
        return testing::AssertionFailure()
               << "[" << r << ", " << i << "]: found " << found << ", expected " << expected;
      }
    }
  }
  return testing::AssertionSuccess();
}

void expect_matches_reference(Form form, DType at, DType bt, DType ct, int64_t m, int64_t n,
                              int64_t k, ThreadPool& pool, int64_t gap = 0) {
  const Operands in(form, at, bt, m, n, k, gap);
  // The oracle writes f32, so that the tested rounding is not its own.
  Tensor want(DType::f32, m, n);
  run(form, in.a, in.b, want, {pool, true});
  Tensor memory = random_matrix(ct, m, n + gap, 3);
  const Tensor before = memory.clone();
  const View c = memory.view().col_range(0, n);
  run(form, in.a, in.b, c, {pool});
  EXPECT_TRUE(close_to(c, want, k))
      << name_of(form) << " m " << m << " n " << n << " k " << k << " " << cria::name_of(at) << " "
      << cria::name_of(bt) << " " << cria::name_of(ct) << " gap " << gap;
  if (gap > 0) {
    EXPECT_TRUE(same_bits(memory.view().col_range(n, gap), before.view().col_range(n, gap)))
        << "wrote past a row's end: " << name_of(form) << " m " << m << " n " << n;
  }
}

TEST(Linear, MatchesReferenceAtOddShapes) {
  ThreadPool pool(2);
  const int64_t sizes[] = {1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 33, 63, 65, 100, 129};
  const size_t count = std::size(sizes);
  for (const Form form : kForms) {
    for (size_t i = 0; i < count; ++i) {
      for (size_t j = 0; j < count; ++j) {
        // Every pair (m, n), every pair (m, k): k walks through the sizes as i and j do.
        const int64_t k = sizes[(i * 4 + j * 7) % count];
        const DType t = kDTypes[(i + j) % 3];
        expect_matches_reference(form, t, t, DType::f32, sizes[i], sizes[j], k, pool,
                                 static_cast<int64_t>(i % 2 * 3));
      }
    }
  }
}

TEST(Linear, MatchesReferenceInEveryMixOfDTypes) {
  ThreadPool pool(1);
  for (const Form form : kForms) {
    for (const DType a : kDTypes) {
      for (const DType b : kDTypes) {
        for (const DType c : kDTypes) {
          expect_matches_reference(form, a, b, c, 17, 37, 33, pool, 1);
          expect_matches_reference(form, a, b, c, 14, 32, 64, pool);
        }
      }
    }
  }
}

// More rows, columns and depth than one block (ops/gemm.cc) holds.
TEST(Linear, MatchesReferenceAcrossBlocks) {
  ThreadPool pool(2);
  for (const Form form : {Form::forward, Form::input_grad, Form::weight_grad}) {
    for (const DType t : {DType::f32, DType::bf16}) {
      expect_matches_reference(form, t, t, DType::f32, 1101, 40, 19, pool);
      expect_matches_reference(form, t, t, DType::bf16, 9, 2101, 19, pool);
      expect_matches_reference(form, t, t, DType::bf16, 15, 35, 2301, pool, 1);
    }
  }
}

TEST(Linear, ResultsAreTheSameBitsOnAnyNumberOfThreads) {
  ThreadPool one(1), two(2), three(3);
  for (const Form form : kForms) {
    for (const DType t : {DType::f32, DType::bf16}) {
      const Operands in(form, t, t, 301, 263, 1203);
      Tensor a(t, 301, 263), b(t, 301, 263), c(t, 301, 263);
      run(form, in.a, in.b, a, {one});
      run(form, in.a, in.b, b, {two});
      run(form, in.a, in.b, c, {three});
      EXPECT_TRUE(same_bits(a, b)) << name_of(form);
      EXPECT_TRUE(same_bits(a, c)) << name_of(form);
    }
  }
}

TEST(Linear, ARowIsTheSameBitsAloneAndInABatch) {
  ThreadPool pool(2);
  const int64_t rows = 45, n = 70, k = 1203;
  for (const Form form : {Form::forward, Form::input_grad, Form::decode}) {
    for (const DType t : kDTypes) {
      const Operands in(form, t, t, rows, n, k);
      Tensor batch(DType::f32, rows, n);
      run(form, in.a, in.b, batch, {pool});
      for (const int64_t count : {1, 2, 3, 4, 5, 6, 7, 8, 13}) {
        for (const int64_t first : {0, 1, 14, 31}) {
          Tensor alone(DType::f32, count, n);
          run(form, in.a.row_range(first, count), in.b, alone, {pool});
          EXPECT_TRUE(same_bits(alone, batch.view().row_range(first, count)))
              << name_of(form) << " rows " << first << " + " << count;
        }
      }
    }
  }
}

// The chain of a weight gradient's element is over tokens: other columns must not matter either.
TEST(Linear, AColumnIsTheSameBitsAloneAndInAWiderMatrix) {
  ThreadPool pool(1);
  for (const Form form : kForms) {
    for (const DType t : {DType::f32, DType::bf16}) {
      const Operands in(form, t, t, 20, 130, 700);
      Tensor wide(DType::f32, 20, 130);
      run(form, in.a, in.b, wide, {pool});
      const bool by_row = form == Form::forward || form == Form::decode;
      for (const int64_t first : {0, 17, 64, 129}) {
        Tensor alone(DType::f32, 20, 1);
        run(form, in.a, by_row ? in.b.row_range(first, 1) : in.b.col_range(first, 1), alone,
            {pool});
        EXPECT_TRUE(same_bits(alone, wide.view().col_range(first, 1))) << name_of(form);
      }
    }
  }
}

TEST(Linear, EveryElementIsOneChainOfFusedMultiplyAddsInOrder) {
  ThreadPool pool(2);
  const int64_t m = 29, n = 67, k = 1301;
  for (const Form form : {Form::forward, Form::input_grad, Form::weight_grad}) {
    const Operands in(form, DType::f32, DType::bf16, m, n, k);
    Tensor c(DType::f32, m, n), want(DType::f32, m, n);
    run(form, in.a, in.b, c, {pool});
    for (int64_t r = 0; r < m; ++r) {
      for (int64_t i = 0; i < n; ++i) {
        float sum = 0;
        for (int64_t p = 0; p < k; ++p) {
          const float a = form == Form::weight_grad ? number_at(in.a, p, r) : number_at(in.a, r, p);
          const float b = form == Form::forward ? number_at(in.b, i, p) : number_at(in.b, p, i);
          sum = std::fma(a, b, sum);
        }
        set_number(want, r, i, sum);
      }
    }
    EXPECT_TRUE(same_bits(c, want)) << name_of(form);
  }
}

TEST(Linear, AddingIsTheFinishedProductAddedOnce) {
  ThreadPool pool(2);
  for (const Form form : kForms) {
    for (const int64_t k : {33, 1301}) {
      for (const DType t : kDTypes) {
        const Operands in(form, DType::bf16, DType::bf16, 21, 77, k);
        Tensor product(DType::f32, 21, 77);
        run(form, in.a, in.b, product, {pool});
        Tensor c = random_matrix(t, 21, 77, 5);
        Tensor want = c.clone();
        for (int64_t r = 0; r < 21; ++r) {
          for (int64_t i = 0; i < 77; ++i) {
            set_number(want, r, i, number_at(want, r, i) + number_at(product, r, i));
          }
        }
        run(form, in.a, in.b, c, {pool}, Into::add);
        EXPECT_TRUE(same_bits(c, want)) << name_of(form) << " " << cria::name_of(t);
      }
    }
  }
}

TEST(Linear, NothingToSumGivesZerosAndAddsNothing) {
  ThreadPool pool(1);
  for (const Form form : kForms) {
    for (const DType t : kDTypes) {
      const Operands in(form, t, t, 3, 5, 0);
      Tensor c = random_matrix(t, 3, 5, 1);
      const Tensor before = c.clone();
      run(form, in.a, in.b, c, {pool}, Into::add);
      EXPECT_TRUE(same_bits(c, before)) << name_of(form);
      run(form, in.a, in.b, c, {pool});
      EXPECT_TRUE(same_bits(c, Tensor(t, 3, 5))) << name_of(form);
    }
  }
}

TEST(Linear, NoRowsOrNoColumnsIsFine) {
  ThreadPool pool(1);
  for (const Form form : kForms) {
    for (const auto& [m, n] : {std::pair<int64_t, int64_t>{0, 4}, {4, 0}, {0, 0}}) {
      const Operands in(form, DType::f32, DType::f32, m, n, 6);
      Tensor c(DType::f32, m, n);
      EXPECT_NO_THROW(run(form, in.a, in.b, c, {pool})) << name_of(form);
    }
  }
}

TEST(Linear, NotANumberReachesOnlyItsOwnRow) {
  ThreadPool pool(1);
  for (const Form form : kForms) {
    if (form == Form::weight_grad) continue;
    for (const DType t : kDTypes) {
      Operands in(form, t, t, 9, 40, 50);
      set_number(in.a_memory, 4, 7, std::numeric_limits<float>::quiet_NaN());
      Tensor c(DType::f32, 9, 40);
      run(form, in.a, in.b, c, {pool});
      for (int64_t r = 0; r < 9; ++r) {
        for (int64_t i = 0; i < 40; ++i) {
          EXPECT_EQ(std::isnan(number_at(c, r, i)), r == 4) << name_of(form) << " " << r;
        }
      }
    }
  }
}

TEST(Linear, RefusesShapesThatDoNotFit) {
  ThreadPool pool(1);
  const Exec exec{pool};
  Tensor a(DType::f32, 3, 4), b(DType::f32, 5, 6), c(DType::f32, 3, 5);
  for (const Form form : kForms) {
    EXPECT_THROW(run(form, a, b, c, exec), UsageError) << name_of(form);
  }
  try {
    linear(a, b, c, exec);
  } catch (const UsageError& e) {
    EXPECT_STREQ(e.what(), "linear: x [3, 4], w [5, 6] and y [3, 5] do not fit together");
  }
}

TEST(Linear, RefusesDTypesItCannotComputeWith) {
  ThreadPool pool(1);
  Tensor a(DType::f32, 3, 4), b(DType::i8, 5, 4), c(DType::f32, 3, 5);
  EXPECT_THROW(linear(a, b, c, {pool}), UsageError);
  EXPECT_THROW(linear_decode(a, b, c, {pool}), UsageError);
}

}  // namespace
}  // namespace cria::ops
