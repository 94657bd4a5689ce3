// The road on a tiny model, and the comparison tools' contract, through the program itself.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "base/temporary_folder.h"
#include "formats/json_file.h"
#include "formats/mindrecord.h"
#include "formats/safetensors.h"
#include "greedy.h"
#include "program.h"
#include "valid_files.h"

namespace cria::e2e {
namespace {

using nlohmann::json;

Outcome succeed(const std::string& words, const TemporaryFolder& output,
                const std::string& x = {}) {
  Outcome got = run(words_of(words, x, valid_files(), output.path()));
  EXPECT_EQ(got.exit, 0) << words << "\n" << got.err;
  return got;
}

std::vector<float> floats(const TensorReader& file, const std::string& name) {
  const size_t index = file.find(name).value();
  EXPECT_EQ(file.tensors()[index].dtype, DType::f32) << name;
  std::vector<float> out(static_cast<size_t>(file.tensors()[index].elements()));
  file.read(index, 0, std::as_writable_bytes(std::span(out)));
  return out;
}

TEST(GoodPath, AlpacaConvertWritesTheRecipesBytes) {
  const TemporaryFolder out = TemporaryFolder::in_memory();
  const std::string golden = std::string(CRIA_SOURCE_DIR) + "/tests/golden/data/alpaca_edge";
  succeed("alpaca-convert --data_path {x} --output_path {o}/y.json", out, golden + ".json");
  EXPECT_EQ(test::slurp(out / "y.json"), test::slurp(golden + ".conversation.json"));
}

TEST(GoodPath, PreprocessedRowsAreShownWithTheirTrainedTokensMarked) {
  const TemporaryFolder out = TemporaryFolder::in_memory();
  succeed(
      "preprocess --dataset_type qa --input_glob {i}/conversations.json --model_file {i}/tok.model "
      "--seq_length 1024 --output_file {o}/y.mindrecord",
      out);
  EXPECT_EQ(MindRecordReader(out / "y.mindrecord").rows(), 2);
  const std::string row = "inspect {o}/y.mindrecord --row 0 --vocab_file {i}/tok.model --color ";
  EXPECT_THAT(succeed(row + "never", out).out, testing::HasSubstr("[H][i][.][<|end_of_text|>]"));
  EXPECT_THAT(succeed(row + "always", out).out, testing::HasSubstr("\x1b[1;32mH\x1b[0m"));
}

TEST(GoodPath, WeightsSurviveEveryFormat) {
  const TemporaryFolder out = TemporaryFolder::in_memory();
  succeed("convert --random tiny --dtype fp32 --output {o}/a", out);
  succeed("convert --input {o}/a --output {o}/b.ckpt", out);
  succeed("convert --input {o}/b.ckpt --config {o}/a/config.json --output {o}/c.gguf", out);
  succeed("convert --input {o}/c.gguf --output {o}/d", out);
  const auto a = open_safetensors(out / "a/model.safetensors");
  const auto d = open_safetensors(out / "d/model.safetensors");
  ASSERT_EQ(a->tensors().size(), d->tensors().size());
  for (const TensorInfo& t : a->tensors())
    EXPECT_EQ(floats(*a, t.name), floats(*d, t.name)) << t.name;
}

TEST(GoodPath, QuantizeWritesBlocksThatGenerateReadsAndTellsWhatTheyCost) {
  const TemporaryFolder out = TemporaryFolder::in_memory();
  // tiny/ has rows of 64 and 192: no blocks of 256.
  const Outcome got = succeed("quantize --model {i}/tiny --type q4_k --output {o}/y.gguf", out);
  EXPECT_THAT(got.out, testing::MatchesRegex(".*y.gguf: 0.7 MB to 0.[0-9] MB, [67].[0-9]+ bits a "
                                             "weight, relative error [0-9.]+ % \\(largest [0-9.]+ "
                                             "%: blk[a-z0-9_.]+\\)\n"));
  EXPECT_THAT(got.err, testing::HasSubstr("warning: quantize: blocks of 256 Q4_K do not divide "
                                          "rows of 64; 12 tensors become Q5_0\n"));
  const std::string tensors = succeed("inspect {o}/y.gguf", out).out;
  EXPECT_THAT(tensors, testing::HasSubstr("Q5_0   [64, 64]                 blk.0.attn_q.weight"));
  EXPECT_THAT(tensors, testing::HasSubstr("Q8_0   [512, 64]                output.weight"));
  EXPECT_THAT(tensors, testing::HasSubstr("F32    [64]                     output_norm.weight"));
  succeed("generate --model {o}/y.gguf --token_ids 1,2 --max_new_tokens 2", out);
  succeed("verify {o}/y.gguf", out);
  const std::string before = test::slurp(out / "y.gguf");
  const std::string again = "quantize --model {i}/tiny --type q4_k --output {o}/y.gguf";
  EXPECT_EQ(run(words_of(again, "", valid_files(), out.path())).exit, 2);
  EXPECT_TRUE(test::slurp(out / "y.gguf") == before);
  succeed(again + " --overwrite --embedding bf16 --head q6_k --threads 1", out);
  EXPECT_THAT(succeed("inspect {o}/y.gguf", out).out,
              testing::HasSubstr("BF16   [512, 64]                token_embd.weight"));
}

TEST(GoodPath, ProbeWritesTheContractsTensors) {
  const TemporaryFolder out = TemporaryFolder::in_memory();
  succeed("probe --model {i}/tiny --input {i}/probe.safetensors --output {o}/y --grads", out);
  const auto y = open_safetensors(out / "y");
  const auto weights = open_safetensors(valid_files() + "/tiny.safetensors");
  const auto shape = [&](const std::string& name) {
    return y->tensors()[y->find(name).value()].shape;
  };
  EXPECT_EQ(shape("logits"), (std::vector<int64_t>{2, 3, 512}));
  EXPECT_EQ(shape("token_loss"), (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(floats(*y, "loss").size(), 1U);
  EXPECT_EQ(y->tensors().size(), weights->tensors().size() + 3);
  for (const TensorInfo& t : weights->tensors()) EXPECT_EQ(shape("grad." + t.name), t.shape);
}

TEST(GoodPath, GenerateGivesOneJsonLineAndRowsDoNotSeeEachOther) {
  const TemporaryFolder out = TemporaryFolder::in_memory();
  const std::string generate =
      "generate --model {i}/tiny --dtype fp32 --eos_ids none --max_new_tokens 8 --json";
  const Outcome both = succeed(generate + " --token_ids 1,2,3 --token_ids 7", out);
  const json rows = json::parse(both.out)["output_ids"];
  EXPECT_EQ(std::count(both.out.begin(), both.out.end(), '\n'), 1);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].size(), 8U);
  EXPECT_EQ(json::parse(succeed(generate + " --token_ids 1,2,3", out).out)["output_ids"][0],
            rows[0]);
  EXPECT_EQ(json::parse(succeed(generate + " --token_ids 7", out).out)["output_ids"][0], rows[1]);
}

TEST(GoodPath, TokenizeGoesThereAndBack) {
  const TemporaryFolder out = TemporaryFolder::in_memory();
  succeed("tokenize --vocab_file {i}/tok.model --input {i}/texts.jsonl --output {o}/ids", out);
  EXPECT_EQ(test::slurp(out / "ids"), "{\"ids\": [104, 105]}\n{\"ids\": [256, 121, 111, 117]}\n");
  succeed("tokenize --vocab_file {i}/tok.model --input {o}/ids --output {o}/texts --decode", out);
  EXPECT_EQ(
      json::parse(
          test::slurp(out / "texts").substr(0, test::slurp(out / "texts").find('\n')))["text"],
      "hi");
}

class Golden : public testing::Test {
 protected:
  void SetUp() override { CRIA_NEED_FIXTURES(); }
};

TEST_F(Golden, GreedyTokensAreExact) {
  const TemporaryFolder out = TemporaryFolder::in_memory();
  for (const std::string model : {"tiny-llama3", "small-llama3"}) {
    const std::string folder = test::fixture("models/" + model);
    const json golden = test::load_json(folder + "/generate.json");
    EXPECT_GE(golden["cases"].size(), 9U);
    for (const json& c : golden["cases"]) {
      const Outcome got = run(greedy_words(folder, c, c["prompt_ids"]));
      ASSERT_EQ(got.exit, 0) << got.err;
      EXPECT_EQ(json::parse(got.out)["output_ids"], c["output_ids"]) << model << " " << c["name"];
    }
  }
}

double largest_difference(std::span<const float> a, std::span<const double> b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

std::vector<double> doubles(const TensorReader& file, const std::string& name) {
  const size_t index = file.find(name).value();
  if (file.tensors()[index].dtype == DType::f32) {
    const auto narrow = floats(file, name);
    return {narrow.begin(), narrow.end()};
  }
  std::vector<double> wide(static_cast<size_t>(file.tensors()[index].elements()));
  EXPECT_EQ(file.tensors()[index].dtype, DType::f64) << name;
  file.read(index, 0, std::as_writable_bytes(std::span(wide)));
  return wide;
}

TEST_F(Golden, ProbeIsWithinTheManifestsTolerances) {
  const TemporaryFolder out = TemporaryFolder::in_memory();
  const std::string folder = test::fixture("models/tiny-llama3");
  const json manifest = test::load_json(folder + "/manifest.json");
  const auto reference = open_safetensors(folder + "/ref-fp32.safetensors");
  for (const std::string model : {"hf-fp32", "hf-fp32-sharded", "hf-fp32-bin", "meta-fp32"}) {
    // The fixture keeps ids as I32, the tool takes I64.
    const auto copy = [&](const std::string& name) {
      const size_t index = reference->find(name).value();
      std::vector<int32_t> narrow(static_cast<size_t>(reference->tensors()[index].elements()));
      reference->read(index, 0, std::as_writable_bytes(std::span(narrow)));
      return std::vector<int64_t>(narrow.begin(), narrow.end());
    };
    const TensorInfo ids = reference->tensors()[reference->find("a.input_ids").value()];
    const auto writer = make_safetensors_writer(
        out / "x", {{"input_ids", DType::i64, ids.shape}, {"labels", DType::i64, ids.shape}});
    const std::vector<int64_t> input = copy("a.input_ids"), labels = copy("a.labels");
    writer->write(std::as_bytes(std::span(input)));
    writer->write(std::as_bytes(std::span(labels)));
    writer->commit();
    succeed("probe --model {x} --input {o}/x --output {o}/y --grads", out, folder + "/" + model);
    const auto y = open_safetensors(out / "y");
    const json tolerance = manifest["ref-fp32"]["a"]["tolerance_fp32_impl"];
    for (const std::string name : {"logits", "token_loss", "loss"}) {
      EXPECT_LE(largest_difference(floats(*y, name), doubles(*reference, "a." + name)),
                tolerance[name == "loss" ? "loss_abs" : name + "_max_abs"].get<double>())
          << model << " " << name;
    }
    for (const TensorInfo& t : y->tensors()) {
      if (!t.name.starts_with("grad.")) continue;
      const auto want = doubles(*reference, "a." + t.name);
      double top = 0;
      for (const double w : want) top = std::max(top, std::abs(w));
      EXPECT_LE(largest_difference(floats(*y, t.name), want),
                top * tolerance["grad_max_abs_over_tensor_max"].get<double>())
          << model << " " << t.name;
    }
  }
}

TEST_F(Golden, ConvertWeightWritesTheRecipesBytes) {
  const TemporaryFolder out = TemporaryFolder::in_memory();
  const std::string folder = test::fixture("models/tiny-llama3");
  succeed("convert-weight --input_path {x}/hf-bf16 --output_path {o}/y.ckpt --dtype bf16", out,
          folder);
  EXPECT_TRUE(test::slurp(out / "y.ckpt") ==
              test::slurp(folder + "/mindformers-bf16/converted.ckpt"));
}

}  // namespace
}  // namespace cria::e2e
