// The comparison tools against golden data of third parties, through the program, within the manifests' tolerances.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "base/sha256.h"
#include "base/temporary_folder.h"
#include "formats/json_file.h"
#include "formats/mindrecord.h"
#include "formats/safetensors.h"
#include "greedy.h"
#include "program.h"

namespace cria::e2e {
namespace {

using nlohmann::json;

std::vector<json> json_lines(const std::string& path) {
  std::vector<json> rows;
  const std::string text = test::slurp(path);
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    rows.push_back(json::parse(text.substr(at, end - at)));
    at = end + 1;
  }
  return rows;
}

std::vector<double> values_of(const TensorReader& file, const std::string& name) {
  const size_t index = file.find(name).value();
  const auto read = [&]<class T>(T) {
    std::vector<T> raw(static_cast<size_t>(file.tensors()[index].elements()));
    file.read(index, 0, std::as_writable_bytes(std::span(raw)));
    return std::vector<double>(raw.begin(), raw.end());
  };
  switch (file.tensors()[index].dtype) {
    case DType::f32:
      return read(float());
    case DType::f64:
      return read(double());
    case DType::i32:
      return read(int32_t());
    default:
      return read(int64_t());
  }
}

double largest(std::span<const double> values) {
  double top = 0;
  for (const double v : values) top = std::max(top, std::abs(v));
  return top;
}
double largest_difference(std::span<const double> a, std::span<const double> b) {
  EXPECT_EQ(a.size(), b.size());
  double top = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    top = std::max(top, std::abs(a[i] - b[i]));
  return top;
}

class Contract : public testing::Test {
 protected:
  void SetUp() override { CRIA_NEED_FIXTURES(); }
  void succeed(const std::string& words, const std::string& x = {}) {
    const Outcome got = run(words_of(words, x, CRIA_FIXTURES_DIR, folder_.path()));
    ASSERT_EQ(got.exit, 0) << words << "\n" << got.err;
    if (kSlower == 1) {  // else progress is shown of what takes seconds
      EXPECT_EQ(got.err, "");
    }
  }
  // Runs `cria tokenize` over the lines and holds `key` of each answer against what is wanted.
  void expect_tokenized(const std::string& vocabulary, const std::vector<json>& lines,
                        const std::vector<json>& wanted, const std::string& key) {
    std::string text;
    for (const json& line : lines) text += line.dump() + "\n";
    test::spew(folder_ / "in", text);
    succeed("tokenize --vocab_file {x} --input {o}/in --output {o}/out" +
                std::string(key == "text" ? " --decode" : ""),
            vocabulary);
    const std::vector<json> answers = json_lines(folder_ / "out");
    ASSERT_EQ(answers.size(), wanted.size());
    for (size_t i = 0; i < wanted.size(); ++i)
      ASSERT_TRUE(answers[i][key] == wanted[i])
          << "line " << i << " " << lines[i].dump().substr(0, 300);
  }
  // Ids and labels of a fixture (which keeps them narrow) as the tool takes them.
  void write_input(const TensorReader& from, const std::string& prefix) {
    const TensorInfo& ids = from.tensors()[from.find(prefix + "input_ids").value()];
    const auto writer = make_safetensors_writer(
        folder_ / "in", {{"input_ids", DType::i64, ids.shape}, {"labels", DType::i64, ids.shape}});
    for (const char* name : {"input_ids", "labels"}) {
      const std::vector<double> wide = values_of(from, prefix + name);
      const std::vector<int64_t> narrow(wide.begin(), wide.end());
      writer->write(std::as_bytes(std::span(narrow)));
    }
    writer->commit();
  }
  const TemporaryFolder folder_ = TemporaryFolder::in_memory();
};

TEST_F(Contract, TokenizeGivesTiktokensIdsInEveryMode) {
  for (const std::string name : {"tokenizer", "tiny-2048", "tiny-512"}) {
    const std::string vectors = name == "tokenizer" ? "vectors.jsonl" : name + ".vectors.jsonl";
    std::vector<json> lines, wanted;
    for (const json& row : json_lines(test::fixture("tokenizer/" + vectors))) {
      const json special = row.value("ids_special", row["ids"]);
      lines.push_back({{"text", row["text"]}, {"allow_special", false}});
      wanted.push_back(row["ids"]);
      lines.push_back({{"text", row["text"]}, {"allow_special", true}});
      wanted.push_back(special);
      lines.push_back({{"text", row["text"]}, {"allow_special", true}, {"compat", "mindformers"}});
      wanted.push_back(row.value("ids_nfc", special));
      // bos and eos stand around, whatever the text is.
      const int64_t base = name == "tokenizer" ? 128000 : name == "tiny-2048" ? 1792 : 256;
      json both = row["ids"];
      both.insert(both.begin(), base);
      both.push_back(base + 1);
      lines.push_back({{"text", row["text"]}, {"bos", true}, {"eos", true}});
      wanted.push_back(both);
    }
    expect_tokenized(test::fixture("tokenizer/" + name + ".model"), lines, wanted, "ids");
  }
}

TEST_F(Contract, TokenizeDecodesAsPythonReplaces) {
  std::vector<json> lines, wanted;
  for (const json& row : json_lines(test::fixture("tokenizer/decode.jsonl"))) {
    lines.push_back({{"ids", row["ids"]}});
    wanted.push_back(row["text"]);
    lines.push_back({{"ids", row["ids"]}, {"skip_special", true}});
    wanted.push_back(row.value("text_skip_special", row["text"]));
  }
  expect_tokenized(test::fixture("tokenizer/tokenizer.model"), lines, wanted, "text");
}

TEST_F(Contract, ProbeIsWithinToleranceForEveryFormCaseAndComputeType) {
  const std::tuple<const char*, const char*, const char*> forms[] = {
      {"tiny-llama3", "fp32", "hf-fp32"},
      {"tiny-llama3", "fp32", "hf-fp32-sharded"},
      {"tiny-llama3", "fp32", "hf-fp32-bin"},
      {"tiny-llama3", "fp32", "meta-fp32"},
      {"tiny-llama3", "bf16", "hf-bf16"},
      {"tiny-llama3", "bf16", "hf-bf16-sharded"},
      {"tiny-llama3", "bf16", "meta-bf16"},
      {"tiny-llama3", "fp32", "mindformers-fp32/converted.ckpt"},
      {"tiny-llama3", "bf16", "mindformers-bf16/converted.ckpt"},
      {"small-llama3", "fp32", "hf-fp32"},
      {"small-llama3", "bf16", "hf-bf16"}};
  for (const auto& [model, weights, form] : forms) {
    const std::string folder = test::fixture(std::string("models/") + model);
    const json manifest = test::load_json(folder + "/manifest.json");
    const auto reference = open_safetensors(fmt::format("{}/ref-{}.safetensors", folder, weights));
    for (const std::string which : {"a", "b"}) {
      write_input(*reference, which + ".");
      const std::vector<double> mask = values_of(*reference, which + ".attention_mask");
      for (const std::string dtype : {"fp32", "bf16"}) {
        SCOPED_TRACE(fmt::format("{} {} {} {}", model, form, which, dtype));
        const json tolerance =
            manifest[std::string("ref-") + weights][which][fmt::format("tolerance_{}_impl", dtype)];
        std::string words = "probe --model {x} --input {o}/in --output {o}/out --dtype " + dtype;
        if (dtype == "fp32") words += " --grads";
        if (std::string(form).ends_with(".ckpt"))
          words += fmt::format(" --config {}/hf-{}/config.json", folder, weights);
        succeed(words, folder + "/" + form);
        const auto out = open_safetensors(folder_ / "out");
        for (const TensorInfo& t : out->tensors()) EXPECT_EQ(t.dtype, DType::f32) << t.name;
        // Logits count where the mask is 1.
        auto logits = values_of(*out, "logits"), wanted = values_of(*reference, which + ".logits");
        const size_t vocabulary = logits.size() / mask.size();
        for (size_t i = 0; i < logits.size(); ++i)
          if (mask[i / vocabulary] == 0) logits[i] = wanted[i] = 0;
        EXPECT_LE(largest_difference(logits, wanted), tolerance["logits_max_abs"].get<double>());
        EXPECT_LE(
            largest_difference(values_of(*out, "loss"), values_of(*reference, which + ".loss")),
            tolerance["loss_abs"].get<double>());
        if (dtype == "bf16") continue;
        EXPECT_LE(largest_difference(values_of(*out, "token_loss"),
                                     values_of(*reference, which + ".token_loss")),
                  tolerance["token_loss_max_abs"].get<double>());
        int compared = 0;
        for (const TensorInfo& t : out->tensors()) {
          if (!t.name.starts_with("grad.") || !reference->find(which + "." + t.name)) continue;
          const auto want = values_of(*reference, which + "." + t.name);
          EXPECT_LE(largest_difference(values_of(*out, t.name), want),
                    largest(want) * tolerance["grad_max_abs_over_tensor_max"].get<double>())
              << t.name;
          ++compared;
        }
        EXPECT_GE(compared, 5);
      }
    }
  }
}

TEST_F(Contract, ProbeTrainsAsTorchAndMindFormersInEveryMode) {
  const std::pair<const char*, const char*> modes[] = {
      {"no_decay_1d", "--optimizer AdamW --decay_1d false --max_grad_norm 1"},
      {"decay_all", "--optimizer AdamW --decay_1d true --max_grad_norm 1"},
      {"no_clip", "--optimizer AdamW --decay_1d false --max_grad_norm 0"},
      {"no_bias_correction",
       "--optimizer FP32StateAdamWeightDecay --decay_1d false --max_grad_norm 1"}};
  for (const std::string model : {"tiny-llama3", "small-llama3"}) {
    const std::string folder = test::fixture("models/" + model);
    const json train = test::load_json(folder + "/manifest.json")["train"];
    const json& setup = train["setup"];
    const auto golden = open_safetensors(folder + "/train.safetensors");
    write_input(*golden, "");
    for (const auto& [mode, flags] : modes) {
      SCOPED_TRACE(model + " " + mode);
      succeed(
          fmt::format("probe --model {{x}} --input {{o}}/in --output {{o}}/out --train "
                      "--schedule CosineWithWarmUpLR --lr {} --lr_end 0 --warmup_steps {} "
                      "--total_steps {} --beta1 0.9 --beta2 0.95 --eps 1e-8 --weight_decay {} {}",
                      setup["lr"].dump(), setup["warmup"].dump(), setup["steps"].dump(),
                      setup["wd"].dump(), flags),
          folder + "/hf-fp32");
      const auto out = open_safetensors(folder_ / "out");
      const json& tolerance = train[mode]["tolerance_fp32_impl"];
      const auto want = [&](const std::string& name) {
        return values_of(*golden, std::string(mode) + "." + name);
      };
      EXPECT_LE(largest_difference(values_of(*out, "loss"), want("loss")),
                tolerance["loss_abs"].get<double>());
      EXPECT_LE(largest_difference(values_of(*out, "lr"), want("lr")), 1e-9);
      const auto norm = values_of(*out, "grad_norm"), norms = want("grad_norm");
      for (size_t i = 0; i < norms.size(); ++i)
        EXPECT_NEAR(norm[i], norms[i], norms[i] * tolerance["grad_norm_rel"].get<double>()) << i;
      int compared = 0;
      for (const TensorInfo& t : out->tensors()) {
        if (!t.name.starts_with("final.") || !golden->find(std::string(mode) + "." + t.name))
          continue;
        EXPECT_LE(largest_difference(values_of(*out, t.name), want(t.name)),
                  tolerance["final_weight_max_abs"].get<double>())
            << t.name;
        ++compared;
      }
      EXPECT_GE(compared, 5);
    }
  }
}

TEST_F(Contract, PreprocessWritesTheScriptsVeryRecords) {
  for (const std::string name : {"alpaca_small", "alpaca_edge", "dialog", "wiki_small"}) {
    const bool wiki = name == "wiki_small";
    const json manifest = test::load_json(test::fixture("data/" + name + ".manifest.json"));
    for (const std::string length : {"512", "2048"}) {
      SCOPED_TRACE(name + " " + length);
      const json& want = manifest["runs"][length];
      const std::string output = folder_ / (name + length + ".mindrecord");
      succeed(fmt::format(
          "preprocess --dataset_type {} --input_glob {{i}}/data/{}{} --model_file "
          "{{i}}/tokenizer/tokenizer.model --seq_length {} --compat mindformers "
          "--output_file {}",
          wiki ? "wiki" : "qa", name, wiki ? ".txt" : ".conversation.json", length, output));
      EXPECT_TRUE(is_file(output + ".db"));
      const MindRecordReader reader(output);
      EXPECT_EQ(reader.rows(), want["records"].get<int64_t>());
      ASSERT_EQ(reader.schema().columns.size(), wiki ? 1U : 2U);
      for (size_t c = 0; c < reader.schema().columns.size(); ++c) {
        Sha256 sum;
        std::vector<int32_t> values;
        for (int64_t row = 0; row < reader.rows(); ++row) {
          reader.read_int32(row, c, values);
          sum.add(std::as_bytes(std::span(values)));
        }
        EXPECT_EQ(sum.hex(), want["sha256_" + reader.schema().columns[c].name + "_padded"]);
      }
    }
  }
}

// Every batch of the fixtures, its rows alone.
TEST_F(Contract, ARowOfABatchEqualsTheRowAlone) {
  const std::string folder = test::fixture("models/tiny-llama3");
  int rows = 0;
  const json golden = test::load_json(folder + "/generate.json");
  for (const json& c : golden["cases"]) {
    if (c["prompt_ids"].size() < 2) continue;
    for (size_t row = 0; row < c["prompt_ids"].size(); ++row, ++rows) {
      const Outcome got = run(greedy_words(folder, c, json::array({c["prompt_ids"][row]})));
      ASSERT_EQ(got.exit, 0) << got.err;
      EXPECT_EQ(json::parse(got.out)["output_ids"][0], c["output_ids"][row]) << c["name"] << row;
    }
  }
  EXPECT_GE(rows, 4);
}

}  // namespace
}  // namespace cria::e2e
