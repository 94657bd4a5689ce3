// In which form weights are held for generation, and what that takes.
#include "checkpoint/generation_weights.h"

#include "weights_testing.h"

namespace cria::test {
namespace {

/// Random weights in a folder of such a dtype, or in a GGUF of such blocks.
WeightSource stored(const Scratch& scratch, const LlamaConfig& config, DType type) {
  const std::string path = scratch.path(is_quantised(type) ? "w.gguf" : "hf");
  ConvertOptions options{.format = WeightFormat::hugging_face, .output = path};
  if (is_quantised(type)) {
    options.format = WeightFormat::gguf;
    options.blocks = {block_types(type), 1, {}};
  } else {
    options.dtype = type;
  }
  convert_weights(rows_of(random_weights(config, DType::f32)), config, options);
  return WeightSource::open(path, config);
}

struct Form {
  DType stored, plain;
  std::optional<DType> matrices, norms;  // packed; nothing: an arena
};

class StoredForm : public testing::TestWithParam<Form> {};

TEST_P(StoredForm, IsPackedWhereNoNumberChanges) {
  const Scratch scratch;
  const LlamaConfig config = small_config(true);
  const ModelPart whole = whole_model(config);
  const WeightSource source = stored(scratch, config, GetParam().stored);
  const WeightForm form = form_of_stored(source, config, whole, GetParam().plain);
  EXPECT_EQ(form.plain, GetParam().plain);
  ASSERT_EQ(form.packed.empty(), !GetParam().matrices);
  if (!form.packed.empty()) {
    const ParamIndex index(config);
    EXPECT_EQ(form.packed[static_cast<size_t>(index.o_proj(0))], GetParam().matrices);
    EXPECT_EQ(form.packed[static_cast<size_t>(index.input_layernorm(1))], GetParam().norms);
  }
  ThreadPool pool(1);
  const GenerationWeights weights(source, config, whole, form, pool);
  EXPECT_EQ(weight_bytes(config, whole, form), static_cast<int64_t>(weights.size_bytes()));
}

INSTANTIATE_TEST_SUITE_P(Types, StoredForm,
                         testing::Values(Form{DType::f32, DType::f32, {}, {}},
                                         Form{DType::f32, DType::f16, {}, {}},
                                         Form{DType::f32, DType::bf16, DType::bf16, DType::bf16},
                                         Form{DType::bf16, DType::f32, DType::bf16, DType::f32},
                                         Form{DType::bf16, DType::f16, {}, {}},
                                         Form{DType::f16, DType::f32, {}, {}},
                                         Form{DType::q4_0, DType::f16, DType::q4_0, DType::f16},
                                         Form{DType::q8_0, DType::f32, DType::q8_0, DType::f32}));

TEST(PackedType, IsAWordOfBlocksOrBf16) {
  EXPECT_EQ(parse_packed_type(""), std::nullopt);
  EXPECT_EQ(parse_packed_type("keep"), std::nullopt);
  EXPECT_EQ(parse_packed_type("bf16"), DType::bf16);
  EXPECT_EQ(parse_packed_type("q5_k"), DType::q5_k);
  EXPECT_THROW(parse_packed_type("f16"), UsageError);
  EXPECT_THROW(parse_packed_type("int8"), UsageError);
}

}  // namespace
}  // namespace cria::test
