#include "formats/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/sha256.h"
#include "formats/element_cast.h"

namespace cria {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string kGolden = CRIA_SOURCE_DIR "/tests/golden/gguf/all_types.gguf";

std::vector<float> values_of(const TensorReader& reader, size_t index) {
  const TensorInfo& info = reader.tensors()[index];
  std::vector<float> out(static_cast<size_t>(info.elements()));
  to_f32(info.dtype, reader.mapped(index), out);
  return out;
}

class ScratchFile {
 public:
  ~ScratchFile() { std::filesystem::remove(path_); }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_ = fmt::format("{}cria_gguf_{}", testing::TempDir(), ::getpid());
};

TEST(Gguf, ReadsEveryKindOfValueThePeerWrote) {
  const auto r = GgufReader::open(kGolden);
  EXPECT_EQ(r->uint("t.u8"), 200);
  EXPECT_EQ(r->uint("t.u16"), 60'000);
  EXPECT_EQ(r->uint("t.u32"), 4'000'000'000);
  EXPECT_EQ(r->uint("t.u64"), UINT64_MAX);
  EXPECT_EQ(r->number("t.f32"), 0.1F);
  EXPECT_EQ(r->number("t.f64"), 0.1);
  EXPECT_EQ(r->flag("t.bool"), true);
  EXPECT_EQ(r->text("t.string"), "Grüße, 世界\n");
  EXPECT_THAT(*r->strings("t.strings"), ElementsAre("a", "", "ĠĠhello", "世"));
  EXPECT_THAT(*r->floats("t.floats"), ElementsAre(0.5F, -1.25F, 3.0F));
  EXPECT_THAT(*r->ints("t.ints"), ElementsAre(1, -2, 3));
  EXPECT_EQ(r->uint("t.absent"), std::nullopt);
  ASSERT_NE(r->entry("t.i64"), nullptr);
  EXPECT_EQ(r->entry("t.i64")->type, GgufType::i64);
}

TEST(Gguf, AValueOfAnotherTypeIsAnErrorThatNamesBoth) {
  const auto r = GgufReader::open(kGolden);
  const auto message = [&](auto get) -> std::string {
    try {
      get();
    } catch (const FormatError& e) {
      return e.what();
    }
    return "no error";
  };
  EXPECT_THAT(message([&] { return r->uint("t.i32"); }), HasSubstr("wrong type of \"t.i32\""));
  EXPECT_THAT(message([&] { return r->uint("t.f32"); }), HasSubstr("found f32"));
  EXPECT_THAT(message([&] { return r->text("t.strings"); }), HasSubstr("found array of string"));
  EXPECT_THAT(message([&] { return r->strings("t.string"); }),
              HasSubstr("expected array of string, found string"));
  EXPECT_THAT(message([&] { return r->number("t.u32"); }), HasSubstr("expected f32 or f64"));
  EXPECT_THAT(message([&] { return r->flag("t.u8"); }), HasSubstr("expected bool"));
  EXPECT_THAT(message([&] { return r->floats("t.ints"); }), HasSubstr("found array of i32"));
  EXPECT_THAT(message([&] { return r->ints("t.floats"); }), HasSubstr("found array of f32"));
}

TEST(Gguf, ShapesHaveTheOutermostDimFirst) {
  const auto r = GgufReader::open(kGolden);
  EXPECT_EQ(r->tensors()[*r->find("F32")], (TensorInfo{"F32", DType::f32, {2, 3, 4}}));
  EXPECT_EQ(r->tensors()[*r->find("Q6_K")], (TensorInfo{"Q6_K", DType::q6_k, {3, 512}}));
  EXPECT_EQ(r->find("absent"), std::nullopt);
}

class GgufTypes : public testing::TestWithParam<const char*> {};
TEST_P(GgufTypes, DequantiseToThePeersBits) {
  const auto r = GgufReader::open(kGolden);
  const auto ours = values_of(*r, *r->find(GetParam()));
  const auto expected = values_of(*r, *r->find(std::string(GetParam()) + ".expected"));
  ASSERT_EQ(ours.size(), expected.size());
  EXPECT_EQ(std::memcmp(ours.data(), expected.data(), ours.size() * sizeof(float)), 0);
}
INSTANTIATE_TEST_SUITE_P(All, GgufTypes,
                         testing::Values("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K",
                                         "Q6_K", "F32", "F16", "BF16"));

TEST(Gguf, ReadGivesAnyPartOfATensor) {
  const auto r = GgufReader::open(kGolden);
  const size_t i = *r->find("Q4_K");
  std::vector<std::byte> part(100);
  r->read(i, 77, part);
  EXPECT_TRUE(std::ranges::equal(part, r->mapped(i).subspan(77, 100)));
}

GgufMetadata golden_metadata(const GgufReader& r) {
  return {{"general.architecture", std::string("llama")},
          {"t.u32", uint32_t{4'000'000'000}},
          {"t.i32", int32_t{-2'000'000'000}},
          {"t.f32", 0.1F},
          {"t.bool", true},
          {"t.string", std::string("Grüße, 世界\n")},
          {"t.u64", UINT64_MAX},
          {"t.i64", INT64_MIN},
          {"t.f64", 0.1},
          {"t.strings", std::vector<std::string>{"a", "", "ĠĠhello", "世"}},
          {"t.floats", std::vector<float>{0.5F, -1.25F, 3.0F}},
          {"t.ints", std::vector<int32_t>{1, -2, 3}},
          {"peer", std::string(*r.text("peer"))}};
}

TEST(Gguf, WritesEntriesAndTensorsWithThePeersBytes) {
  const auto golden = GgufReader::open(kGolden);
  const ScratchFile file;
  const auto metadata = golden_metadata(*golden);
  const auto writer = make_gguf_writer(file.path(), metadata, golden->tensors());
  for (size_t i = 0; i < golden->tensors().size(); ++i) {
    const auto bytes = golden->mapped(i);
    writer->write(bytes.first(bytes.size() / 3));
    writer->write(bytes.subspan(bytes.size() / 3));
  }
  writer->commit();

  const auto ours = GgufReader::open(file.path());
  ASSERT_EQ(ours->entries().size(), metadata.size());
  for (const GgufEntry& e : ours->entries()) {
    const GgufEntry* theirs = golden->entry(e.key);
    ASSERT_NE(theirs, nullptr) << e.key;
    EXPECT_EQ(e.type, theirs->type) << e.key;
    EXPECT_EQ(e.is_array, theirs->is_array) << e.key;
    EXPECT_TRUE(std::ranges::equal(e.bytes, theirs->bytes)) << e.key;
  }
  ASSERT_EQ(ours->tensors(), golden->tensors());
  for (size_t i = 0; i < ours->tensors().size(); ++i)
    EXPECT_TRUE(std::ranges::equal(ours->mapped(i), golden->mapped(i))) << ours->tensors()[i].name;
}

TEST(Gguf, AnotherAlignmentIsWrittenDownAndKept) {
  const ScratchFile file;
  const std::vector<TensorInfo> infos{{"a", DType::f32, {1}}, {"b", DType::f32, {2}}};
  const auto writer = make_gguf_writer(file.path(), {}, infos, 256);
  const std::vector<float> values{1, 2, 3};
  writer->write(std::as_bytes(std::span(values)));
  writer->commit();
  const auto r = GgufReader::open(file.path());
  EXPECT_EQ(r->uint("general.alignment"), 256);
  EXPECT_EQ(r->mapped(1).data() - r->mapped(0).data(), 256);
  EXPECT_THAT(values_of(*r, 1), ElementsAre(2, 3));
}

TEST(Gguf, AWriterWithoutCommitLeavesNoFile) {
  const ScratchFile file;
  const std::vector<TensorInfo> infos{{"a", DType::f32, {1}}};
  EXPECT_THROW(make_gguf_writer(file.path(), {}, infos)->commit(), std::logic_error);
  EXPECT_FALSE(std::filesystem::exists(file.path()));
}

TEST(Gguf, TheWriterRefusesWhatNoReaderWouldTake) {
  const ScratchFile file;
  const TensorInfo good{"a", DType::f32, {1}};
  const auto refuses = [&](GgufMetadata m, std::vector<TensorInfo> t, uint64_t alignment = 32) {
    EXPECT_THROW(make_gguf_writer(file.path(), m, t, alignment), Error);
    EXPECT_FALSE(std::filesystem::exists(file.path()));
  };
  refuses({{"", 1U}}, {good});
  refuses({{"k", 1U}, {"k", 2U}}, {good});
  refuses({{"general.alignment", 64U}}, {good});
  refuses({}, {good, good});
  refuses({}, {{std::string(64, 'x'), DType::f32, {1}}});
  refuses({}, {{"a", DType::f32, {1, 1, 1, 1, 1}}});
  refuses({}, {{"a", DType::f32, {0}}});
  refuses({}, {{"a", DType::u32, {1}}});
  refuses({}, {{"a", DType::q4_0, {31}}});
  refuses({}, {good}, 48);
}

// The model of the demo; every tensor by the SHA-256 of its values as the peer computes them.
TEST(Gguf, SmolLm2HasThePeersValuesInEveryTensor) {
  const char* model = std::getenv("CRIA_SMOLLM2");
  if (model == nullptr || *model == 0)
    GTEST_SKIP() << "CRIA_SMOLLM2 does not name the model's GGUF";
  const auto r = GgufReader::open(model);
  EXPECT_EQ(r->strings("tokenizer.ggml.tokens")->size(), 49'152U);
  std::ifstream golden(CRIA_SOURCE_DIR "/tests/golden/gguf/smollm2_sha256.txt");
  std::string hash, name;
  std::getline(golden, name);  // the peer's version
  size_t count = 0;
  for (; golden >> hash >> name; ++count) {
    const auto index = r->find(name);
    ASSERT_TRUE(index) << name;
    const auto values = values_of(*r, *index);
    EXPECT_EQ(sha256_hex(std::as_bytes(std::span(values))), hash) << name;
  }
  EXPECT_EQ(count, r->tensors().size());
}

}  // namespace
}  // namespace cria
