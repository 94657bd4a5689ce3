// The whole model against float64 PyTorch: logits, losses and gradients, in f32 and bf16. The fixtures' manifests carry the
// tolerances: 16 times the error that PyTorch itself has in f32, and PyTorch's own bf16 errors.
#include <algorithm>
#include <cmath>

#include "model/fixture_model.h"

namespace cria::testing {
namespace {

struct Golden {
  std::string model, weights, which;  // e.g. tiny-llama3, fp32, a
  friend void PrintTo(const Golden& g, std::ostream* out) {
    *out << g.model << " " << g.weights << " " << g.which;
  }
};

// One case of a reference file, its rows as documents.
struct Case {
  OwnedBatch batch;
  std::vector<double> logits, token_loss, mask;
  double loss = 0;
  int64_t rows = 0, length = 0;

  Case(const GoldenTensors& ref, const std::string& which)
      : logits(ref.values(which + ".logits")),
        token_loss(ref.values(which + ".token_loss")),
        mask(ref.values(which + ".attention_mask")),
        loss(ref.values(which + ".loss")[0]) {
    const auto shape = ref.shape(which + ".input_ids");
    rows = shape[0];
    length = shape[1];
    const auto ids = ref.values(which + ".input_ids"), labels = ref.values(which + ".labels");
    for (int64_t r = 0; r < rows; ++r) {
      std::vector<int32_t> tokens, next;
      for (int64_t t = 0; t < length; ++t) {
        const auto at = static_cast<size_t>(r * length + t);
        tokens.push_back(static_cast<int32_t>(ids[at]));
        // Labels are not shifted: position t learns label t + 1.
        next.push_back(t + 1 < length ? static_cast<int32_t>(labels[at + 1]) : -100);
      }
      batch.add_document(tokens, next);
    }
  }
};

double mean_loss(const std::vector<float>& token_loss, int64_t trained) {
  double sum = 0;
  for (const float loss : token_loss) sum += static_cast<double>(loss);
  return sum / static_cast<double>(trained);
}

class GoldenTraining : public ::testing::TestWithParam<Golden> {
 protected:
  void SetUp() override {
    CRIA_NEEDS_FIXTURES();
    const auto& [name, weights, which] = GetParam();
    model_.emplace(FixtureModel::load(name, "hf-" + weights));
    ref_.emplace(fixture_path(name + "/ref-" + weights + ".safetensors"));
    case_.emplace(*ref_, which);
    tolerance_ = read_json(fixture_path(name + "/manifest.json"))["ref-" + weights][which];
  }

  void expect_logits(Trainee& trainee, double tolerance) {
    Tensor logits(DType::f32, case_->batch.tokens(), model_->config.vocab_size);
    trainee.logits(case_->batch.batch(), logits);
    double worst = 0;
    for (int64_t t = 0; t < logits.rows(); ++t) {
      if (case_->mask[static_cast<size_t>(t)] == 0) continue;
      const auto row = logits.view().row<float>(t);
      for (size_t v = 0; v < row.size(); ++v) {
        const double want = case_->logits[static_cast<size_t>(t) * row.size() + v];
        worst = std::max(worst, std::abs(static_cast<double>(row[v]) - want));
      }
    }
    EXPECT_LE(worst, tolerance);
  }

  void expect_token_losses(const std::vector<float>& losses, double tolerance) {
    for (int64_t r = 0; r < case_->rows; ++r) {
      for (int64_t t = 0; t + 1 < case_->length; ++t) {
        const double want = case_->token_loss[static_cast<size_t>(r * (case_->length - 1) + t)];
        EXPECT_NEAR(static_cast<double>(losses[static_cast<size_t>(r * case_->length + t)]), want,
                    tolerance);
      }
    }
  }

  // Every gradient that the reference holds; errors relative to the tensor's largest element.
  void expect_gradients(const ParamArena& grads, double tolerance) {
    int compared = 0;
    for (int64_t i = 0; i < std::ssize(grads.params()); ++i) {
      const std::string name =
          GetParam().which + ".grad." + grads.params()[static_cast<size_t>(i)].name;
      if (!ref_->has(name)) continue;
      const auto want = ref_->values(name);
      const auto* have = static_cast<const float*>(grads[i].data);
      double largest = 0, worst = 0;
      for (size_t e = 0; e < want.size(); ++e) {
        largest = std::max(largest, std::abs(want[e]));
        worst = std::max(worst, std::abs(static_cast<double>(have[e]) - want[e]));
      }
      EXPECT_LE(worst, tolerance * largest) << name;
      ++compared;
    }
    EXPECT_GE(compared, 5);
  }

  void expect_case(DType compute, bool reference, const nlohmann::json& tolerance,
                   double grad_tolerance) {
    ThreadPool pool(2);
    ops::Exec exec{pool, reference};
    Trainee trainee(model_->config, model_->weights, compute, Recompute::none, exec);
    expect_logits(trainee, tolerance["logits_max_abs"]);
    std::vector<float> losses(static_cast<size_t>(case_->batch.tokens()), -1.0f);
    ParamArena grads(model_->config, DType::f32);
    const auto scale = 1.0f / static_cast<float>(case_->batch.trained());
    trainee.forward_backward(case_->batch.batch(), scale, losses, grads, true);
    EXPECT_NEAR(mean_loss(losses, case_->batch.trained()), case_->loss,
                tolerance["loss_abs"].get<double>());
    if (tolerance.contains("token_loss_max_abs"))
      expect_token_losses(losses, tolerance["token_loss_max_abs"]);
    expect_gradients(grads, grad_tolerance);
    std::vector<float> again(losses.size(), -1.0f);
    trainee.forward(case_->batch.batch(), again);
    EXPECT_EQ(again, losses);
  }

  std::optional<FixtureModel> model_;
  std::optional<GoldenTensors> ref_;
  std::optional<Case> case_;
  nlohmann::json tolerance_;
};

TEST_P(GoldenTraining, InF32MatchesFloat64) {
  const auto& t = tolerance_["tolerance_fp32_impl"];
  expect_case(DType::f32, false, t, t["grad_max_abs_over_tensor_max"]);
}

TEST_P(GoldenTraining, InBf16StaysWithinBf16Error) {
  // The manifests give no bf16 gradient error. bf16 rounds to 2^-9 relative; a gradient passes about 20 roundings a layer and
  // sums them in quadrature, and the softmax multiplies errors of logits (0.2 of 12, 2^-6) by the gradient itself.
  expect_case(DType::bf16, false, tolerance_["tolerance_bf16_impl"], 0.06);
}

// Only on the tiny model: the plain ops take ten seconds for the other.
class GoldenTrainingOnPlainOps : public GoldenTraining {};

TEST_P(GoldenTrainingOnPlainOps, MatchesFloat64) {
  const auto& t = tolerance_["tolerance_fp32_impl"];
  expect_case(DType::f32, true, t, t["grad_max_abs_over_tensor_max"]);
}

const auto kTiny =
    ::testing::Values(Golden{"tiny-llama3", "fp32", "a"}, Golden{"tiny-llama3", "fp32", "b"},
                      Golden{"tiny-llama3", "bf16", "a"}, Golden{"tiny-llama3", "bf16", "b"});
const auto kSmall =
    ::testing::Values(Golden{"small-llama3", "fp32", "a"}, Golden{"small-llama3", "fp32", "b"},
                      Golden{"small-llama3", "bf16", "a"}, Golden{"small-llama3", "bf16", "b"});
INSTANTIATE_TEST_SUITE_P(Tiny, GoldenTraining, kTiny);
INSTANTIATE_TEST_SUITE_P(Small, GoldenTraining, kSmall);
INSTANTIATE_TEST_SUITE_P(Tiny, GoldenTrainingOnPlainOps, kTiny);

}  // namespace
}  // namespace cria::testing
