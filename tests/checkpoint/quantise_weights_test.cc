// Weights that become a GGUF of blocks, and come back through WeightSource.
#include <cmath>
#include <limits>

#include "base/error.h"
#include "checkpoint/gguf_config.h"
#include "weights_testing.h"

namespace cria::test {
namespace {

// Rows of 256 and 512: whole blocks of every type.
LlamaConfig wide_config() {
  LlamaConfig c = small_config(false);
  c.hidden_size = 256;
  c.head_dim = 64;
  c.intermediate_size = 512;
  return c;
}

ConvertOptions options_of(const std::string& output, DType type, int threads = 1) {
  ConvertOptions options{.format = WeightFormat::gguf, .output = output};
  options.blocks = {block_types(type), threads, {}};
  return options;
}

std::map<std::string, DType> types_in(const std::string& path) {
  std::map<std::string, DType> types;
  const auto file = GgufReader::open(path);
  for (const TensorInfo& t : file->tensors()) types[t.name] = t.dtype;
  return types;
}

RoundingError error_between(ConstView x, ConstView y) {
  RoundingError error;
  for (int64_t r = 0; r < x.rows; ++r) {
    for (int64_t c = 0; c < x.cols; ++c) {
      const double number = x.row<float>(r)[static_cast<size_t>(c)];
      error.squared_differences += std::pow(number - y.row<float>(r)[static_cast<size_t>(c)], 2);
      error.squares += number * number;
    }
  }
  return error;
}

struct Case {
  DType type;
  double error;  // at most, root mean square beside root mean square
  uint32_t file_type;
};
class EveryBlockType : public testing::TestWithParam<Case> {};

TEST_P(EveryBlockType, ComesBackWithTheErrorThatWasTold) {
  const Scratch scratch;
  const LlamaConfig config = wide_config();
  const ParamArena weights = random_weights(config, DType::f32);
  ConvertOptions options = options_of(scratch.path("w.gguf"), GetParam().type);
  std::map<std::string, RoundingError> told;
  options.blocks->measured = [&](const std::string& name, const RoundingError& error) {
    told[name] = error;
  };
  convert_weights(rows_of(weights), config, options);
  const ParamArena back = load_all(scratch.path("w.gguf"), config, DType::f32);
  size_t matrices = 0;
  for (size_t i = 0; i < weights.params().size(); ++i) {
    const Param& p = weights.params()[i];
    const RoundingError found =
        error_between(weights[static_cast<int64_t>(i)], back[static_cast<int64_t>(i)]);
    if (p.is_norm()) {
      EXPECT_EQ(found.squared_differences, 0) << p.name;
      continue;
    }
    ++matrices;
    const RoundingError& said = told.at(to_dialect(Dialect::gguf, p.name));
    // Rows of q and k are summed in another order.
    EXPECT_NEAR(said.relative(), found.relative(), 1e-9) << p.name;
    EXPECT_LE(found.relative(), GetParam().error) << p.name;
    EXPECT_GT(found.relative(), GetParam().type == DType::q8_0 ? 0.004 : 0.002) << p.name;
  }
  EXPECT_EQ(told.size(), matrices);
}

TEST_P(EveryBlockType, IsNamedAsLlamaCppNamesIt) {
  const Scratch scratch;
  const LlamaConfig config = wide_config();
  convert_weights(rows_of(random_weights(config, DType::bf16)), config,
                  options_of(scratch.path("w.gguf"), GetParam().type));
  EXPECT_EQ(GgufReader::open(scratch.path("w.gguf"))->uint("general.file_type"),
            GetParam().file_type);
  const auto types = types_in(scratch.path("w.gguf"));
  const DType ends = GetParam().type == DType::q6_k ? DType::q6_k : DType::q8_0;
  EXPECT_EQ(types.at("blk.1.attn_q.weight"), GetParam().type);
  EXPECT_EQ(types.at("blk.1.ffn_down.weight"), GetParam().type);
  EXPECT_EQ(types.at("token_embd.weight"), ends);
  EXPECT_EQ(types.at("output.weight"), ends);
  EXPECT_EQ(types.at("blk.1.attn_norm.weight"), DType::f32);
}

// A Gaussian block of 32 reaches about 2.1 deviations: a step of 4.2 / 16 of one and its error, step / sqrt(12), make 7.6 % in
// 4 bits, half of that in 5; an offset takes away a tenth. q8_0: 2.1 / 127 / sqrt(12). Each with 15 % on top.
INSTANTIATE_TEST_SUITE_P(All, EveryBlockType,
                         testing::Values(Case{DType::q4_0, 0.093, 2}, Case{DType::q4_1, 0.08, 3},
                                         Case{DType::q5_0, 0.046, 8}, Case{DType::q5_1, 0.039, 9},
                                         Case{DType::q8_0, 0.0062, 7}, Case{DType::q4_k, 0.081, 14},
                                         Case{DType::q5_k, 0.04, 16}, Case{DType::q6_k, 0.02, 18}),
                         [](const auto& c) { return std::string(name_of(c.param.type)); });

TEST(QuantiseWeights, AreTheSameBytesForAnyNumberOfThreads) {
  const Scratch scratch;
  LlamaConfig config = wide_config();
  config.vocab_size = 3001;  // several pieces, the last of them shorter
  const ParamArena weights = random_weights(config, DType::bf16);
  convert_weights(rows_of(weights), config, options_of(scratch.path("1.gguf"), DType::q4_k, 1));
  for (const int threads : {2, 5}) {
    const std::string path = scratch.path(fmt::format("{}.gguf", threads));
    convert_weights(rows_of(weights), config, options_of(path, DType::q4_k, threads));
    EXPECT_TRUE(slurp(path) == slurp(scratch.path("1.gguf"))) << threads;
  }
}

TEST(QuantiseWeights, RandomRowsAreReadByManyThreads) {
  const Scratch scratch;
  const LlamaConfig config = wide_config();
  convert_weights(random_rows(config, DType::f32, 7, 2), config,
                  options_of(scratch.path("rows.gguf"), DType::q8_0, 3));
  convert_weights(rows_of(random_weights(config, DType::f32, 7)), config,
                  options_of(scratch.path("arena.gguf"), DType::q8_0, 1));
  EXPECT_TRUE(slurp(scratch.path("rows.gguf")) == slurp(scratch.path("arena.gguf")));
}

TEST(QuantiseWeights, ANumberThatIsNotFiniteIsNamedAndLeavesNoFile) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const DType type : {DType::q4_0, DType::q4_1, DType::q8_0, DType::q4_k, DType::q6_k}) {
      const Scratch scratch;
      const LlamaConfig config = wide_config();
      ParamArena weights = random_weights(config, DType::f32);
      weights[weights.index().down_proj(1)].row<float>(1)[77] = bad;
      try {
        convert_weights(rows_of(weights), config, options_of(scratch.path("w.gguf"), type));
        FAIL() << "no error";
      } catch (const Error& e) {
        EXPECT_EQ(e.code, ExitCode::numbers);
        EXPECT_THAT(e.what(), testing::HasSubstr("\"blk.1.ffn_down.weight\""));
      }
      EXPECT_EQ(scratch.entries(), 0U);
    }
  }
}

TEST(BlockTypes, FallBackToSmallerBlocksAndThenToPlainTypes) {
  for (const auto& [wanted, smaller] :
       {std::pair{DType::q4_k, DType::q5_0}, std::pair{DType::q5_k, DType::q5_1},
        std::pair{DType::q6_k, DType::q8_0}}) {
    EXPECT_EQ(fitting_type(wanted, 512, DType::bf16), wanted);
    EXPECT_EQ(fitting_type(wanted, 576, DType::bf16), smaller);
    EXPECT_EQ(fitting_type(wanted, 40, DType::f16), DType::f16);
  }
  EXPECT_EQ(fitting_type(DType::q4_0, 96, DType::bf16), DType::q4_0);
  EXPECT_EQ(fitting_type(DType::q4_0, 40, DType::f32), DType::f32);
  EXPECT_EQ(fitting_type(DType::q4_0, 40, DType::q8_0), DType::bf16);
  EXPECT_EQ(fitting_type(DType::f16, 41, DType::f32), DType::f16);
}

TEST(BlockTypes, AreReadInAnyCaseAndOnlyThoseWeWrite) {
  EXPECT_EQ(parse_block_type("Q4_K", "--type"), DType::q4_k);
  EXPECT_EQ(parse_block_type("q5_1", "--type"), DType::q5_1);
  EXPECT_EQ(parse_block_type("bf16", "--head"), DType::bf16);
  for (const char* bad : {"", "q3_k", "q4", "i8", "bool", "f64"}) {
    try {
      (void)parse_block_type(bad, "--type");
      ADD_FAILURE() << bad;
    } catch (const UsageError& e) {
      EXPECT_THAT(e.what(), testing::StartsWith(fmt::format("--type: unknown type \"{}\"", bad)));
    }
  }
}

}  // namespace
}  // namespace cria::test
