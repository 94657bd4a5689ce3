#include "checkpoint/convert.h"

#include "checkpoint/gguf_config.h"
#include "weights_testing.h"

namespace cria::test {
namespace {

struct Case {
  WeightFormat format;
  const char* file;
  bool tied;
  DType dtype;
};

class EveryFormat : public testing::TestWithParam<Case> {};

TEST_P(EveryFormat, GivesTheSameWeightsBack) {
  const auto [format, file, tied, dtype] = GetParam();
  const Scratch scratch;
  const LlamaConfig config = small_config(tied);
  const ParamArena weights = random_weights(config, dtype);
  convert_weights(rows_of(weights), config, {.format = format, .output = scratch.path(file)});
  expect_equal(load_all(scratch.path(file), config, dtype), weights);
}

INSTANTIATE_TEST_SUITE_P(All, EveryFormat,
                         testing::Values(Case{WeightFormat::hugging_face, "hf", false, DType::f32},
                                         Case{WeightFormat::hugging_face, "hf", true, DType::bf16},
                                         Case{WeightFormat::torch, "w.bin", false, DType::f16},
                                         Case{WeightFormat::torch, "w.bin", true, DType::f32},
                                         Case{WeightFormat::mindspore, "w.ckpt", false,
                                              DType::bf16},
                                         Case{WeightFormat::mindspore, "w.ckpt", true, DType::f32},
                                         Case{WeightFormat::gguf, "w.gguf", false, DType::f32},
                                         Case{WeightFormat::gguf, "w.gguf", true, DType::bf16}));

TEST(Convert, CutsAHuggingFaceFolderIntoShards) {
  const Scratch scratch;
  const LlamaConfig config = small_config(false);
  const ParamArena weights = random_weights(config, DType::f32);
  convert_weights(rows_of(weights), config,
                  {.output = scratch.path("hf"), .max_shard_bytes = 100000});
  EXPECT_TRUE(is_file(scratch.path("hf/model.safetensors.index.json")));
  EXPECT_FALSE(is_file(scratch.path("hf/model.safetensors")));
  expect_equal(load_all(scratch.path("hf"), config, DType::f32), weights);
}

TEST(Convert, GgufKeepsTheConfigAndLlama31sScaling) {
  const Scratch scratch;
  LlamaConfig config = small_config(false);
  config.rope_scaling = {ops::RopeScaling::Kind::llama3, 8, 1, 4, 8192};
  convert_weights(rows_of(random_weights(config, DType::f32)), config,
                  {.format = WeightFormat::gguf, .output = scratch.path("w.gguf")});
  const LlamaConfig found = WeightSource::open(scratch.path("w.gguf")).config();
  EXPECT_EQ(found.rope_scaling, config.rope_scaling);
  EXPECT_EQ(found.rope_theta, config.rope_theta);
  EXPECT_EQ(found.rms_norm_eps, config.rms_norm_eps);
  EXPECT_EQ(found.num_key_value_heads, 2);
}

TEST(Convert, GgufWithoutATokenizerSaysSo) {
  const Scratch scratch;
  const auto wrote = [&](const GgufMetadata& keys) {
    convert_weights(rows_of(random_weights(small_config(false), DType::f32)), small_config(false),
                    {.format = WeightFormat::gguf,
                     .output = scratch.path("w.gguf"),
                     .tokenizer_metadata = keys});
    return GgufReader::open(scratch.path("w.gguf"));
  };
  // llama.cpp's own name for it: src/llama-vocab.cpp, llama_vocab::impl::load.
  EXPECT_EQ(wrote({})->text("tokenizer.ggml.model"), "none");
  EXPECT_FALSE(wrote({})->has_vocabulary());
  EXPECT_TRUE(wrote({{"tokenizer.ggml.model", std::string("gpt2")}})->has_vocabulary());
}

TEST(Convert, TiedModelsGetACopyOfTheHeadForMindSpore) {
  const Scratch scratch;
  const LlamaConfig config = small_config(true);
  convert_weights(rows_of(random_weights(config, DType::f32)), config,
                  {.format = WeightFormat::mindspore, .output = scratch.path("w.ckpt")});
  const WeightSource source = WeightSource::open(scratch.path("w.ckpt"), config);
  EXPECT_EQ(source.tensors().back().name, "lm_head.weight");
  EXPECT_TRUE(looks_tied(source));
}

TEST(Convert, ARefusedInputLeavesNoOutput) {
  const Scratch scratch;
  const ParamArena weights = random_weights(small_config(false), DType::f32);
  EXPECT_THROW(convert_weights(rows_of(weights), std::nullopt,
                               {.format = WeightFormat::gguf, .output = scratch.path("w.gguf")}),
               UsageError);
  EXPECT_EQ(scratch.entries(), 0U);
}

TEST(RandomRows, AreThoseOfInitParameters) {
  const Scratch scratch;
  const LlamaConfig config = small_config(false);
  convert_weights(random_rows(config, DType::f32, 7), config, {.output = scratch.path("hf")});
  expect_equal(load_all(scratch.path("hf"), config, DType::f32),
               random_weights(config, DType::f32, 7));
}

TEST(RandomRows, AreTheSameBytesForAnyNumberOfThreads) {
  LlamaConfig config = small_config(false);
  config.vocab_size = 3001;  // the table is cut into pieces, the last of them shorter
  const WeightRows alone = random_rows(config, DType::bf16, 3, 1);
  const TensorInfo table = alone.tensors.at(0);
  ASSERT_GT(table.elements(), 50'000);
  std::vector<std::byte> expected(static_cast<size_t>(table.size_bytes()));
  for (int64_t row = 0; row < table.shape[0]; ++row) {
    const size_t bytes = expected.size() / static_cast<size_t>(table.shape[0]);
    alone.read(0, row, 1, DType::bf16,
               std::span(expected).subspan(static_cast<size_t>(row) * bytes, bytes));
  }
  for (const int threads : {1, 2, 5}) {
    std::vector<std::byte> found(expected.size());
    random_rows(config, DType::bf16, 3, threads).read(0, 0, table.shape[0], DType::bf16, found);
    EXPECT_TRUE(found == expected) << threads;
  }
}

// The real convert_weight.py wrote converted.ckpt from the same weights.
TEST(RecipeFixture, OurCkptHasTheBytesOfTheRealConverters) {
  CRIA_NEED_FIXTURES();
  for (const std::string dtype : {"fp32", "bf16"}) {
    const std::string golden =
        slurp(fixture("models/tiny-llama3/mindformers-" + dtype + "/converted.ckpt"));
    std::vector<std::string> sources = {"hf-" + dtype, "meta-" + dtype, "hf-" + dtype + "-sharded"};
    if (dtype == "fp32") sources.emplace_back("hf-fp32-bin");
    for (const std::string& name : sources) {
      const Scratch scratch;
      const WeightSource source = WeightSource::open(fixture("models/tiny-llama3/" + name) + "/");
      convert_weights(rows_of(source), source.config(),
                      {.format = WeightFormat::mindspore,
                       .output = scratch.path("w.ckpt"),
                       .dtype = parse_dtype(dtype, "dtype")});
      EXPECT_TRUE(slurp(scratch.path("w.ckpt")) == golden) << name;
    }
  }
}

}  // namespace
}  // namespace cria::test
