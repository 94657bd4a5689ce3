#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/bytes.h"
#include "base/error.h"
#include "formats/torch_file.h"

namespace cria {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string kGolden = CRIA_SOURCE_DIR "/tests/golden/torch/";
const std::string kTiny = CRIA_FIXTURES_DIR "/models/tiny-llama3/";

std::string hex(std::span<const std::byte> bytes) {
  std::string out;
  for (const std::byte b : bytes) out += fmt::format("{:02x}", std::to_integer<int>(b));
  return out.empty() ? "-" : out;
}

std::vector<std::byte> contents(const TensorReader& reader, size_t index) {
  std::vector<std::byte> out(static_cast<size_t>(reader.tensors()[index].size_bytes()));
  reader.read(index, 0, out);
  return out;
}

std::string torch_name(DType dtype) {
  static const std::map<DType, std::string> names = {
      {DType::f32, "float32"},   {DType::f64, "float64"}, {DType::f16, "float16"},
      {DType::bf16, "bfloat16"}, {DType::i64, "int64"},   {DType::i32, "int32"},
      {DType::i16, "int16"},     {DType::i8, "int8"},     {DType::u8, "uint8"},
      {DType::boolean, "bool"}};
  return "torch." + names.at(dtype);
}

std::string dims(const std::vector<int64_t>& shape) {
  return shape.empty() ? "-" : fmt::format("{}", fmt::join(shape, ","));
}

class Scratch {
 public:
  ~Scratch() { std::filesystem::remove(path_); }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_ = fmt::format("{}cria_torch_{}", testing::TempDir(), ::getpid());
};

class TorchGolden : public testing::TestWithParam<std::pair<const char*, const char*>> {};
TEST_P(TorchGolden, HasPyTorchsNamesShapesAndBytes) {
  const auto [file, list] = GetParam();
  const auto r = open_torch(kGolden + file);
  std::ifstream expected(kGolden + list);
  std::string line;
  std::getline(expected, line);  // the peer's version
  size_t count = 0;
  for (; std::getline(expected, line); ++count) {
    ASSERT_LT(count, r->tensors().size());
    const TensorInfo& t = r->tensors()[count];
    EXPECT_EQ(fmt::format("{} {} {} {}", t.name, torch_name(t.dtype), dims(t.shape),
                          hex(contents(*r, count))),
              line);
  }
  EXPECT_EQ(count, r->tensors().size());
}
INSTANTIATE_TEST_SUITE_P(Files, TorchGolden,
                         testing::Values(std::pair{"views.pth", "views.expected"},
                                         std::pair{"repacked.pth", "views.expected"},
                                         std::pair{"module.pth", "module.expected"}));

TEST(Torch, EntriesThatAreNoTensorsAreListed) {
  EXPECT_THAT(open_torch(kGolden + "views.pth")->ignored(),
              ElementsAre("step", "note", "sizes", "7"));
}

TEST(Torch, ContiguousViewsAreMappedAndOthersAreNot) {
  const auto r = open_torch(kGolden + "views.pth");
  EXPECT_FALSE(r->mapped(*r->find("plain")).empty());
  EXPECT_FALSE(r->mapped(*r->find("rows")).empty());
  EXPECT_FALSE(r->mapped(*r->find("picked_scalar")).empty());
  EXPECT_TRUE(r->mapped(*r->find("transposed")).empty());
  EXPECT_TRUE(r->mapped(*r->find("broadcast")).empty());
  EXPECT_EQ(r->mapped(*r->find("rows")).data(), r->mapped(*r->find("plain")).data() + 2 * 8 * 4);
}

TEST(Torch, AnyRangeOfAStridedTensorReadsAsThatPartOfTheWhole) {
  const auto r = open_torch(kGolden + "views.pth");
  for (const char* name : {"transposed", "permuted", "broadcast", "columns", "every_other"}) {
    const size_t i = *r->find(name);
    const auto whole = contents(*r, i);
    for (size_t begin = 0; begin <= whole.size(); begin += 3) {
      for (const size_t size : {size_t{0}, size_t{1}, size_t{7}, size_t{13}}) {
        if (begin + size > whole.size()) continue;
        std::vector<std::byte> part(size);
        r->read(i, begin, part);
        EXPECT_TRUE(std::ranges::equal(part, std::span(whole).subspan(begin, size)))
            << name << " " << begin << " " << size;
      }
    }
  }
}

struct Refusal {
  const char* file;
  const char* reason;
};
class TorchRefuses : public testing::TestWithParam<Refusal> {};
TEST_P(TorchRefuses, NamingTheReason) {
  const std::string path = kGolden + GetParam().file;
  try {
    open_torch(path);
    FAIL() << "was read";
  } catch (const FormatError& e) {
    EXPECT_THAT(e.what(), HasSubstr(path));
    EXPECT_THAT(e.what(), HasSubstr(GetParam().reason));
  }
}
INSTANTIATE_TEST_SUITE_P(Files, TorchRefuses,
                         testing::Values(Refusal{"bad_before_zip.pth",
                                                 "try: load it in PyTorch and save it again"},
                                         Refusal{"bad_tar.pth", "not a zip archive"},
                                         Refusal{"bad_protocol4.pth", "not protocol 2"},
                                         Refusal{"bad_evil.pth", "it asks for __builtin__.print"},
                                         Refusal{"bad_no_dict.pth", "not a state dict"},
                                         Refusal{"bad_nested.pth", "no tensors in it"},
                                         Refusal{"bad_complex.pth", "torch.ComplexFloatStorage"},
                                         Refusal{"bad_deflated.pth", "compressed record"}));

std::string file_text(const std::string& path) {
  std::ostringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}

TEST(Torch, AFileCutAtAnyByteIsAFormatError) {
  const std::string whole = file_text(kGolden + "views.pth");
  for (size_t cut = 0; cut < whole.size(); ++cut)
    EXPECT_THROW(TorchReader(raw_bytes(whole).first(cut), "cut.pth"), FormatError) << cut;
}

// A changed byte is found, or lies where nothing is kept: in padding, dates, versions.
TEST(Torch, AChangedByteNeverChangesATensor) {
  const std::string whole = file_text(kGolden + "views.pth");
  const TorchReader good(raw_bytes(whole), "good.pth");
  std::vector<std::vector<std::byte>> expected;
  for (size_t i = 0; i < good.tensors().size(); ++i) expected.push_back(contents(good, i));
  size_t found = 0;
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string changed = whole;
    changed[at] ^= static_cast<char>(1 << at % 8);
    try {
      const TorchReader r(raw_bytes(changed), "changed.pth");
      ASSERT_EQ(r.tensors(), good.tensors()) << at;
      for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(contents(r, i), expected[i]) << at;
    } catch (const FormatError&) {
      ++found;
    }
  }
  EXPECT_GT(found, whole.size() / 2);
}

TEST(Torch, WrittenTensorsComeBack) {
  const auto golden = open_torch(kGolden + "views.pth");
  const Scratch file;
  const auto writer = make_torch_writer(file.path(), golden->tensors());
  for (size_t i = 0; i < golden->tensors().size(); ++i) {
    const auto bytes = contents(*golden, i);
    writer->write(std::span(bytes).first(bytes.size() / 2));
    writer->write(std::span(bytes).subspan(bytes.size() / 2));
  }
  writer->commit();
  const auto r = open_torch(file.path());
  ASSERT_EQ(r->tensors(), golden->tensors());
  for (size_t i = 0; i < r->tensors().size(); ++i)
    EXPECT_EQ(contents(*r, i), contents(*golden, i)) << r->tensors()[i].name;
}

TEST(Torch, AnUnfinishedFileIsNotCommitted) {
  const Scratch file;
  const auto writer = make_torch_writer(file.path(), {{"a", DType::f32, {2}}});
  EXPECT_THROW(writer->commit(), std::logic_error);
  EXPECT_FALSE(std::filesystem::exists(file.path()));
}

TEST(Torch, TypesWithoutAStorageAreRefusedBeforeAFileExists) {
  const Scratch file;
  for (const DType dtype : {DType::u16, DType::u32, DType::u64, DType::q8_0})
    EXPECT_THROW(make_torch_writer(file.path(), {{"a", dtype, {32}}}), UsageError);
  EXPECT_THROW(make_torch_writer(file.path(), {{"a", DType::f32, {1}}, {"a", DType::f32, {1}}}),
               UsageError);
  EXPECT_FALSE(std::filesystem::exists(file.path()));
}

// Where a name's tensor lies in a safetensors file, read with the least that can do it.
std::map<std::string, std::string> safetensors_hex(const std::string& path) {
  const std::string file = file_text(path);
  const auto header_size = load_le<uint64_t>(raw_bytes(file), 0);
  const std::string header = file.substr(8, header_size);
  std::map<std::string, std::string> out;
  for (size_t at = header.find("\":{\"dtype"); at != std::string::npos;
       at = header.find("\":{\"dtype", at + 1)) {
    const size_t name = header.rfind('"', at - 1) + 1;
    const size_t offsets = header.find("\"data_offsets\":[", at) + 16;
    size_t comma = 0;
    const uint64_t begin = std::stoull(header.substr(offsets), &comma);
    const uint64_t end = std::stoull(header.substr(offsets + comma + 1));
    out[header.substr(name, at - name)] =
        hex(raw_bytes(file).subspan(8 + header_size + begin, end - begin));
  }
  return out;
}

TEST(Torch, TheFixtureInBinFormHasTheBytesOfItsSafetensors) {
  if (!is_file(kTiny + "hf-fp32-bin/pytorch_model.bin")) GTEST_SKIP() << "no fixtures";
  const auto r = open_torch(kTiny + "hf-fp32-bin/pytorch_model.bin");
  auto expected = safetensors_hex(kTiny + "hf-fp32/model.safetensors");
  ASSERT_FALSE(expected.empty());
  EXPECT_EQ(r->tensors().size(), expected.size());
  for (size_t i = 0; i < r->tensors().size(); ++i)
    EXPECT_EQ(hex(contents(*r, i)), expected[r->tensors()[i].name]) << r->tensors()[i].name;
}

TEST(Torch, MetasFixturesHaveTheBytesOfTheirSafetensors) {
  const std::map<std::string, std::string> names = {
      {"tok_embeddings.weight", "model.embed_tokens.weight"},
      {"norm.weight", "model.norm.weight"},
      {"output.weight", "lm_head.weight"},
      {"layers.0.attention.wv.weight", "model.layers.0.self_attn.v_proj.weight"},
      {"layers.1.feed_forward.w2.weight", "model.layers.1.mlp.down_proj.weight"}};
  for (const std::string kind : {"fp32", "bf16"}) {
    if (!is_file(kTiny + "meta-" + kind + "/consolidated.00.pth")) GTEST_SKIP() << "no fixtures";
    const auto r = open_torch(kTiny + "meta-" + kind + "/consolidated.00.pth");
    auto expected = safetensors_hex(kTiny + "hf-" + kind + "/model.safetensors");
    for (const auto& [meta, hf] : names) {
      ASSERT_TRUE(r->find(meta)) << meta;
      EXPECT_EQ(hex(contents(*r, *r->find(meta))), expected[hf]) << kind << " " << meta;
    }
  }
}

}  // namespace
}  // namespace cria
