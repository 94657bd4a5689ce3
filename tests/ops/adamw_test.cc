#include "ops/adamw.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "ops/window.h"

namespace cria::ops {
namespace {

ThreadPool& pool() {
  static ThreadPool p(2);
  return p;
}
Exec fast() { return {pool()}; }
Exec reference() { return {pool(), true}; }

enum class Kind { f32, low, bf16_master, f16_master, bf16_alone, f16_alone };
constexpr Kind kKinds[] = {Kind::f32,        Kind::low,        Kind::bf16_master,
                           Kind::f16_master, Kind::bf16_alone, Kind::f16_alone};

// One parameter with its state, in windows.
struct Param {
  Window weight, low, master, grad, m, v;
  bool has_low, has_master;
  Param(Kind kind, int64_t rows, int64_t cols, int64_t gap = 5)
      : weight(kind == Kind::f32                                     ? DType::f32
               : kind == Kind::f16_master || kind == Kind::f16_alone ? DType::f16
                                                                     : DType::bf16,
               rows, cols, 1, gap),
        low(DType::f32, rows, cols, 2, gap),
        master(DType::f32, rows, cols, 3, gap),
        grad(DType::f32, rows, cols, 4, gap),
        m(DType::f32, rows, cols, 5, gap),
        v(DType::f32, rows, cols, 6, gap),
        has_low(kind == Kind::low),
        has_master(kind == Kind::bf16_master || kind == Kind::f16_master) {
    low.memory = Tensor(DType::i16, rows, cols + gap);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        low.view().row<int16_t>(r)[static_cast<size_t>(c)] =
            static_cast<int16_t>(r * 7919 + c * 104729);
        set_number(v, r, c, std::abs(number_at(v, r, c)));
      }
    }
  }
  AdamWParam views() {
    return {weight.view(),
            has_low ? low.view() : View(),
            has_master ? master.view() : View(),
            grad.view(),
            m.view(),
            v.view()};
  }
  // The exact weight: master, joined halves, or the weight itself.
  Tensor exact() {
    Tensor out(DType::f32, weight.view().rows, weight.view().cols);
    if (has_low) {
      join_master(weight, low, out, reference());
      return out;
    }
    const View from = has_master ? master.view() : weight.view();
    for (int64_t r = 0; r < out.rows(); ++r) {
      for (int64_t c = 0; c < out.cols(); ++c) set_number(out, r, c, number_at(from, r, c));
    }
    return out;
  }
};

AdamWStep some_step() {
  return {.lr = 0.01f,
          .beta1 = 0.9f,
          .beta2 = 0.95f,
          .eps = 1e-8f,
          .weight_decay = 0.1f,
          .bias_correction = true,
          .step = 3,
          .grad_scale = 0.5f};
}

TEST(AdamW, AgreesWithTheReferenceForEveryStorageAndWidth) {
  for (const Kind kind : kKinds) {
    for (const bool correction : {true, false}) {
      for (const int64_t n : kWidths) {
        Param a(kind, 3, n), b(a);
        AdamWStep step = some_step();
        step.bias_correction = correction;
        adamw(a.views(), step, fast());
        adamw(b.views(), step, reference());
        // m may cancel: two roundings of numbers below 1. v is a sum of positive terms.
        expect_close(a.m.view(), b.m.view(), 0, 2 * 0x1p-24);
        expect_close(a.v.view(), b.v.view(), 4 * 0x1p-24);
        // The step is below 0.01 * (1 / sqrt(v)), and v at least a few thousandths here.
        const Tensor wa = a.exact(), wb = b.exact();
        if (kind == Kind::bf16_alone || kind == Kind::f16_alone) {
          expect_close(wa, wb, unit_of(a.weight.memory.dtype()));
        } else {
          expect_close(wa, wb, 0, 0.01 * 30 * 12 * 0x1p-24);
        }
        expect_close(a.weight.view(), b.weight.view(), 0, 1e-6);
      }
    }
  }
}

TEST(AdamW, LeavesTheGapsBetweenRowsAlone) {
  for (const Kind kind : kKinds) {
    Param a(kind, 3, 21), before(a);
    adamw(a.views(), some_step(), fast());
    EXPECT_TRUE(same_bits(a.weight.gap_view(), before.weight.gap_view()));
    EXPECT_TRUE(same_bits(a.low.gap_view(), before.low.gap_view()));
    EXPECT_TRUE(same_bits(a.master.gap_view(), before.master.gap_view()));
    EXPECT_TRUE(same_bits(a.m.gap_view(), before.m.gap_view()));
    EXPECT_TRUE(same_bits(a.v.gap_view(), before.v.gap_view()));
  }
}

TEST(AdamW, ExactMasterMovesLikeAnF32WeightBitForBit) {
  Param halves(Kind::low, 2, 77), plain(Kind::f32, 2, 77);
  join_master(halves.weight, halves.low, plain.weight, fast());
  AdamWStep step = some_step();
  for (step.step = 1; step.step <= 20; ++step.step) {
    adamw(halves.views(), step, fast());
    adamw(plain.views(), step, fast());
  }
  EXPECT_TRUE(same_bits(halves.exact(), plain.weight.view()));
}

TEST(AdamW, WeightBesideAMasterIsTheMasterRounded) {
  Param p(Kind::bf16_master, 2, 77);
  adamw(p.views(), some_step(), fast());
  for (int64_t r = 0; r < 2; ++r) {
    for (int64_t c = 0; c < 77; ++c) {
      EXPECT_EQ(number_at(p.weight, r, c), static_cast<float>(bf16(number_at(p.master, r, c))));
    }
  }
}

TEST(AdamW, WithoutAMasterASmallStepIsLost) {
  Param p(Kind::bf16_alone, 1, 50);
  for (int64_t c = 0; c < 50; ++c) set_number(p.weight, 0, c, 1);
  AdamWStep step = some_step();
  step.weight_decay = 0;
  step.lr = 1e-6f;
  adamw(p.views(), step, fast());
  for (int64_t c = 0; c < 50; ++c) EXPECT_EQ(number_at(p.weight, 0, c), 1);
}

TEST(AdamW, OfSeveralParametersOnlyThoseThatDecayDo) {
  for (const Exec& exec : {fast(), reference()}) {
    Param decaying(Kind::f32, 1, 50), staying(Kind::f32, 3, 7), alone(Kind::f32, 3, 7);
    AdamWStep step = some_step();
    step.weight_decay = 0.5f;
    std::vector<AdamWParam> params = {decaying.views(), staying.views()};
    params[1].decays = false;
    const float before = number_at(decaying.weight, 0, 0);
    adamw(params, step, exec);
    EXPECT_NE(number_at(decaying.weight, 0, 0), before);
    step.weight_decay = 0;
    adamw(alone.views(), step, exec);
    EXPECT_TRUE(same_bits(staying.weight, alone.weight));
  }
}

TEST(AdamW, NanGradientsShow) {
  Param p(Kind::f32, 1, 20);
  set_number(p.grad, 0, 17, std::nanf(""));
  adamw(p.views(), some_step(), fast());
  EXPECT_TRUE(std::isnan(number_at(p.weight, 0, 17)));
  EXPECT_TRUE(std::isfinite(number_at(p.weight, 0, 16)));
}

TEST(AdamW, SameBitsForAnyNumberOfThreads) {
  for (const Kind kind : kKinds) {
    expect_same_bits_for_any_threads([&](const Exec& exec) {
      Param p(kind, 40, 1000, 0);
      adamw(p.views(), some_step(), exec);
      return p.exact();
    });
  }
}

TEST(AdamW, WindowsAndDenseMemoryGiveTheSameBits) {
  for (const Kind kind : kKinds) {
    Param dense(kind, 6, 37, 0), windows(kind, 6, 37, 5);
    const auto copy = [](View from, View to) {
      for (int64_t r = 0; r < from.rows; ++r)
        std::memcpy(to.at(r, 0), from.at(r, 0),
                    static_cast<size_t>(bytes_of(from.dtype, from.cols)));
    };
    copy(dense.weight, windows.weight);
    copy(dense.low, windows.low);
    copy(dense.master, windows.master);
    copy(dense.grad, windows.grad);
    copy(dense.m, windows.m);
    copy(dense.v, windows.v);
    adamw(dense.views(), some_step(), fast());
    adamw(windows.views(), some_step(), fast());
    EXPECT_TRUE(same_bits(dense.exact(), windows.exact()));
    EXPECT_TRUE(same_bits(dense.v.view(), windows.v.view()));
  }
}

// tests/golden/make_adamw.py wrote the steps with torch.optim.AdamW in f32.
TEST(AdamW, FollowsTorch) {
  const std::string path = CRIA_SOURCE_DIR "/tests/golden/adamw/torch.json";
  const Json golden = parse_json(read_text(path), "golden", path);
  for (const Json& c : golden["cases"]) {
    const auto start = c["weight"].get<std::vector<float>>();
    const auto n = static_cast<int64_t>(start.size());
    Tensor w(DType::f32, 1, n), m(DType::f32, 1, n), v(DType::f32, 1, n), grad(DType::f32, 1, n);
    std::copy(start.begin(), start.end(), w.span<float>().begin());
    AdamWStep step = {.lr = c["lr"],
                      .beta1 = c["betas"][0],
                      .beta2 = c["betas"][1],
                      .eps = c["eps"],
                      .weight_decay = c["weight_decay"]};
    for (step.step = 1; step.step <= static_cast<int64_t>(c["grads"].size()); ++step.step) {
      const auto at = static_cast<size_t>(step.step - 1);
      const auto grads = c["grads"][at].get<std::vector<float>>();
      const auto after = c["after"][at].get<std::vector<float>>();
      std::copy(grads.begin(), grads.end(), grad.span<float>().begin());
      adamw({.weight = w, .grad = grad, .m = m, .v = v}, step, fast());
      for (size_t i = 0; i < after.size(); ++i) {
        // A step moves a weight by about lr, with some ten roundings each in both programs; the
        // betas are f32 here and f64 there.
        const double allowed = static_cast<double>(step.step) *
                               (2 * 0x1p-23 * std::abs(after[i]) + step.lr * 40 * 0x1p-24);
        ASSERT_NEAR(w.span<float>()[i], after[i], allowed) << "step " << step.step << " at " << i;
      }
    }
    const auto final_v = c["v"].get<std::vector<float>>();
    for (size_t i = 0; i < final_v.size(); ++i) {
      // 1 - beta2 in f32: off by up to 2^-25 / (1 - beta2), 3e-5 for 0.999.
      ASSERT_NEAR(v.span<float>()[i], final_v[i], 4e-5 * final_v[i]);
    }
  }
}

TEST(AdamW, RefusesWhatDoesNotFit) {
  Param p(Kind::f32, 2, 8), q(Kind::low, 2, 8), other(Kind::f32, 2, 7);
  AdamWParam bad = p.views();
  bad.grad = other.grad;
  EXPECT_THROW(adamw(bad, some_step(), fast()), UsageError);
  bad = p.views();
  bad.master = p.master;
  EXPECT_THROW(adamw(bad, some_step(), fast()), UsageError);
  bad = p.views();
  bad.low = q.low;
  EXPECT_THROW(adamw(bad, some_step(), fast()), UsageError);
  bad = q.views();
  bad.master = q.master;
  EXPECT_THROW(adamw(bad, some_step(), fast()), UsageError);
  AdamWStep zero = some_step();
  zero.step = 0;
  EXPECT_THROW(adamw(p.views(), zero, fast()), UsageError);
  zero.bias_correction = false;
  adamw(p.views(), zero, fast());
}

// The rule of the exact master, bit by bit.
TEST(SplitMaster, RoundsHalfUpAndRestoresEveryBitPattern) {
  const std::vector<uint32_t> lower = {0, 1, 0x7fff, 0x8000, 0x8001, 0xfffe, 0xffff};
  const auto rows = static_cast<int64_t>(lower.size());
  Window from(DType::f32, rows, 65536, 1, 3), weight(DType::bf16, rows, 65536, 2, 3);
  Window back(DType::f32, rows, 65536, 3, 3);
  Tensor low(DType::i16, rows, 65536);
  for (int64_t r = 0; r < rows; ++r) {
    for (uint32_t u = 0; u < 65536; ++u) {
      // memory, not floats: a NaN must keep its bits
      const uint32_t bits = u << 16 | lower[static_cast<size_t>(r)];
      std::memcpy(from.view().at(r, u), &bits, 4);
    }
  }
  split_master(from, weight, low, fast());
  join_master(weight, low, back, fast());
  EXPECT_TRUE(same_bits(from.view(), back.view()));
  for (int64_t r = 0; r < rows; ++r) {
    const uint32_t up = lower[static_cast<size_t>(r)] >= 0x8000 ? 1 : 0;  // half goes up
    for (uint32_t u = 0; u < 65536; ++u) {
      ASSERT_EQ(weight.view().row<bf16>(r)[u].bits, static_cast<uint16_t>(u + up)) << std::hex << u;
    }
  }
}

TEST(SplitMaster, AgreesWithTheReferenceForEveryWidth) {
  for (const int64_t n : kWidths) {
    const Tensor from = random_matrix(DType::f32, 3, n, 1);
    Tensor w1(DType::bf16, 3, n), w2(DType::bf16, 3, n), l1(DType::i16, 3, n), l2(DType::i16, 3, n);
    Tensor back(DType::f32, 3, n);
    split_master(from, w1, l1, fast());
    split_master(from, w2, l2, reference());
    join_master(w1, l1, back, reference());
    EXPECT_TRUE(same_bits(w1, w2));
    EXPECT_TRUE(same_bits(l1, l2));
    EXPECT_TRUE(same_bits(from, back));
  }
}

TEST(SplitMaster, RefusesOtherDtypes) {
  Tensor f(DType::f32, 1, 4), w(DType::f16, 1, 4), low(DType::i16, 1, 4);
  EXPECT_THROW(split_master(f, w, low, fast()), UsageError);
  EXPECT_THROW(join_master(w, low, f, fast()), UsageError);
}

}  // namespace
}  // namespace cria::ops
