#include "formats/mindspore_ckpt.h"

#include "formats/json_file.h"
#include "formats/safetensors.h"
#include "formats/tensor_files.h"

namespace cria::test {
namespace {

std::string ckpt(const std::string& name) { return fixture("mindspore/ckpt/" + name); }

// Parameters in file order, as MindSpore lists them; texts among them.
void expect_parameters(const std::string& path, const nlohmann::json& params) {
  SCOPED_TRACE(path);
  const auto reader = open_mindspore_ckpt(path);
  size_t tensor = 0, text = 0;
  for (const auto& param : params) {
    if (param["type"] == "str") {
      ASSERT_LT(text, reader->texts().size());
      EXPECT_EQ(reader->texts()[text].first, param["name"]);
      EXPECT_EQ(reader->texts()[text++].second, param["value"]);
      continue;
    }
    ASSERT_LT(tensor, reader->tensors().size());
    const TensorInfo& info = reader->tensors()[tensor];
    EXPECT_EQ(info.name, param["name"]);
    EXPECT_EQ(mindspore_type_name(info.dtype), param["type"].get<std::string>());
    // MindSpore 2.0 writes `flag` like all 0-d values (dims [0]) but loads bools alone as [1].
    const bool quirk = info.name == "flag" && info.shape.empty() && param["shape"].size() == 1;
    if (!quirk) {
      EXPECT_EQ(nlohmann::json(info.shape), param["shape"]) << info.name;
    }
    EXPECT_EQ(sha256_hex(contents(*reader, tensor++)), param["sha256"]);
  }
  EXPECT_EQ(tensor, reader->tensors().size());
  EXPECT_EQ(text, reader->texts().size());
}

TEST(MindsporeCkptFixtures, parameters_equal_what_mindspore_saved) {
  CRIA_NEED_FIXTURES();
  const auto files = load_json(ckpt("manifest.json"))["files"];
  for (const char* name : {"crc.ckpt", "long_name.ckpt", "scalars.ckpt", "types.ckpt",
                           "v20_long_name.ckpt", "v20_scalars.ckpt", "v20_types.ckpt"})
    expect_parameters(ckpt(name), files[name]["params"]);
}

TEST(MindsporeCkptFixtures, full_checkpoints_with_optimizer_state_read) {
  CRIA_NEED_FIXTURES();
  const auto manifest = load_json(fixture("mindspore/dist/manifest.json"));
  int files = 0;
  for (const auto& group : manifest["full"]) {
    for (const auto& [name, file] : group.items()) {
      expect_parameters(fixture("mindspore/dist/" + name), file["params"]);
      ++files;
    }
  }
  EXPECT_GE(files, 3);
}

TEST(MindsporeCkptFixtures, encrypted_files_are_named_as_such) {
  CRIA_NEED_FIXTURES();
  for (const char* name : {"encrypted.ckpt", "v20_encrypted.ckpt"}) {
    const std::string message = format_error([&] { open_mindspore_ckpt(ckpt(name)); });
    EXPECT_THAT(message, testing::HasSubstr("encrypted"));
    EXPECT_THAT(message, testing::HasSubstr(name));
  }
}

TEST(MindsporeCkptFixtures, mindformers_converted_file_equals_its_safetensors) {
  CRIA_NEED_FIXTURES();
  for (const char* folder : {"mindformers-fp32", "mindformers-bf16"}) {
    const std::string base = fixture(std::string("models/tiny-llama3/") + folder);
    const auto a = open_mindspore_ckpt(base + "/converted.ckpt");
    const auto b = open_safetensors(base + "/weights.safetensors");
    ASSERT_EQ(a->tensors().size(), b->tensors().size());
    for (size_t i = 0; i < a->tensors().size(); ++i) {
      const auto j = b->find(a->tensors()[i].name);
      ASSERT_TRUE(j) << a->tensors()[i].name;
      EXPECT_EQ(a->tensors()[i], b->tensors()[*j]);
      EXPECT_EQ(contents(*a, i), contents(*b, *j));
    }
  }
}

// MindSpore's writing is deterministic: ours of the same parameters must be the same to the byte.
TEST(MindsporeCkptFixtures, writing_the_same_parameters_gives_mindspores_bytes) {
  CRIA_NEED_FIXTURES();
  const Scratch scratch;
  for (const std::string name :
       {"ckpt/crc.ckpt", "ckpt/long_name.ckpt", "dist/full_adam/rank_0/llama_full.ckpt",
        "dist/full_bf16/rank_0/llama_full.ckpt"}) {
    const std::string from = fixture("mindspore/" + name);
    const auto reader = open_mindspore_ckpt(from);
    const std::string to = scratch.path("again.ckpt");
    const auto writer =
        make_mindspore_ckpt_writer(to, reader->tensors(), {.checksum = name == "ckpt/crc.ckpt"});
    for (size_t i = 0; i < reader->tensors().size(); ++i) writer->write(contents(*reader, i));
    writer->commit();
    EXPECT_TRUE(slurp(to) == slurp(from)) << name;
  }
}

TEST(MindsporeCkpt, what_is_written_is_read_back_in_pieces_of_any_size) {
  std::mt19937 random(11);
  const Scratch scratch;
  for (int trial = 0; trial < 40; ++trial) {
    const RandomTensors tensors = random_tensors(random, trial, false);
    const std::string path = scratch.path("a.ckpt");
    const MindsporeWriteOptions options{.checksum = trial % 2 == 0,
                                        .piece_bytes = 8 * (1 + random() % 40)};
    write_in_pieces(*make_mindspore_ckpt_writer(path, tensors.infos, options), tensors, random);
    if (tensors.infos.empty()) {
      EXPECT_THROW(open_mindspore_ckpt(path), FormatError) << "a file without parameters";
      continue;
    }
    expect_equal(*open_mindspore_ckpt(path), tensors, random);
    const auto layout = parse_mindspore_ckpt(as_span(slurp(path)), path);
    EXPECT_EQ(layout.has_checksum, options.checksum);
    for (size_t i = 0; i < layout.pieces.size(); ++i) {
      const auto bytes = tensors.bytes[i].size();
      EXPECT_EQ(layout.pieces[i].size(), (bytes + options.piece_bytes - 1) / options.piece_bytes);
    }
  }
  EXPECT_EQ(scratch.entries(), 1U);
}

// The example of MindSpore 2.7.0's own bytes.
TEST(MindsporeCkpt, a_scalar_has_no_dims) {
  const Scratch scratch;
  const std::string path = scratch.path("s.ckpt");
  make_mindspore_ckpt_writer(path, {}, {.scalars = {{"loss_scale", 65536.0F}}})->commit();
  const std::string expected(
      "\x0a\x1d\x0a\x0aloss_scale\x12\x0f\x12\x07"
      "Float32\x1a\x04\x00\x00\x80\x47",
      31);
  EXPECT_EQ(slurp(path), expected);
}

TEST(MindsporeCkpt, scalars_and_texts_come_back) {
  const Scratch scratch;
  const std::string path = scratch.path("s.ckpt");
  make_mindspore_ckpt_writer(path, {},
                             {.scalars = {{"epoch_num", int64_t{-3}},
                                          {"good", true},
                                          {"lr", 0.5F},
                                          {"note", std::string("a\u4f60\U0001F999")}}})
      ->commit();
  const auto reader = open_mindspore_ckpt(path);
  ASSERT_EQ(reader->tensors().size(), 3U);
  EXPECT_EQ(reader->tensors()[0], (TensorInfo{.name = "epoch_num", .dtype = DType::i64}));
  EXPECT_EQ(reader->tensors()[1], (TensorInfo{.name = "good", .dtype = DType::boolean}));
  int64_t epoch = 0;
  reader->read(0, 0, std::as_writable_bytes(std::span(&epoch, 1)));
  EXPECT_EQ(epoch, -3);
  ASSERT_EQ(reader->texts().size(), 1U);
  EXPECT_EQ(reader->texts()[0].second, "a\u4f60\U0001F999");
}

TEST(MindsporeCkpt, what_mindspore_could_not_read_is_not_written) {
  const Scratch scratch;
  const std::string path = scratch.path("s.ckpt");
  const TensorInfo good{.name = "a", .shape = {2}}, empty{.name = "e", .shape = {0}};
  EXPECT_THROW(make_mindspore_ckpt_writer(path, {good, good}), UsageError);
  EXPECT_THROW(make_mindspore_ckpt_writer(path, {empty}), UsageError);
  EXPECT_THROW(make_mindspore_ckpt_writer(path, {good}, {.scalars = {{"a", true}}}), UsageError);
  EXPECT_THROW(
      make_mindspore_ckpt_writer(path, {{.name = "q", .dtype = DType::q4_k, .shape = {256}}}),
      UsageError);
  EXPECT_THROW(make_mindspore_ckpt_writer(path, {good})->commit(), std::logic_error);
  EXPECT_EQ(scratch.entries(), 0U);
}

}  // namespace
}  // namespace cria::test
