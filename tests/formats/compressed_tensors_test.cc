// Matrices of compressed-tensors: written and read again, and files and configs that must be refused. What the package itself wrote
// is read in tests/checkpoint/compressed_weights_test.cc.
#include "formats/compressed_tensors.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "formats/dequantise.h"
#include "formats/files.h"
#include "formats/quantise.h"

namespace cria::test {
namespace {

constexpr int64_t kRows = 6, kCols = 384;

std::vector<std::byte> random_blocks(DType type, int64_t elements) {
  std::vector<float> numbers(static_cast<size_t>(elements));
  for (size_t i = 0; i < numbers.size(); ++i)
    numbers[i] = static_cast<float>(random_normal(3, 0, i));
  std::vector<std::byte> blocks(static_cast<size_t>(bytes_of(type, elements)));
  quantise(type, numbers, blocks);
  return blocks;
}

class CompressedTypes : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(All, CompressedTypes,
                         testing::Values(DType::int4_g32, DType::int4_g64, DType::int4_g128,
                                         DType::int8_g32, DType::int8_g64, DType::int8_g128),
                         [](const auto& p) { return std::string(name_of(p.param)); });

TEST_P(CompressedTypes, WhatIsWrittenComesBackInAnyPieces) {
  const Scratch scratch;
  const DType type = GetParam();
  const std::string path = scratch.path("w.safetensors");
  const std::vector<std::byte> blocks = random_blocks(type, kRows * kCols);
  const std::vector<bf16> norm(kCols, bf16(1.5F));
  const auto writer = make_compressed_writer(
      path, {{"a.weight", type, {kRows, kCols}}, {"norm.weight", DType::bf16, {kCols}}});
  const auto block = static_cast<size_t>(block_bytes(type));
  writer->write(std::span(blocks).first(5 * block));
  writer->write(std::span(blocks).subspan(5 * block));
  writer->write(std::as_bytes(std::span(norm)));
  writer->commit();

  const bool four = name_of(type).starts_with("INT4");
  const auto file =
      open_compressed(open_safetensors(path), {{four ? 4 : 8, block_elements(type), true}});
  ASSERT_EQ(file->tensors().size(), 2U);
  EXPECT_EQ(file->tensors()[0], (TensorInfo{"a.weight", type, {kRows, kCols}}));
  EXPECT_EQ(file->tensors()[1], (TensorInfo{"norm.weight", DType::bf16, {kCols}}));
  for (const auto& [first, count] :
       {std::pair<size_t, size_t>{0, blocks.size() / block}, {0, 1}, {7, 5}}) {
    std::vector<std::byte> back(count * block);
    file->read(0, first * block, back);
    EXPECT_TRUE(std::ranges::equal(back, std::span(blocks).subspan(first * block, count * block)));
  }
  EXPECT_EQ(std::memcmp(file->mapped(1).data(), norm.data(), kCols * 2), 0);
}

/// The parts of one matrix of int4, [6, 384] with 128 columns to a scale, as they should be.
struct Parts {
  std::string name = "a.weight";
  TensorInfo packed{"a.weight_packed", DType::i32, {kRows, kCols / 8}};
  TensorInfo scale{"a.weight_scale", DType::bf16, {kRows, 3}};
  TensorInfo shape{"a.weight_shape", DType::i64, {2}};
  std::vector<int64_t> dims = {kRows, kCols};
  float last_scale = 1;
  std::vector<TensorInfo> others;  // of zeros
  std::vector<CompressedGroup> config = {{4, 128, true}};
};

std::shared_ptr<const TensorReader> open_parts(const Parts& parts, const std::string& path) {
  std::vector<TensorInfo> infos;
  for (const TensorInfo& t : {parts.packed, parts.scale, parts.shape})
    if (!t.name.empty()) infos.push_back(t);
  infos.insert(infos.end(), parts.others.begin(), parts.others.end());
  const auto writer = make_safetensors_writer(path, infos);
  for (const TensorInfo& t : infos) {
    std::vector<std::byte> bytes(static_cast<size_t>(t.size_bytes()));
    if (t.name.ends_with("_shape"))
      std::memcpy(bytes.data(), parts.dims.data(), std::min<size_t>(bytes.size(), 16));
    if (t.name.ends_with("_scale") && t.dtype == DType::bf16) {
      const bf16 last(parts.last_scale);
      std::memcpy(bytes.data() + bytes.size() - 2, &last, 2);
    }
    writer->write(bytes);
  }
  writer->commit();
  return open_compressed(open_safetensors(path), parts.config);
}

struct Broken {
  const char* claim;
  void (*damage)(Parts& parts);
  const char* message;
};
const Broken kBroken[] = {
    {"no scale", [](Parts& p) { p.scale.name = ""; }, "has no \"a.weight_scale\" beside it"},
    {"no shape", [](Parts& p) { p.shape.name = ""; }, "has no \"a.weight_shape\" beside it"},
    {"words of 64 bits", [](Parts& p) { p.packed.dtype = DType::i64; }, "is I64, expected I32"},
    {"a vector of words", [](Parts& p) { p.packed.shape = {kRows * kCols / 8}; },
     "expected a matrix"},
    {"no words", [](Parts& p) { p.packed.shape = {0, kCols / 8}; }, "expected a matrix"},
    {"scales of whole numbers", [](Parts& p) { p.scale.dtype = DType::i32; },
     "is I32, expected BF16, F16 or F32"},
    {"a scale too few", [](Parts& p) { p.scale.shape = {kRows, 2}; }, "is like no group"},
    {"scales the other way", [](Parts& p) { p.scale.shape = {3, kRows}; }, "is like no group"},
    {"words too few", [](Parts& p) { p.packed.shape = {kRows, kCols / 8 - 1}; },
     "is like no group"},
    {"another number of bits", [](Parts& p) { p.config = {{8, 128, true}}; }, "is like no group"},
    {"another group", [](Parts& p) { p.config = {{4, 64, true}, {4, 0, true}}; },
     "is like no group"},
    {"a config of bytes", [](Parts& p) { p.config = {{4, 128, false}}; }, "is like no group"},
    {"a shape of 32 bits", [](Parts& p) { p.shape.dtype = DType::i32; },
     "is I32 [2], expected I64 [2]"},
    {"a shape of three", [](Parts& p) { p.shape.shape = {3}; }, "expected I64 [2]"},
    {"other rows", [](Parts& p) { p.dims = {kRows + 1, kCols}; }, "says [7, 384]"},
    {"other columns", [](Parts& p) { p.dims = {kRows, kCols / 2}; }, "is like no group"},
    {"columns between words", [](Parts& p) { p.dims = {kRows, kCols - 3}; }, "columns come by 32"},
    {"negative columns", [](Parts& p) { p.dims = {kRows, -kCols}; }, "says [6, -384]"},
    {"columns past all memory", [](Parts& p) { p.dims = {kRows, INT64_MAX}; }, "says [6, 922"},
    {"zero points", [](Parts& p) { p.others = {{"a.weight_zero_point", DType::i32, {1, 3}}}; },
     "\"a.weight_zero_point\" beside it, which is not read"},
    {"another order", [](Parts& p) { p.others = {{"a.weight_g_idx", DType::i32, {kCols}}}; },
     "\"a.weight_g_idx\" beside it, which is not read"},
    {"the matrix twice", [](Parts& p) { p.others = {{"a.weight", DType::bf16, {kRows, kCols}}}; },
     "twice"},
};

TEST(CompressedTensors, RefusesPartsThatDoNotFitTogether) {
  const Scratch scratch;
  EXPECT_NO_THROW(open_parts({}, scratch.path("good.safetensors")));
  for (const Broken& b : kBroken) {
    Parts parts;
    b.damage(parts);
    const std::string path = scratch.path("w.safetensors");
    const std::string message = format_error([&] { open_parts(parts, path); });
    EXPECT_THAT(message, testing::HasSubstr(b.message)) << b.claim;
    EXPECT_THAT(message, testing::HasSubstr(path)) << b.claim;
  }
}

TEST(CompressedTensors, RefusesAScaleThatIsNotFiniteWhenItIsRead) {
  const Scratch scratch;
  for (const float bad :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    Parts parts;
    parts.last_scale = bad;
    const auto file = open_parts(parts, scratch.path("w.safetensors"));
    std::vector<std::byte> row(3 * 68);
    EXPECT_NO_THROW(file->read(0, 4 * row.size(), row));
    EXPECT_THAT(format_error([&] { file->read(0, 5 * row.size(), row); }),
                testing::HasSubstr("\"a.weight_scale\": scale 17 is"));
  }
}

// One scale for a row of 384, or for 256 columns: as blocks of 128 that have the same scale.
TEST(CompressedTensors, LargerGroupsBecomeSeveral) {
  const Scratch scratch;
  Parts parts;
  parts.config = {{4, 0, true}};
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{kRows, 1}, {kRows}}) {
    parts.scale.shape = shape;
    const auto file = open_parts(parts, scratch.path("w.safetensors"));
    EXPECT_EQ(file->tensors()[0].dtype, DType::int4_g128);
    std::vector<std::byte> row(3 * 68);
    std::vector<float> numbers(kCols);
    file->read(0, 5 * row.size(), row);
    dequantise(DType::int4_g128, row, numbers);
    for (const float n : numbers) EXPECT_EQ(n, -8);
  }
  parts.packed.shape = {kRows, 64};
  parts.dims = {kRows, 512};
  parts.scale.shape = {kRows, 2};
  parts.config = {{4, 256, true}};
  const auto file = open_parts(parts, scratch.path("w.safetensors"));
  std::vector<std::byte> row(4 * 68);
  std::vector<float> numbers(512);
  file->read(0, 5 * row.size(), row);
  dequantise(DType::int4_g128, row, numbers);
  for (size_t i = 0; i < 512; ++i) EXPECT_EQ(numbers[i], i < 256 ? 0 : -8) << i;
}

nlohmann::json good_config() {
  return nlohmann::json::parse(with_compressed_config("{}", {4, 128, true}));
}

TEST(CompressedConfig, ComesBack) {
  for (const CompressedGroup& group :
       {CompressedGroup{4, 128, true}, {8, 64, true}, {8, 0, false}}) {
    const auto back = parse_compressed_config(with_compressed_config("{}", group), "config.json");
    ASSERT_EQ(back.value().size(), 1U);
    EXPECT_EQ((*back)[0].num_bits, group.num_bits);
    EXPECT_EQ((*back)[0].group_size, group.group_size);
    EXPECT_EQ((*back)[0].packed, group.packed);
  }
  EXPECT_FALSE(parse_compressed_config(R"({"vocab_size": 3})", "config.json"));
  EXPECT_FALSE(parse_compressed_config(R"({"quantization_config": null})", "config.json"));
}

TEST(CompressedConfig, SaysWhatItDoesNotRead) {
  struct Case {
    const char* path;  // JSON pointer below quantization_config
    nlohmann::json value;
    const char* message;
  };
  const std::string weights = "/config_groups/group_0/weights";
  const Case cases[] = {
      {"", 4, "\"quantization_config\" is 4"},
      {"/quant_method", "gptq", "\"quantization_config.quant_method\" is \"gptq\""},
      {"/quant_method", nullptr, "quant_method\" is missing"},
      {"/config_groups/group_0/format", "float-quantized", "format\" is \"float-quantized\""},
      {"/config_groups", nlohmann::json::object(), "a group with \"weights\""},
      {"/config_groups", {1}, "an object of groups"},
      {"/config_groups/group_0", 1, "group_0\" is 1"},
      {"/config_groups/group_0/weights", "int4", "weights\" is \"int4\""},
      {"/config_groups/group_0/weights/num_bits", 3, "num_bits\" is 3, expected 4 or 8"},
      {"/config_groups/group_0/weights/num_bits", "4", "a whole number"},
      {"/config_groups/group_0/weights/type", "float", "type\" is \"float\""},
      {"/config_groups/group_0/weights/symmetric", false, "without zero points"},
      {"/config_groups/group_0/weights/symmetric", 1, "true or false"},
      {"/config_groups/group_0/weights/strategy", "block", "strategy\" is \"block\""},
      {"/config_groups/group_0/weights/strategy", "tensor", "strategy\" is \"tensor\""},
      {"/config_groups/group_0/weights/group_size", 16, "a multiple of 32"},
      {"/config_groups/group_0/weights/group_size", -128, "a multiple of 32"},
      {"/config_groups/group_0/weights/group_size", nullptr, "group_size\" is missing"},
      {"/config_groups/group_0/weights/actorder", "group", "columns in their own order"},
      {"/config_groups/group_0/weights/dynamic", true, "dynamic\" is true"},
      {"/sparsity_config", {{"format", "sparse-24-bitmask"}}, "sparsity_config.format"},
      {"/transform_config", {{"config_groups", {{"u", 1}}}}, "transform_config"},
  };
  for (const Case& c : cases) {
    nlohmann::json json = good_config();
    json["quantization_config"][nlohmann::json::json_pointer(c.path)] = c.value;
    EXPECT_THAT(
        format_error([&] { (void)parse_compressed_config(json.dump(), "some/config.json"); }),
        testing::AllOf(testing::HasSubstr(c.message), testing::HasSubstr("some/config.json")));
  }
}

// A group's own format, no format at all, actorder in its harmless form and what packages of other versions add.
TEST(CompressedConfig, ReadsWhatChangesNothing) {
  nlohmann::json json = good_config();
  auto& config = json["quantization_config"];
  auto& weights = config["config_groups"]["group_0"]["weights"];
  config["format"] = "mixed-precision";
  config["sparsity_config"] = {{"format", "dense"}};
  config["transform_config"] = nlohmann::json::object();
  weights["actorder"] = "static";
  weights["observer"] = "minmax";
  config["config_groups"]["group_1"] = {{"targets", {"LlamaAttention"}},
                                        {"output_activations", {{"num_bits", 8}}}};
  EXPECT_EQ(parse_compressed_config(json.dump(), "config.json").value().size(), 1U);
  weights.erase("strategy");
  EXPECT_EQ((*parse_compressed_config(json.dump(), "config.json"))[0].group_size, 128);
  weights["group_size"] = -1;
  EXPECT_EQ((*parse_compressed_config(json.dump(), "config.json"))[0].group_size, 0);
}

}  // namespace
}  // namespace cria::test
