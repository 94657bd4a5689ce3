#include "valid_files.h"

#include <filesystem>

#include "base/temporary_folder.h"
#include "checkpoint/convert.h"
#include "data/alpaca.h"
#include "data/preprocess.h"
#include "formats/files.h"
#include "formats/safetensors.h"

namespace cria::e2e {
namespace {

std::string base64_of_byte(int byte) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  return {digits[static_cast<size_t>(byte >> 2)], digits[static_cast<size_t>(byte & 3) << 4], '=',
          '='};
}

void make_weights(const std::string& folder) {
  const LlamaConfig config = named_config("tiny");
  const std::pair<WeightFormat, const char*> outputs[] = {{WeightFormat::hugging_face, "tiny"},
                                                          {WeightFormat::mindspore, "tiny.ckpt"},
                                                          {WeightFormat::gguf, "tiny.gguf"},
                                                          {WeightFormat::torch, "tiny.bin"}};
  for (const auto& [format, name] : outputs) {
    ConvertOptions options;
    options.format = format;
    options.output = folder + "/" + name;
    convert_weights(random_rows(config, DType::f32, 1), config, options);
  }
  namespace fs = std::filesystem;
  fs::copy_file(folder + "/tiny/model.safetensors", folder + "/tiny.safetensors");
  fs::copy_file(folder + "/tiny/config.json", folder + "/config.json");
  fs::copy_file(folder + "/tiny.bin", folder + "/tiny.pth");
  fs::copy_file(CRIA_SOURCE_DIR "/tests/golden/compressed/int4_g128/model.safetensors",
                folder + "/int4.safetensors");
  SafetensorsIndex index;
  const auto single = open_safetensors(folder + "/tiny.safetensors");
  for (const TensorInfo& t : single->tensors())
    index.weight_map.emplace_back(t.name, "tiny.safetensors");
  test::spew(folder + "/tiny.safetensors.index.json", safetensors_index_json(index, 656640));
}

void make_data(const std::string& folder) {
  std::string ranks;
  for (int byte = 0; byte < 256; ++byte)
    ranks += fmt::format("{} {}\n", base64_of_byte(byte), byte);
  test::spew(folder + "/tok.model", ranks);
  test::spew(folder + "/tok.json", test::slurp(std::string(CRIA_SOURCE_DIR) +
                                               "/tests/golden/tokenizer/llama3.tokenizer.json"));
  test::spew(folder + "/alpaca.json",
             R"([{"instruction": "Say hi.", "input": "", "output": "Hi."},
                 {"instruction": "Add.", "input": "1 2", "output": "3"}])");
  convert_alpaca(folder + "/alpaca.json", folder + "/conversations.json");
  test::spew(folder + "/texts.jsonl", "{\"text\": \"hi\"}\n{\"text\": \"you\", \"bos\": true}\n");
  PreprocessOptions options;
  options.dataset_type = DatasetType::qa;
  options.input = folder + "/conversations.json";
  options.output = folder + "/rows.mindrecord";
  options.vocab_file = folder + "/tok.model";
  options.seq_length = 512;
  preprocess(options);
  const std::vector<int64_t> ids = {1, 2, 3, 4, 5, 6};
  const auto writer =
      make_safetensors_writer(folder + "/probe.safetensors",
                              {{"input_ids", DType::i64, {2, 3}}, {"labels", DType::i64, {2, 3}}});
  writer->write(std::as_bytes(std::span(ids)));
  writer->write(std::as_bytes(std::span(ids)));
  writer->commit();
}

// The shape and the ids of tiny/ and rows.mindrecord.
constexpr const char* kRun = R"(
runner_config: {epochs: 1, batch_size: 1, sink_mode: False}
lr_schedule: {type: CosineWithWarmUpLR, learning_rate: 1.e-3, warmup_steps: 1}
train_dataset:
  data_loader: {type: MindDataset, dataset_dir: "", shuffle: True}
  input_columns: ["input_ids", "labels"]
eval_dataset:
  data_loader: {type: MindDataset, dataset_dir: "", shuffle: False}
  input_columns: ["input_ids", "labels"]
use_parallel: False
callbacks: [{type: CheckpointMonitor, prefix: tiny, save_checkpoint_steps: 1}]
model:
  model_config: {seq_length: 512, hidden_size: 64, intermediate_size: 192, num_layers: 2, num_heads: 4,
    n_kv_heads: 2, vocab_size: 512, bos_token_id: 256, eos_token_id: 257, pad_token_id: 258,
    theta: 500000.0, compute_dtype: float32, param_init_type: float32, do_sample: False}
processor: {tokenizer: {type: Llama3Tokenizer, vocab_file: ""}}
)";

}  // namespace

const std::string& valid_files() {
  static const TemporaryFolder folder = TemporaryFolder::in_memory();
  static const std::string path = [] {
    make_weights(folder.path());
    make_data(folder.path());
    test::spew(folder / "run.yaml", kRun);
    std::filesystem::create_directory(folder / "empty_folder");
    return folder.path();
  }();
  return path;
}

}  // namespace cria::e2e
