// Every command that reads a file, against every way a file can be no file or broken.
#include <sys/stat.h>

#include "formats/files.h"
#include "refused.h"

namespace cria::e2e {
namespace {

struct Reader {
  const char* name;
  const char* good;   // the valid file that is spoilt; its ending stays
  const char* words;  // {x} is the spoilt file
  int folder_exit = 4;
};
void PrintTo(const Reader& r, std::ostream* out) { *out << r.words; }

const std::vector<Reader> kReaders = {
    {"inspect_safetensors", "tiny.safetensors", "inspect {x}", 2},
    {"inspect_index", "tiny.safetensors.index.json", "inspect {x}", 2},
    {"inspect_gguf", "tiny.gguf", "inspect {x}", 2},
    {"inspect_ckpt", "tiny.ckpt", "inspect {x}", 2},
    {"inspect_bin", "tiny.bin", "inspect {x}", 2},
    {"inspect_pth", "tiny.pth", "inspect {x}", 2},
    {"inspect_mindrecord", "rows.mindrecord", "inspect {x}", 2},
    {"inspect_row", "rows.mindrecord", "inspect {x} --row 0 --vocab_file {i}/tok.model", 2},
    {"inspect_row_vocab", "tok.model", "inspect {i}/rows.mindrecord --row 0 --vocab_file {x}"},
    {"convert_safetensors", "tiny.safetensors", "convert --input {x} --output {o}/y.ckpt", 2},
    {"convert_gguf", "tiny.gguf", "convert --input {x} --output {o}/y", 2},
    {"convert_ckpt", "tiny.ckpt", "convert --input {x} --output {o}/y.bin", 2},
    {"convert_bin", "tiny.bin", "convert --input {x} --output {o}/y.ckpt", 2},
    {"convert_config", "config.json", "convert --input {i}/tiny.ckpt --output {o}/y --config {x}"},
    {"quantize_safetensors", "tiny.safetensors",
     "quantize --model {x} --config {i}/config.json --type q4_0 --output {o}/y", 2},
    {"quantize_gguf", "tiny.gguf", "quantize --model {x} --type q4_k --output {o}/y", 2},
    {"quantize_config", "config.json",
     "quantize --model {i}/tiny.ckpt --type q8_0 --output {o}/y --config {x}"},
    {"convert_weight", "tiny.safetensors", "convert-weight --input_path {x} --output_path {o}/y",
     2},
    {"convert_weight_back", "tiny.ckpt",
     "convert-weight --reversed --input_path {x} --output_path {o}/y.bin", 2},
    {"generate_gguf", "tiny.gguf", "generate --model {x} --token_ids 1 --json", 2},
    {"generate_ckpt", "tiny.ckpt", "generate --model {x} --config {i}/config.json --token_ids 1",
     2},
    {"generate_config", "config.json", "generate --model {i}/tiny.ckpt --config {x} --token_ids 1"},
    {"generate_vocab", "tok.json", "generate --model {i}/tiny --vocab_file {x} --prompt a"},
    {"probe_model", "tiny.bin",
     "probe --model {x} --config {i}/config.json --input {i}/probe.safetensors --output {o}/y", 2},
    {"probe_input", "probe.safetensors", "probe --model {i}/tiny --input {x} --output {o}/y"},
    {"tokenize_model", "tok.model",
     "tokenize --vocab_file {x} --input {i}/texts.jsonl --output {o}/y"},
    {"tokenize_json", "tok.json",
     "tokenize --vocab_file {x} --input {i}/texts.jsonl --output {o}/y"},
    {"alpaca", "alpaca.json", "alpaca-convert --data_path {x} --output_path {o}/y"},
    {"preprocess_input", "conversations.json",
     "preprocess --dataset_type qa --input_glob {x} --model_file {i}/tok.model --output_file "
     "{o}/y.mindrecord"},
    {"preprocess_vocab", "tok.model",
     "preprocess --dataset_type qa --input_glob {i}/conversations.json --model_file {x} "
     "--output_file {o}/y.mindrecord"},
};

enum class Damage { missing, folder, fifo, empty, half, garbage };
const std::vector<std::pair<Damage, const char*>> kDamages = {
    {Damage::missing, "missing"}, {Damage::folder, "folder"}, {Damage::fifo, "fifo"},
    {Damage::empty, "empty"},     {Damage::half, "half"},     {Damage::garbage, "garbage"}};

class BadFile : public testing::TestWithParam<std::tuple<Reader, std::pair<Damage, const char*>>> {
};

TEST_P(BadFile, IsOneLineAndNoOutput) {
  const auto& [reader, damage] = GetParam();
  const TemporaryFolder folder = TemporaryFolder::in_memory();
  const std::string path = folder / reader.good;
  const std::string good = test::slurp(valid_files() + "/" + reader.good);
  int exit = 3;
  switch (damage.first) {
    case Damage::missing:
      exit = 4;
      break;
    case Damage::folder:
      std::filesystem::create_directory(path);
      exit = reader.folder_exit;
      break;
    case Damage::fifo:
      ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
      exit = 4;
      break;
    case Damage::empty:
      test::spew(path, "");
      break;
    case Damage::half:
      test::spew(path, good.substr(0, good.size() / 2));
      break;
    case Damage::garbage:
      test::spew(path, "\x7f\x01garbage " + std::string(4096, '\xee'));
      break;
  }
  expect_refused(reader.words, exit, path);
}

INSTANTIATE_TEST_SUITE_P(Commands, BadFile,
                         testing::Combine(testing::ValuesIn(kReaders), testing::ValuesIn(kDamages)),
                         [](const auto& of) {
                           return std::string(std::get<0>(of.param).name) + "_" +
                                  std::get<1>(of.param).second;
                         });

}  // namespace
}  // namespace cria::e2e
