#include "formats/safetensors.h"

#include "formats/json_file.h"
#include "formats/tensor_files.h"

namespace cria::test {
namespace {

using testing::HasSubstr;

std::string model(const std::string& name) { return fixture("models/tiny-llama3/" + name); }

void expect_manifest(const TensorReader& reader, const char* dtype) {
  const auto weights = load_json(model("manifest.json"))["weights"][dtype];
  ASSERT_EQ(reader.tensors().size(), weights.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    const TensorInfo& info = reader.tensors()[i];
    const auto& want = weights.at(info.name);
    EXPECT_EQ(nlohmann::json(info.shape), want["shape"]);
    EXPECT_EQ(name_of(info.dtype), want["dtype"].get<std::string>());
    EXPECT_EQ(sha256_hex(reader.mapped(i)), want["sha256"]) << info.name;
  }
}

TEST(SafetensorsFixtures, one_file_has_the_tensors_of_its_manifest) {
  CRIA_NEED_FIXTURES();
  expect_manifest(*open_safetensors(model("hf-fp32/model.safetensors")), "fp32");
  const auto bf16 = open_safetensors(model("hf-bf16/model.safetensors"));
  expect_manifest(*bf16, "bf16");
  EXPECT_EQ(bf16->metadata().at("format"), "pt");
}

TEST(SafetensorsFixtures, shards_behind_an_index_are_one_set_of_tensors) {
  CRIA_NEED_FIXTURES();
  const auto reader = open_safetensors_index(model("hf-fp32-sharded/model.safetensors.index.json"));
  expect_manifest(*reader, "fp32");
  expect_manifest(*open_safetensors_index(model("hf-bf16-sharded/model.safetensors.index.json")),
                  "bf16");
  const size_t last = reader->tensors().size() - 1;
  EXPECT_THAT(reader->path_of(0), HasSubstr("model-00001-of-00004"));
  EXPECT_THAT(reader->path_of(last), HasSubstr("model-00004-of-00004"));
}

TEST(SafetensorsFixtures, mindspores_files_read_with_their_metadata) {
  CRIA_NEED_FIXTURES();
  const auto files = load_json(fixture("mindspore/ckpt/manifest.json"))["files"];
  for (const char* name : {"types.safetensors", "crc.safetensors"}) {
    const auto reader = open_safetensors(fixture(std::string("mindspore/ckpt/") + name));
    EXPECT_EQ(reader->metadata().at("format"), "ms");
    for (const auto& param : files[name]["params"]) {
      const auto index = reader->find(param["name"].get<std::string>());
      ASSERT_TRUE(index) << param["name"];
      EXPECT_EQ(nlohmann::json(reader->tensors()[*index].shape), param["shape"]);
      EXPECT_EQ(sha256_hex(reader->mapped(*index)), param["sha256"]);
    }
  }
}

TEST(Safetensors, what_is_written_is_read_back) {
  std::mt19937 random(7);
  const Scratch scratch;
  for (int trial = 0; trial < 30; ++trial) {
    const RandomTensors tensors = random_tensors(random, trial, true);
    const std::string path = scratch.path("a.safetensors");
    const SafetensorsMetadata metadata = {{"format", "pt"}, {"Grüße", "\"quoted\"\n"}};
    write_in_pieces(*make_safetensors_writer(path, tensors.infos, metadata), tensors, random);
    const auto reader = open_safetensors(path);
    EXPECT_EQ(reader->metadata(), metadata);
    // Empty tensors share their offset with a neighbour, so only the others keep their order.
    RandomTensors sorted;
    for (const TensorInfo& info : reader->tensors()) {
      const auto it = std::find(tensors.infos.begin(), tensors.infos.end(), info);
      ASSERT_NE(it, tensors.infos.end());
      sorted.infos.push_back(info);
      sorted.bytes.push_back(tensors.bytes[static_cast<size_t>(it - tensors.infos.begin())]);
    }
    EXPECT_EQ(sorted.infos.size(), tensors.infos.size());
    expect_equal(*reader, sorted, random);
  }
  EXPECT_EQ(scratch.entries(), 1U);
}

TEST(Safetensors, the_header_is_padded_to_eight_and_the_data_begins_there) {
  const Scratch scratch;
  const std::string path = scratch.path("a.safetensors");
  for (int n = 1; n < 10; ++n) {
    const TensorInfo info{
        .name = std::string(static_cast<size_t>(n), 'x'), .dtype = DType::u8, .shape = {1}};
    const auto writer = make_safetensors_writer(path, {info});
    writer->write(as_span("!"));
    writer->commit();
    const std::string bytes = slurp(path);
    EXPECT_EQ((bytes.size() - 1) % 8, 0U);
    EXPECT_EQ(bytes.substr(8, 1), "{");
    EXPECT_EQ(bytes.back(), '!');
  }
}

TEST(Safetensors, nothing_is_left_when_writing_is_refused_or_given_up) {
  const Scratch scratch;
  const std::string path = scratch.path("a.safetensors");
  const TensorInfo good{.name = "a", .dtype = DType::f32, .shape = {2}};
  const TensorInfo block{.name = "q", .dtype = DType::q8_0, .shape = {32}};
  EXPECT_THROW(make_safetensors_writer(path, {good, good}), UsageError);
  EXPECT_THROW(make_safetensors_writer(path, {block}), UsageError);
  EXPECT_THROW(make_safetensors_writer(path, {{.name = "", .shape = {1}}}), UsageError);
  EXPECT_THROW(make_safetensors_writer(path, {good}, {{"k", "\xff"}}), UsageError);
  {
    make_safetensors_writer(path, {good})->write(as_span("1234"));
  }
  const auto half = make_safetensors_writer(path, {good});
  EXPECT_THROW(half->commit(), std::logic_error);
  EXPECT_THROW(half->write(as_span("123456789")), std::logic_error);
  EXPECT_FALSE(is_file(path));
}

struct IndexCase {
  const char* claim;
  std::string json, message;
};

TEST(Safetensors, an_index_that_does_not_fit_its_shards_is_refused) {
  const Scratch scratch;
  const auto shard = [&](const char* file, const char* name) {
    const auto writer = make_safetensors_writer(scratch.path(file),
                                                {{.name = name, .dtype = DType::u8, .shape = {1}}});
    writer->write(as_span("x"));
    writer->commit();
  };
  shard("a.safetensors", "ta");
  shard("b.safetensors", "tb");
  const std::string path = scratch.path("i.json");
  spew(path,
       R"({"metadata":{"total_size":2},"weight_map":{"tb":"b.safetensors","ta":"a.safetensors"}})");
  const auto good = open_safetensors_index(path);
  EXPECT_EQ(good->tensors().size(), 2U);
  EXPECT_EQ(good->metadata().at("total_size"), "2");
  const IndexCase cases[] = {
      {"a name in no shard", R"({"weight_map":{"ta":"a.safetensors","tc":"a.safetensors"}})",
       "\"tc\" is not in a.safetensors"},
      {"a tensor that the index leaves out", R"({"weight_map":{"tx":"a.safetensors"}})",
       "\"ta\" is in a.safetensors"},
      {"a tensor in another shard", R"({"weight_map":{"tb":"a.safetensors","ta":"b.safetensors"}})",
       "expected it in"},
      {"a path", R"({"weight_map":{"ta":"../a.safetensors"}})", "no plain file name"},
      {"a number for a name", R"({"weight_map":{"ta":1}})", "no plain file name"},
      {"no map", R"({"metadata":{}})", "no weight_map"},
      {"a list", R"([])", "no weight_map"},
      {"metadata that is a list", R"({"weight_map":{},"metadata":[]})", "metadata"},
      {"a name twice", R"({"weight_map":{"ta":"a.safetensors","ta":"b.safetensors"}})", "twice"},
      {"not JSON", R"({"weight_map":)", "not valid JSON"},
  };
  for (const IndexCase& c : cases) {
    SCOPED_TRACE(c.claim);
    spew(path, c.json);
    const std::string message = format_error([&] { open_safetensors_index(path); });
    EXPECT_THAT(message, HasSubstr(c.message));
    EXPECT_THAT(message, HasSubstr(path));
  }
  spew(path, R"({"weight_map":{"ta":"missing.safetensors"}})");
  EXPECT_THROW(open_safetensors_index(path), IoError);
}

TEST(Safetensors, the_index_we_write_is_the_one_we_read) {
  const SafetensorsIndex index{.weight_map = {{"z", "b"}, {"a", "c"}}};
  const auto again = parse_safetensors_index(safetensors_index_json(index, 5), "i");
  EXPECT_EQ(again.weight_map, index.weight_map);
  EXPECT_EQ(again.metadata.at("total_size"), "5");
}

}  // namespace
}  // namespace cria::test
