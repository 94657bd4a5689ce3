#include "checkpoint/weight_source.h"

#include "formats/safetensors.h"
#include "formats/torch_file.h"
#include "weights_testing.h"

namespace cria::test {
namespace {

// Writes a safetensors file of these tensors, every element 0.
void write_zeros(const std::string& path, const std::vector<TensorInfo>& infos) {
  const auto writer = make_safetensors_writer(path, infos);
  for (const TensorInfo& t : infos)
    writer->write(std::vector<std::byte>(static_cast<size_t>(t.size_bytes())));
  writer->commit();
}

std::vector<TensorInfo> table(const LlamaConfig& config) {
  std::vector<TensorInfo> infos;
  for (const Param& p : llama_params(config)) infos.push_back({p.name, DType::f32, p.shape});
  return infos;
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(WeightSource, NamesWhatIsMissingAndWhatIsTooMuch) {
  const Scratch scratch;
  const LlamaConfig config = small_config(false);
  auto infos = table(config);
  infos.erase(infos.begin() + 3);
  infos.push_back({"model.layers.2.mlp.up_proj.weight", DType::f32, {96, 64}});
  write_zeros(scratch.path("w.safetensors"), infos);
  EXPECT_THAT(
      message_of([&] { load_all(scratch.path("w.safetensors"), config, DType::f32); }),
      testing::AllOf(testing::HasSubstr("missing model.layers.0.self_attn.v_proj.weight"),
                     testing::HasSubstr("not in this model model.layers.2.mlp.up_proj.weight")));
}

TEST(WeightSource, NamesAWrongShapeWithBothShapes) {
  const Scratch scratch;
  const LlamaConfig config = small_config(false);
  auto infos = table(config);
  infos[0].shape = {161, 64};
  write_zeros(scratch.path("w.safetensors"), infos);
  EXPECT_THAT(message_of([&] { load_all(scratch.path("w.safetensors"), config, DType::f32); }),
              testing::AllOf(testing::HasSubstr("[161, 64]"), testing::HasSubstr("[160, 64]")));
}

TEST(WeightSource, RefusesIntegersAsWeights) {
  const Scratch scratch;
  auto infos = table(small_config(false));
  infos[1].dtype = DType::i32;
  write_zeros(scratch.path("w.safetensors"), infos);
  EXPECT_THROW(WeightSource::open(scratch.path("w.safetensors")), FormatError);
}

TEST(WeightSource, RefusesAFileWithoutAnyLlamaName) {
  const Scratch scratch;
  write_zeros(scratch.path("w.safetensors"), {{"conv.weight", DType::f32, {3, 3}}});
  EXPECT_THROW(WeightSource::open(scratch.path("w.safetensors")), MismatchError);
}

TEST(WeightSource, SaysWhatItLooksForInAnEmptyFolder) {
  const Scratch scratch;
  EXPECT_THAT(message_of([&] { WeightSource::open(scratch.path("")); }),
              testing::HasSubstr("expected model.safetensors"));
  EXPECT_THROW(WeightSource::open(scratch.path("absent")), IoError);
}

TEST(WeightSource, WithoutAConfigSaysHowToGiveOne) {
  const Scratch scratch;
  write_zeros(scratch.path("w.safetensors"), table(small_config(false)));
  EXPECT_THAT(message_of([&] { (void)WeightSource::open(scratch.path("w.safetensors")).config(); }),
              testing::HasSubstr("--config"));
}

TEST(WeightSource, TiedConfigWithAnotherHeadIsRefused) {
  const Scratch scratch;
  const LlamaConfig untied = small_config(false);
  convert_weights(rows_of(random_weights(untied, DType::f32)), untied,
                  {.output = scratch.path("hf")});
  EXPECT_THROW(load_all(scratch.path("hf/model.safetensors"), small_config(true), DType::f32),
               MismatchError);
}

// Meta's files are cut over several devices: heads by rows, o_proj and down_proj by columns, norms are copies.
TEST(WeightSource, JoinsMetaShardsAndTurnsTheirRowsRound) {
  const Scratch scratch;
  const LlamaConfig config = small_config(false);
  const ParamArena weights = random_weights(config, DType::f32);
  constexpr int64_t shards = 2;
  for (int64_t s = 0; s < shards; ++s) {
    std::vector<TensorInfo> infos;
    std::vector<std::vector<float>> contents;
    for (size_t i = 0; i < weights.params().size(); ++i) {
      const Param& p = weights.params()[i];
      const bool columns =
          p.name.ends_with("o_proj.weight") || p.name.ends_with("down_proj.weight");
      const int64_t rows = p.is_norm() || columns ? p.rows() : p.rows() / shards;
      const int64_t cols = columns ? p.cols() / shards : p.cols();
      std::vector<float> values;
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t paired = (p.is_norm() || columns ? 0 : s * rows) + r;
        const int64_t row = is_rotated(p.name) ? half_row(paired, config.head_dim) : paired;
        const auto all = weights[static_cast<int64_t>(i)].row<float>(row);
        values.insert(values.end(), all.begin() + (columns ? s * cols : 0),
                      all.begin() + (columns ? s * cols : 0) + cols);
      }
      infos.push_back({to_dialect(Dialect::meta, p.name), DType::f32,
                       p.is_norm() ? std::vector{cols} : std::vector{rows, cols}});
      contents.push_back(values);
    }
    const auto writer =
        make_torch_writer(scratch.path("consolidated.0" + std::to_string(s) + ".pth"), infos);
    for (const auto& c : contents) writer->write(std::as_bytes(std::span(c)));
    writer->commit();
  }
  spew(
      scratch.path("params.json"),
      R"({"dim": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "vocab_size": -1, "multiple_of": 32,
        "ffn_dim_multiplier": 0.5625, "norm_eps": 1e-05, "rope_theta": 500000.0})");
  const WeightSource source = WeightSource::open(scratch.path(""));
  EXPECT_EQ(source.config().vocab_size, 160);
  EXPECT_EQ(source.config().intermediate_size, 96);
  expect_equal(load_all(scratch.path(""), config, DType::f32), weights);
}

}  // namespace
}  // namespace cria::test
