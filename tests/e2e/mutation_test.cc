// Readers against valid files with random damage: each loads or throws Error, soon.
#include <functional>
#include <random>

#include "checkpoint/weight_source.h"
#include "data/alpaca.h"
#include "data/conversation.h"
#include "formats/compressed_tensors.h"
#include "formats/files.h"
#include "formats/gguf.h"
#include "formats/mindrecord.h"
#include "formats/mindspore_ckpt.h"
#include "formats/safetensors.h"
#include "formats/torch_file.h"
#include "refused.h"
#include "tokenizer/load.h"

namespace cria::e2e {
namespace {

// Most damage goes to the first 4 KiB and the last, where headers and directories are.
size_t place(std::mt19937& random, size_t size) {
  const size_t near = std::min<size_t>(size, 4096);
  const uint32_t where = random() % 3;
  if (where == 0) return random() % size;
  return where == 1 ? random() % near : size - 1 - random() % near;
}

std::string mutated(std::string bytes, std::mt19937& random) {
  for (uint32_t times = 1 + random() % 3; times > 0 && !bytes.empty(); --times) {
    const size_t at = place(random, bytes.size());
    const size_t length = std::min<size_t>(bytes.size() - at, 1 + random() % 16);
    switch (random() % 5) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
        break;
      case 1:
        bytes.replace(at, length, length, '\0');
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3:
        bytes.insert(at, std::string(length, static_cast<char>(random())));
        break;
      default:
        bytes.replace(at, length, bytes.substr(place(random, bytes.size()), length));
        break;
    }
  }
  return bytes;
}

void read_all(const TensorReader& reader) {
  std::vector<std::byte> bytes;
  for (size_t i = 0; i < reader.tensors().size(); ++i) {
    bytes.resize(static_cast<size_t>(reader.tensors()[i].size_bytes()));
    reader.read(i, 0, bytes);
  }
}

struct Kind {
  const char* good;
  std::function<void(const std::string& path)> load;
  int times = 200;
};
void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.good; }

class Mutated : public testing::TestWithParam<Kind> {};

TEST_P(Mutated, LoadsOrThrowsErrorSoon) {
  const std::string good = test::slurp(valid_files() + "/" + GetParam().good);
  const TemporaryFolder folder = TemporaryFolder::in_memory();
  const std::string path = folder / GetParam().good;
  std::mt19937 random(20240229);
  int refused = 0;
  for (int n = 0; n < GetParam().times; ++n) {
    test::spew(path, mutated(good, random));
    const auto start = std::chrono::steady_clock::now();
    try {
      GetParam().load(path);
    } catch (const Error&) {
      ++refused;
    } catch (const std::exception& e) {
      ADD_FAILURE() << "mutation " << n << ": not an Error: " << e.what();
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    EXPECT_LT(took.count(), 1.0) << "mutation " << n;
  }
  EXPECT_GT(refused, GetParam().times / 10) << "the damage does not reach the reader";
}

const std::vector<Kind> kKinds = {
    {"tiny.safetensors", [](const std::string& p) { read_all(*open_safetensors(p)); }},
    {"int4.safetensors",
     [](const std::string& p) {
       read_all(*open_compressed(open_safetensors(p), {{4, 128, true}}));
     }},
    {"tiny.safetensors.index.json",
     [](const std::string& p) { (void)parse_safetensors_index(read_text(p), p); }},
    {"tiny.gguf", [](const std::string& p) { (void)WeightSource::open(p); }},
    {"tiny.ckpt", [](const std::string& p) { read_all(*open_mindspore_ckpt(p)); }},
    {"tiny.bin", [](const std::string& p) { read_all(*open_torch(p)); }},
    {"rows.mindrecord",
     [](const std::string& p) {
       const MindRecordReader reader(p);
       for (int64_t row = 0; row < reader.rows(); ++row) (void)reader.read(row);
     },
     30},  // a file of 17 MB
    {"tok.model", [](const std::string& p) { (void)load_vocabulary(p); }},
    {"tok.json", [](const std::string& p) { (void)load_vocabulary(p); }},
    {"config.json", [](const std::string& p) { (void)parse_hf_config(read_text(p), p); }},
    {"alpaca.json",
     [](const std::string& p) {
       const TemporaryFolder out = TemporaryFolder::in_memory();
       convert_alpaca(p, out / "y.json");
     }},
    {"conversations.json", [](const std::string& p) {
       ConversationReader reader(p);
       for (Conversation c; reader.next(c);) {
       }
     }}};
INSTANTIATE_TEST_SUITE_P(Readers, Mutated, testing::ValuesIn(kKinds));

}  // namespace
}  // namespace cria::e2e
