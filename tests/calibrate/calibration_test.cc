#include "calibrate/calibration.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/temporary_folder.h"
#include "checkpoint/weights_testing.h"
#include "formats/dequantise.h"
#include "formats/quantise.h"
#include "model/random_model.h"

namespace cria {
namespace {

LlamaConfig config_of_blocks() {
  LlamaConfig c = test::small_config(true);
  c.hidden_size = 64;
  c.intermediate_size = 96;
  return c;
}

/// A model in a file, and tokens that its layers see.
struct Case {
  LlamaConfig config = config_of_blocks();
  ThreadPool pool{2};
  ParamArena weights = testing::random_weights(config, DType::f32, pool);
  TemporaryFolder folder;
  std::vector<int32_t> ids = random_ids(20 * 32 + 5, config.vocab_size, 3);
  WeightSource source = saved();

  WeightSource saved() {
    const std::string file = folder / "model";
    convert_weights(rows_of(weights), config, {.output = file});
    return WeightSource::open(file, config);
  }
  /// What the model says with the layers' matrices made by `put`, over the same windows.
  template <class Put>
  Tensor logits_with(Put put) {
    ParamArena other(config, DType::f32);
    std::memcpy(other.all().data, weights.all().data, weights.size_bytes());
    for (int64_t i = 0; i < std::ssize(other.params()); ++i) {
      const Param& p = other.params()[static_cast<size_t>(i)];
      if (p.name.find("_proj") != std::string::npos) put(p.name, other[i]);
    }
    ops::Exec exec{pool};
    Trainee trainee(config, other, DType::f32, Recompute::none, exec);
    testing::OwnedBatch batch;
    for (size_t t = 0; t + 32 <= ids.size(); t += 32) {
      const std::vector<int32_t> window(ids.begin() + static_cast<std::ptrdiff_t>(t),
                                        ids.begin() + static_cast<std::ptrdiff_t>(t) + 32);
      batch.add_document(window, window);
    }
    Tensor logits(DType::f32, static_cast<int64_t>(ids.size()) / 32 * 32, config.vocab_size);
    trainee.logits(batch.batch(), logits);
    return logits;
  }
};

double squared_difference(const Tensor& a, const Tensor& b) {
  double sum = 0;
  for (size_t i = 0; i < a.span<float>().size(); ++i) {
    const double d =
        static_cast<double>(a.span<float>()[i]) - static_cast<double>(b.span<float>()[i]);
    sum += d * d;
  }
  return sum;
}

TEST(Calibration, AnswersChangeLessThanByPlainRounding) {
  Case c;
  Calibration calibration(c.source, c.config, block_types(DType::q4_0), c.ids, 32, c.pool);
  EXPECT_EQ(calibration.tokens(), 640);
  const Tensor want = c.logits_with([](const std::string&, View) {});
  const Tensor calibrated = c.logits_with([&](const std::string& name, View w) {
    ASSERT_TRUE(calibration.chooses(name)) << name;
    dequantise(DType::q4_0, calibration.blocks(name),
               {static_cast<float*>(w.data), static_cast<size_t>(w.elements())});
  });
  const Tensor plain = c.logits_with([](const std::string&, View w) {
    const std::span numbers(static_cast<float*>(w.data), static_cast<size_t>(w.elements()));
    std::vector<std::byte> blocks(static_cast<size_t>(bytes_of(DType::q4_0, w.elements())));
    quantise(DType::q4_0, numbers, blocks);
    dequantise(DType::q4_0, blocks, numbers);
  });
  EXPECT_LT(squared_difference(calibrated, want), 0.8 * squared_difference(plain, want));
}

TEST(Calibration, ChoosesTheLayersMatricesAndNothingElse) {
  Case c;
  const Calibration calibration(c.source, c.config, block_types(DType::q4_0), c.ids, 32, c.pool);
  for (const char* name :
       {"model.embed_tokens.weight", "model.norm.weight", "model.layers.0.input_layernorm.weight",
        "model.layers.2.mlp.up_proj.weight", "model.layers.1.mlp.up_proj", "weight"})
    EXPECT_FALSE(calibration.chooses(name)) << name;
  EXPECT_TRUE(calibration.chooses("model.layers.1.mlp.up_proj.weight"));
  // Blocks of 96 columns there are none of 256.
  const Calibration wide(c.source, c.config, block_types(DType::q6_k), c.ids, 32, c.pool);
  EXPECT_TRUE(wide.chooses("model.layers.1.mlp.down_proj.weight"));  // as q8_0
}

TEST(Calibration, RefusesTextsThatAreTooShortAndForeignIds) {
  Case c;
  const std::vector<int32_t> few(31, 1), foreign(40, 160);
  for (const auto& ids : {few, foreign})
    EXPECT_THROW(Calibration(c.source, c.config, block_types(DType::q4_0), ids, 32, c.pool),
                 UsageError);
}

}  // namespace
}  // namespace cria
