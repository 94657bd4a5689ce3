// Weights that are packed while they load: the numbers of the same file loaded plainly.
#include "model/packed_weights.h"
#include "weights_testing.h"

namespace cria::test {
namespace {

LlamaConfig wide_config(bool tied) {
  LlamaConfig c = small_config(tied);
  c.hidden_size = 256;
  c.head_dim = 64;
  c.intermediate_size = 512;
  return c;
}

PackedWeights load_packed(const std::string& path, const LlamaConfig& config,
                          std::optional<DType> matrices) {
  ThreadPool pool(2);
  const WeightSource source = WeightSource::open(path, config);
  PackedWeights weights(config, packed_types(source, config, whole_model(config), matrices));
  load_parameters(source, weights, pool);
  return weights;
}

/// Every matrix that a layer multiplies with, and the ends.
std::vector<const ops::PackedMatrix*> matrices_of(const PackedWeights& weights) {
  std::vector<const ops::PackedMatrix*> all = {&weights.embed_tokens(), &weights.lm_head()};
  for (int64_t l = 0; l < weights.config().num_hidden_layers; ++l) {
    const LayerViews<Weight> layer = weights.layer(l);
    for (const Weight* w : {&layer.qkv_proj, &layer.o_proj, &layer.gate_up_proj, &layer.down_proj})
      all.insert(all.end(), w->packed.begin(), w->packed.end());
  }
  return all;
}
std::vector<ConstView> matrices_of(const ParamArena& weights) {
  const ParamIndex& index = weights.index();
  std::vector<ConstView> all = {weights[index.embed_tokens()], weights[index.lm_head()]};
  for (int64_t l = 0; l < weights.config().num_hidden_layers; ++l) {
    for (int64_t i = 0; i < 7; ++i) all.push_back(weights[index.layer(l) + i]);
  }
  return all;
}

void expect_same_numbers(const PackedWeights& packed, const ParamArena& plain) {
  const auto have = matrices_of(packed);
  const auto want = matrices_of(plain);
  ASSERT_EQ(have.size(), want.size());
  std::vector<float> row;
  for (size_t m = 0; m < have.size(); ++m) {
    ASSERT_EQ(have[m]->rows(), want[m].rows);
    row.resize(static_cast<size_t>(want[m].cols));
    for (int64_t r = 0; r < want[m].rows; ++r) {
      have[m]->row(r, row);
      ASSERT_EQ(std::memcmp(row.data(), want[m].row<float>(r).data(), row.size() * 4), 0)
          << m << ", " << r;
    }
  }
  EXPECT_EQ(std::memcmp(packed.norm().data, plain[plain.index().norm()].data, 1024), 0);
}

class PackedLoading : public testing::TestWithParam<DType> {};

TEST_P(PackedLoading, BlocksOfAFileStandForTheSameNumbersPackedAndPlain) {
  const Scratch scratch;
  for (const bool tied : {false, true}) {
    const LlamaConfig config = wide_config(tied);
    ConvertOptions options{.format = WeightFormat::gguf,
                           .output = scratch.path(tied ? "t.gguf" : "w.gguf")};
    options.blocks = {block_types(GetParam()), 1, {}};
    convert_weights(rows_of(random_weights(config, DType::f32)), config, options);
    const PackedWeights packed = load_packed(options.output, config, std::nullopt);
    EXPECT_EQ(packed.layer(0).o_proj.packed[0]->type(), GetParam());
    expect_same_numbers(packed, load_all(options.output, config, DType::f32));
  }
}

TEST_P(PackedLoading, RoundingWhileLoadingGivesWhatQuantizeWrites) {
  const Scratch scratch;
  const LlamaConfig config = wide_config(false);
  const ParamArena exact = random_weights(config, DType::f32);
  convert_weights(rows_of(exact), config,
                  {.format = WeightFormat::hugging_face, .output = scratch.path("hf")});
  ConvertOptions options{.format = WeightFormat::gguf, .output = scratch.path("w.gguf")};
  options.blocks = {block_types(GetParam()), 1, {}};
  convert_weights(rows_of(exact), config, options);
  expect_same_numbers(load_packed(scratch.path("hf"), config, GetParam()),
                      load_all(options.output, config, DType::f32));
}

INSTANTIATE_TEST_SUITE_P(Types, PackedLoading,
                         testing::Values(DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1,
                                         DType::q8_0, DType::q4_k, DType::q5_k, DType::q6_k),
                         [](const auto& p) { return std::string(name_of(p.param)); });

// Blocks of 32: two ranks halve rows of 256 and 512.
TEST_P(PackedLoading, APartHasItsRowsAndColumnsOfTheWhole) {
  const Scratch scratch;
  const LlamaConfig config = wide_config(false);
  ConvertOptions options{.format = WeightFormat::gguf, .output = scratch.path("w.gguf")};
  options.blocks = {block_types(GetParam()), 1, {}};
  convert_weights(rows_of(random_weights(config, DType::f32)), config, options);
  const bool blocks_of_256 = block_elements(GetParam()) == 256;
  const ParamArena plain = load_all(options.output, config, DType::f32);
  ThreadPool pool(2);
  const WeightSource source = WeightSource::open(options.output, config);
  for (int rank = 0; rank < 2; ++rank) {
    const ModelPart part{.layers = {1}, .tp = 2, .tp_index = rank, .vocab_split = true};
    const std::vector<DType> types = packed_types(source, config, part, std::nullopt);
    if (blocks_of_256) {
      EXPECT_THROW(PackedWeights(config, part, types), UsageError);
      continue;
    }
    PackedWeights weights(config, part, types);
    load_parameters(source, weights, pool);
    const auto expect_box = [&](const ops::PackedMatrix& have, int64_t param) {
      const Param& p = weights.params()[static_cast<size_t>(param)];
      const ConstView want = plain[p.number];
      ASSERT_EQ(have.rows(), p.rows());
      std::vector<float> row(static_cast<size_t>(have.cols()));
      for (int64_t r = 0; r < have.rows(); ++r) {
        have.row(r, row);
        ASSERT_EQ(std::memcmp(row.data(), want.at(p.first_row() + r, p.begin[1]), row.size() * 4),
                  0)
            << p.name << ", row " << r << " of rank " << rank;
      }
    };
    const ParamIndex& index = weights.index();
    const LayerViews<Weight> layer = weights.layer(1);
    expect_box(weights.embed_tokens(), index.embed_tokens());
    expect_box(weights.lm_head(), index.lm_head());
    expect_box(*layer.qkv_proj.packed[0], index.q_proj(1));
    expect_box(*layer.qkv_proj.packed[1], index.k_proj(1));
    expect_box(*layer.o_proj.packed[0], index.o_proj(1));
    expect_box(*layer.gate_up_proj.packed[1], index.up_proj(1));
    expect_box(*layer.down_proj.packed[0], index.down_proj(1));
  }
}

TEST(PackedLoadingOfFloats, BecomesBf16) {
  const Scratch scratch;
  const LlamaConfig config = small_config(true);
  const ParamArena exact = random_weights(config, DType::f32);
  convert_weights(rows_of(exact), config,
                  {.format = WeightFormat::hugging_face, .output = scratch.path("hf")});
  ParamArena rounded(config, DType::f32);
  for (int64_t e = 0; e < exact.all().elements(); ++e)
    rounded.all().row<float>(0)[static_cast<size_t>(e)] =
        static_cast<float>(bf16(exact.all().row<float>(0)[static_cast<size_t>(e)]));
  const PackedWeights packed = load_packed(scratch.path("hf"), config, std::nullopt);
  const auto have = matrices_of(packed);
  const auto want = matrices_of(std::as_const(rounded));
  std::vector<float> row;
  for (size_t m = 0; m < have.size(); ++m) {
    EXPECT_EQ(have[m]->type(), DType::bf16);
    row.resize(static_cast<size_t>(want[m].cols));
    have[m]->row(0, row);
    EXPECT_EQ(std::memcmp(row.data(), want[m].row<float>(0).data(), row.size() * 4), 0) << m;
  }
}

TEST(PackedLoadingOfFloats, RowsThatBlocksDoNotDivideGetTheNextType) {
  const Scratch scratch;
  const LlamaConfig config = small_config(true);  // rows of 64 and 96
  convert_weights(rows_of(random_weights(config, DType::f32)), config,
                  {.format = WeightFormat::hugging_face, .output = scratch.path("hf")});
  const PackedWeights packed = load_packed(scratch.path("hf"), config, DType::q4_k);
  EXPECT_EQ(packed.layer(0).o_proj.packed[0]->type(), DType::q5_0);
  EXPECT_EQ(packed.embed_tokens().type(), DType::q8_0);
}

}  // namespace
}  // namespace cria::test
