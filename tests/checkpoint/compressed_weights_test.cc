// Folders that compressed-tensors and transformers wrote (tests/golden/make_compressed.py), through WeightSource.
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/sha256.h"
#include "formats/json_file.h"
#include "model/packed_weights.h"
#include "weights_testing.h"

namespace cria::test {
namespace {

std::string golden(const std::string& name) {
  return CRIA_SOURCE_DIR "/tests/golden/compressed/" + name;
}

struct Case {
  const char* name;
  DType scales;
  DType query, down;  // types that the q_proj and down_proj have
};
std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

class CompressedFolders : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(
    All, CompressedFolders,
    testing::Values(Case{"int4_g128", DType::bf16, DType::int4_g128, DType::int4_g128},
                    Case{"int8_g32", DType::f16, DType::int8_g32, DType::int8_g32},
                    Case{"int8_rows", DType::bf16, DType::int8_g64, DType::int8_g32}),
    [](const auto& p) { return std::string(p.param.name); });

std::string sha256_of(const WeightSource& source, size_t index, DType dtype) {
  const TensorInfo& t = source.tensors()[index];
  std::vector<std::byte> bytes(static_cast<size_t>(bytes_of(dtype, t.elements())));
  source.read_rows(index, 0, t.shape[0], dtype, bytes);
  return sha256_hex(bytes);
}

// In the scales' own type and with scales widened to f32.
TEST_P(CompressedFolders, HaveTheNumbersThatThePackageReads) {
  const WeightSource source = WeightSource::open(golden(GetParam().name));
  const auto expected = load_json(golden(GetParam().name) + "/expected.json");
  size_t matrices = 0;
  for (const auto& [name, sums] : expected.items()) {
    if (name == "peer") continue;
    const auto index = source.find(name);
    ASSERT_TRUE(index) << name;
    EXPECT_EQ(sha256_of(source, *index, GetParam().scales), sums.at("stored")) << name;
    EXPECT_EQ(sha256_of(source, *index, DType::f32), sums.at("f32")) << name;
    ++matrices;
  }
  EXPECT_EQ(matrices, 7U);
  EXPECT_TRUE(source.others().empty());
}

TEST_P(CompressedFolders, ArePackedWithoutLoss) {
  ThreadPool pool(2);
  const WeightSource source = WeightSource::open(golden(GetParam().name));
  const LlamaConfig& config = source.config();
  PackedWeights packed(config, packed_types(source, config, whole_model(config), std::nullopt));
  load_parameters(source, packed, pool);
  const ParamArena plain = load_all(golden(GetParam().name), config, DType::f32);
  const LayerViews<Weight> layer = packed.layer(0);
  EXPECT_EQ(layer.qkv_proj.packed[0]->type(), GetParam().query);
  EXPECT_EQ(layer.down_proj.packed[0]->type(), GetParam().down);
  int64_t at = plain.index().layer(0);
  std::vector<float> row;
  for (const Weight* w : {&layer.qkv_proj, &layer.o_proj, &layer.gate_up_proj, &layer.down_proj}) {
    for (const ops::PackedMatrix* m : w->packed) {
      const ConstView want = plain[at++];
      row.resize(static_cast<size_t>(want.cols));
      for (int64_t r = 0; r < want.rows; ++r) {
        m->row(r, row);
        ASSERT_EQ(std::memcmp(row.data(), want.row<float>(r).data(), row.size() * 4), 0);
      }
    }
  }
  EXPECT_EQ(packed.lm_head().type(), DType::bf16);
}

TEST(CompressedFolder, OfZeroPointsIsRefusedInOneLine) {
  const std::string message = format_error([] { WeightSource::open(golden("bad_zero_points")); });
  EXPECT_THAT(message, testing::HasSubstr("\"quantization_config.config_groups.group_0.weights."
                                          "symmetric\" is false"));
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

TEST(CompressedFolder, AFileOfItReadsTheConfigBesideIt) {
  const WeightSource source = WeightSource::open(golden("int4_g128/model.safetensors"));
  EXPECT_EQ(source.tensors()[*source.find("model.layers.0.mlp.down_proj.weight")].dtype,
            DType::int4_g128);
}

TEST(CompressedFolder, BecomesPlainWhenConverted) {
  const Scratch scratch;
  const WeightSource source = WeightSource::open(golden("int4_g128"));
  convert_weights(rows_of(source), source.config(), {.output = scratch.path("hf")});
  EXPECT_EQ(slurp(scratch.path("hf/config.json")).find("quantization_config"), std::string::npos);
  expect_equal(load_all(scratch.path("hf"), source.config(), DType::bf16),
               load_all(golden("int4_g128"), source.config(), DType::bf16));
}

LlamaConfig wide_config() {
  LlamaConfig c = small_config(false);
  c.hidden_size = 256;
  c.head_dim = 64;
  c.intermediate_size = 384;
  return c;
}

ConvertOptions options_of(const std::string& output, DType type) {
  ConvertOptions options{.format = WeightFormat::hugging_face, .output = output};
  options.blocks = {{type, DType::bf16, DType::bf16}, 2, {}, {}};
  return options;
}

class WrittenFolders : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(All, WrittenFolders,
                         testing::Values(DType::int4_g32, DType::int4_g64, DType::int4_g128,
                                         DType::int8_g32, DType::int8_g64, DType::int8_g128),
                         [](const auto& p) { return std::string(name_of(p.param)); });

TEST_P(WrittenFolders, ComeBackWithTheErrorThatWasToldAndOtherTensorsAsTheyWere) {
  const Scratch scratch;
  const LlamaConfig config = wide_config();
  const ParamArena exact = random_weights(config, DType::bf16);
  ConvertOptions options = options_of(scratch.path("hf"), GetParam());
  options.max_shard_bytes = 300 << 10;  // several
  std::map<std::string, double> told;
  options.blocks->measured = [&](const std::string& name, const RoundingError& error) {
    told[name] = error.relative();
  };
  convert_weights(rows_of(exact), config, options);
  EXPECT_TRUE(std::filesystem::exists(scratch.path("hf/model.safetensors.index.json")));
  const WeightSource source = WeightSource::open(scratch.path("hf"));
  LlamaConfig written = source.config();
  EXPECT_EQ(written.torch_dtype, DType::bf16);
  written.torch_dtype = config.torch_dtype;
  EXPECT_TRUE(written == config);
  for (size_t i = 0; i < exact.params().size(); ++i) {
    const Param& p = exact.params()[i];
    const auto index = source.find(p.name).value();
    const bool matrix = p.name.starts_with("model.layers.") && !p.is_norm();
    EXPECT_EQ(source.tensors()[index].dtype, matrix ? GetParam() : DType::bf16) << p.name;
    std::vector<float> row(static_cast<size_t>(p.cols()));
    RoundingError found;
    for (int64_t r = 0; r < p.rows(); ++r) {
      source.read_rows(index, r, 1, DType::f32, std::as_writable_bytes(std::span(row)));
      const auto want = exact[static_cast<int64_t>(i)].row<bf16>(r);
      for (size_t k = 0; k < row.size(); ++k) {
        const double x = static_cast<double>(static_cast<float>(want[k]));
        found.squares += x * x;
        found.squared_differences += std::pow(x - static_cast<double>(row[k]), 2);
      }
    }
    EXPECT_NEAR(found.relative(), matrix ? told.at(p.name) : 0, 1e-9) << p.name;
    // A Gaussian group of 128 reaches about 2.7 deviations: steps of 2.7 / 8, or / 128, of one, their error step / sqrt(12).
    if (matrix) {
      EXPECT_LT(found.relative(), name_of(GetParam()).starts_with("INT4") ? 0.11 : 0.0075)
          << p.name;
    }
  }
  EXPECT_EQ(told.size(), 14U);
}

TEST_P(WrittenFolders, HaveTheNumbersOfRoundingWhileLoading) {
  const Scratch scratch;
  ThreadPool pool(2);
  const LlamaConfig config = wide_config();
  const ParamArena exact = random_weights(config, DType::bf16);
  convert_weights(rows_of(exact), config, {.output = scratch.path("plain")});
  convert_weights(rows_of(exact), config, options_of(scratch.path("hf"), GetParam()));
  const WeightSource plain = WeightSource::open(scratch.path("plain")),
                     written = WeightSource::open(scratch.path("hf"));
  PackedWeights loading(config, packed_types(plain, config, whole_model(config), GetParam())),
      loaded(config, packed_types(written, config, whole_model(config), std::nullopt));
  load_parameters(plain, loading, pool);
  load_parameters(written, loaded, pool);
  for (int64_t l = 0; l < config.num_hidden_layers; ++l) {
    const ops::PackedMatrix &a = *loading.layer(l).down_proj.packed[0],
                            &b = *loaded.layer(l).down_proj.packed[0];
    ASSERT_EQ(a.type(), GetParam());
    ASSERT_EQ(b.type(), GetParam());
    EXPECT_EQ(std::memcmp(a.panel(0), b.panel(0), a.size_bytes()), 0);
  }
}

TEST(WrittenFolder, OfGroupsThatDoNotDivideAllRowsIsRefused) {
  const Scratch scratch;
  const LlamaConfig config = small_config(false);  // rows of 64 and 96
  EXPECT_THROW(convert_weights(rows_of(random_weights(config, DType::bf16)), config,
                               options_of(scratch.path("hf"), DType::int4_g64)),
               UsageError);
  EXPECT_FALSE(std::filesystem::exists(scratch.path("hf")));
}

}  // namespace
}  // namespace cria::test
