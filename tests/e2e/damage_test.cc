// Damage made by hand where each format is most easily believed, through the commands.
#include <nlohmann/json.hpp>

#include "formats/files.h"
#include "refused.h"

namespace cria::e2e {
namespace {

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  if (at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

std::string little_endian(uint64_t value, size_t bytes = 8) {
  std::string text;
  for (size_t i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
  return text;
}

// Bytes at `at` overwritten.
std::string with(std::string bytes, size_t at, const std::string& patch) {
  EXPECT_LE(at + patch.size(), bytes.size());
  return bytes.replace(at, patch.size(), patch);
}

// A file with this header and `data` bytes behind it.
std::string safetensors(const std::string& header, size_t data) {
  return little_endian(header.size()) + header + std::string(data, '\1');
}

using Spoil = std::function<std::string(const std::string& good)>;
struct Damage {
  const char* name;
  Spoil spoil;
  int exit = 3;
};
void PrintTo(const Damage& d, std::ostream* out) { *out << d.name; }

struct Place {
  const char* good;                // of the valid files
  std::vector<const char*> words;  // commands that read it as {x}
};

void expect_all_refused(const Place& place, const Damage& damage) {
  const TemporaryFolder folder = TemporaryFolder::in_memory();
  const std::string path = folder / place.good;
  test::spew(path, damage.spoil(test::slurp(valid_files() + "/" + place.good)));
  for (const char* words : place.words) expect_refused(words, damage.exit, path);
}

class DamagedSafetensors : public testing::TestWithParam<Damage> {};
TEST_P(DamagedSafetensors, IsRefused) {
  expect_all_refused(
      {"tiny.safetensors",
       {"inspect {x}", "convert --input {x} --output {o}/y.ckpt --config {i}/config.json"}},
      GetParam());
}
const auto one = [](const std::string& entry) {
  return [entry](const std::string&) { return safetensors("{" + entry + "}", 8); };
};
INSTANTIATE_TEST_SUITE_P(
    Headers, DamagedSafetensors,
    testing::Values(
        Damage{"length_beyond_the_file",
               [](auto& g) { return with(g, 0, little_endian(g.size())); }},
        Damage{"length_of_2_to_63", [](auto& g) { return with(g, 0, little_endian(1ULL << 63)); }},
        Damage{"length_of_all_ones", [](auto& g) { return with(g, 0, little_endian(~0ULL)); }},
        Damage{"length_that_wraps_with_8",
               [](auto& g) { return with(g, 0, little_endian(~7ULL)); }},
        Damage{"length_0", [](auto& g) { return with(g, 0, little_endian(0)); }},
        Damage{
            "same_name_twice",
            one(R"("a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]})")},
        Damage{"same_key_twice",
               one(R"("a":{"dtype":"U8","dtype":"I8","shape":[8],"data_offsets":[0,8]})")},
        Damage{
            "overlap",
            one(R"("a":{"dtype":"U8","shape":[6],"data_offsets":[0,6]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]})")},
        Damage{
            "hole",
            one(R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]})")},
        Damage{"tail", one(R"("a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})")},
        Damage{"beyond_the_end", one(R"("a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]})")},
        Damage{"negative_offset", one(R"("a":{"dtype":"U8","shape":[8],"data_offsets":[-8,0]})")},
        Damage{"offsets_reversed", one(R"("a":{"dtype":"U8","shape":[8],"data_offsets":[8,0]})")},
        Damage{"offset_of_2_to_64",
               one(R"("a":{"dtype":"U8","shape":[8],"data_offsets":[0,18446744073709551616]})")},
        Damage{"offset_as_fraction",
               one(R"("a":{"dtype":"U8","shape":[8],"data_offsets":[0,8.0]})")},
        Damage{"negative_dim", one(R"("a":{"dtype":"U8","shape":[-8],"data_offsets":[0,8]})")},
        Damage{
            "product_that_wraps",
            one(R"("a":{"dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,8]})")},
        Damage{"product_that_wraps_to_its_size",
               one(R"("a":{"dtype":"F64","shape":[2305843009213693953],"data_offsets":[0,8]})")},
        Damage{"shape_of_another_size",
               one(R"("a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]})")},
        Damage{"rank_9",
               one(R"("a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,8],"data_offsets":[0,8]})")},
        Damage{"unknown_dtype", one(R"("a":{"dtype":"F99","shape":[8],"data_offsets":[0,8]})")},
        Damage{"missing_shape", one(R"("a":{"dtype":"U8","data_offsets":[0,8]})")},
        Damage{"unknown_key", one(R"("a":{"dtype":"U8","shape":[8],"data_offsets":[0,8],"x":1})")},
        Damage{
            "metadata_of_numbers",
            one(R"("__metadata__":{"a":1},"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]})")},
        Damage{"name_with_a_control_character",
               one("\"a\\u0001\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}")},
        Damage{"name_of_broken_utf8",
               one("\"a\xff\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}")},
        Damage{"empty_name", one(R"("":{"dtype":"U8","shape":[8],"data_offsets":[0,8]})")},
        Damage{"a_list", [](auto&) { return safetensors("[]", 0); }},
        Damage{"deep", [](auto&) { return safetensors("{\"a\":" + std::string(100000, '['), 8); }},
        Damage{"bytes_behind", [](auto& g) { return g + "x"; }}),
    [](const auto& of) { return std::string(of.param.name); });

class DamagedIndex : public testing::TestWithParam<Damage> {};
TEST_P(DamagedIndex, IsRefused) {
  const TemporaryFolder folder = TemporaryFolder::in_memory();
  std::filesystem::copy_file(valid_files() + "/tiny.safetensors", folder / "tiny.safetensors");
  std::filesystem::copy_file(valid_files() + "/config.json", folder / "config.json");
  const std::string path = folder / "model.safetensors.index.json";
  test::spew(path, GetParam().spoil(test::slurp(valid_files() + "/tiny.safetensors.index.json")));
  for (const char* words : {"inspect {x}", "convert --input {x} --output {o}/y.ckpt"})
    expect_refused(words, GetParam().exit, path);
}
INSTANTIATE_TEST_SUITE_P(
    Shards, DamagedIndex,
    testing::Values(
        Damage{
            "a_shard_outside",
            [](auto& g) { return replaced(g, "\"tiny.safetensors\"", "\"../tiny.safetensors\""); }},
        Damage{"a_shard_with_a_folder",
               [](auto& g) { return replaced(g, "\"tiny.safetensors\"", "\"/etc/passwd\""); }},
        Damage{"a_shard_that_is_not_there",
               [](auto& g) { return replaced(g, "\"tiny.safetensors\"", "\"none.safetensors\""); },
               4},
        Damage{"a_name_that_no_shard_has",
               [](auto& g) { return replaced(g, "model.norm.weight", "model.norm.wait"); }},
        Damage{
            "a_name_twice",
            [](auto& g) { return replaced(g, "model.norm.weight", "model.embed_tokens.weight"); }},
        Damage{"no_map", [](auto& g) { return replaced(g, "weight_map", "weight_mop"); }},
        Damage{"a_number_for_a_shard",
               [](auto& g) { return replaced(g, "\"tiny.safetensors\"", "7"); }}),
    [](const auto& of) { return std::string(of.param.name); });

class DamagedGguf : public testing::TestWithParam<Damage> {};
TEST_P(DamagedGguf, IsRefused) {
  expect_all_refused(
      {"tiny.gguf",
       {"inspect {x}", "convert --input {x} --output {o}/y", "generate --model {x} --token_ids 1"}},
      GetParam());
}
// magic 0, version 4, tensors 8, keys 16, first key's length 24.
INSTANTIATE_TEST_SUITE_P(
    Headers, DamagedGguf,
    testing::Values(
        Damage{"magic", [](auto& g) { return with(g, 0, "GGML"); }},
        Damage{"version_1", [](auto& g) { return with(g, 4, little_endian(1, 4)); }},
        Damage{"version_99", [](auto& g) { return with(g, 4, little_endian(99, 4)); }},
        Damage{"big_endian", [](auto& g) { return with(g, 4, std::string("\0\0\0\3", 4)); }},
        Damage{"tensors_of_all_ones", [](auto& g) { return with(g, 8, little_endian(~0ULL)); }},
        Damage{"tensors_of_2_to_63", [](auto& g) { return with(g, 8, little_endian(1ULL << 63)); }},
        Damage{
            "one_tensor_more",
            [](auto& g) { return with(g, 8, little_endian(static_cast<uint8_t>(g[8]) + 1ULL)); }},
        Damage{
            "one_tensor_fewer",
            [](auto& g) { return with(g, 8, little_endian(static_cast<uint8_t>(g[8]) - 1ULL)); }},
        Damage{"keys_of_all_ones", [](auto& g) { return with(g, 16, little_endian(~0ULL)); }},
        Damage{"keys_of_2_to_32", [](auto& g) { return with(g, 16, little_endian(1ULL << 32)); }},
        Damage{
            "one_key_more",
            [](auto& g) { return with(g, 16, little_endian(static_cast<uint8_t>(g[16]) + 1ULL)); }},
        Damage{"key_length_of_all_ones", [](auto& g) { return with(g, 24, little_endian(~0ULL)); }},
        Damage{"key_length_0", [](auto& g) { return with(g, 24, little_endian(0)); }},
        Damage{"an_alignment_of_3",
               [](auto& g) {
                 const std::string key = "general.alignment";
                 const std::string entry =
                     little_endian(key.size()) + key + little_endian(4, 4) + little_endian(3, 4);
                 return with(g, 16, little_endian(static_cast<uint8_t>(g[16]) + 1ULL))
                     .insert(24, entry);
               }},
        Damage{"a_key_twice",
               [](auto& g) {
                 const std::string key = "general.architecture";
                 const std::string entry = little_endian(key.size()) + key + little_endian(8, 4) +
                                           little_endian(5) + "llama";
                 return with(g, 16, little_endian(static_cast<uint8_t>(g[16]) + 1ULL))
                     .insert(24, entry);
               }},
        Damage{"a_list_of_lists",
               [](auto& g) {
                 const std::string entry = little_endian(1) + "k" + little_endian(9, 4) +
                                           little_endian(9, 4) + little_endian(1);
                 return with(g, 16, little_endian(static_cast<uint8_t>(g[16]) + 1ULL))
                     .insert(24, entry);
               }},
        Damage{"a_type_99",
               [](auto& g) {
                 const std::string entry = little_endian(1) + "k" + little_endian(99, 4);
                 return with(g, 16, little_endian(static_cast<uint8_t>(g[16]) + 1ULL))
                     .insert(24, entry);
               }},
        Damage{"a_list_of_2_to_62",
               [](auto& g) {
                 const std::string entry = little_endian(1) + "k" + little_endian(9, 4) +
                                           little_endian(4, 4) + little_endian(1ULL << 62);
                 return with(g, 16, little_endian(static_cast<uint8_t>(g[16]) + 1ULL))
                     .insert(24, entry);
               }},
        Damage{"a_bool_of_2",
               [](auto& g) {
                 const std::string entry = little_endian(1) + "k" + little_endian(7, 4) + "\2";
                 return with(g, 16, little_endian(static_cast<uint8_t>(g[16]) + 1ULL))
                     .insert(24, entry);
               }}),
    [](const auto& of) { return std::string(of.param.name); });

class DamagedConfig : public testing::TestWithParam<Damage> {};
TEST_P(DamagedConfig, IsRefused) {
  expect_all_refused({"config.json",
                      {"convert --input {i}/tiny.ckpt --output {o}/y --config {x}",
                       "generate --model {i}/tiny.ckpt --token_ids 1 --config {x}"}},
                     GetParam());
}
INSTANTIATE_TEST_SUITE_P(
    Numbers, DamagedConfig,
    testing::Values(
        Damage{"hidden_0",
               [](auto& g) { return replaced(g, "\"hidden_size\": 64", "\"hidden_size\": 0"); }, 2},
        Damage{"hidden_below_0",
               [](auto& g) { return replaced(g, "\"hidden_size\": 64", "\"hidden_size\": -64"); },
               2},
        Damage{"hidden_of_2_to_70",
               [](auto& g) {
                 return replaced(g, "\"hidden_size\": 64",
                                 "\"hidden_size\": 1180591620717411303424");
               }},
        Damage{
            "hidden_as_text",
            [](auto& g) { return replaced(g, "\"hidden_size\": 64", "\"hidden_size\": \"64\""); }},
        Damage{"hidden_twice",
               [](auto& g) {
                 return replaced(g, "\"hidden_size\": 64",
                                 "\"hidden_size\": 64, \"hidden_size\": 64");
               }},
        Damage{"kv_heads_that_do_not_divide",
               [](auto& g) {
                 return replaced(g, "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3");
               },
               2},
        Damage{"layers_of_a_million",
               [](auto& g) {
                 return replaced(g, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1000000");
               },
               2},
        Damage{"vocabulary_too_small",
               [](auto& g) { return replaced(g, "\"vocab_size\": 512", "\"vocab_size\": 500"); },
               9},
        Damage{"another_layer",
               [](auto& g) {
                 return replaced(g, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
               },
               9},
        Damage{"no_hidden_size",
               [](auto& g) { return replaced(g, "\"hidden_size\"", "\"hidden_sighs\""); }},
        Damage{"nan",
               [](auto& g) { return replaced(g, "\"hidden_size\": 64", "\"hidden_size\": NaN"); }},
        Damage{"a_comma_too_many",
               [](auto& g) { return replaced(g, "\"hidden_size\": 64", "\"hidden_size\": 64,"); }},
        Damage{"a_list", [](auto&) { return std::string("[]"); }},
        Damage{"another_architecture",
               [](auto& g) {
                 return replaced(g, "\"model_type\": \"llama\"", "\"model_type\": \"bert\"");
               },
               2}),
    [](const auto& of) { return std::string(of.param.name); });

class DamagedTokens : public testing::TestWithParam<Damage> {};
TEST_P(DamagedTokens, AreRefused) {
  expect_all_refused({"tok.model",
                      {"tokenize --vocab_file {x} --input {i}/texts.jsonl --output {o}/y",
                       "preprocess --dataset_type qa --input_glob {i}/conversations.json "
                       "--model_file {x} --output_file {o}/y.mindrecord"}},
                     GetParam());
}
INSTANTIATE_TEST_SUITE_P(
    Ranks, DamagedTokens,
    testing::Values(Damage{"a_gap", [](auto& g) { return replaced(g, " 7\n", " 9\n"); }},
                    Damage{"below_0", [](auto& g) { return replaced(g, " 7\n", " -7\n"); }},
                    Damage{"of_2_to_64",
                           [](auto& g) { return replaced(g, " 7\n", " 18446744073709551616\n"); }},
                    Damage{"a_token_twice", [](auto& g) { return g + "AA== 256\n"; }},
                    Damage{"bad_base64", [](auto& g) { return replaced(g, "AA== 0", "A*== 0"); }},
                    Damage{"a_byte_missing",
                           [](auto& g) { return replaced(g, "AA== 0", "AAA= 0"); }},
                    Damage{"three_words", [](auto& g) { return replaced(g, " 7\n", " 7 8\n"); }},
                    Damage{"an_empty_token", [](auto& g) { return g + " 256\n"; }}),
    [](const auto& of) { return std::string(of.param.name); });

class DamagedData : public testing::TestWithParam<Damage> {};
TEST_P(DamagedData, IsRefused) {
  const char* finetune =
      "finetune --model {i}/tiny --vocab_file {i}/tok.model --seq_length 512 --batch_size 1 "
      "--output {o}/y --data {x}";
  expect_all_refused(
      {"alpaca.json", {"alpaca-convert --data_path {x} --output_path {o}/y", finetune}},
      GetParam());
}
INSTANTIATE_TEST_SUITE_P(
    Records, DamagedData,
    testing::Values(
        Damage{"no_output",
               [](auto& g) { return replaced(g, "\"output\": \"3\"", "\"outprt\": \"3\""); }},
        Damage{"a_number",
               [](auto& g) { return replaced(g, "\"output\": \"3\"", "\"output\": 3"); }},
        Damage{"a_key_twice",
               [](auto& g) {
                 return replaced(g, "\"output\": \"3\"", "\"output\": \"3\", \"output\": \"4\"");
               }},
        Damage{"half_a_pair", [](auto& g) { return replaced(g, "Add.", "\\ud800"); }},
        Damage{"broken_utf8", [](auto& g) { return replaced(g, "Add.", "\xc3("); }},
        Damage{"a_raw_newline", [](auto& g) { return replaced(g, "Add.", "A\nd"); }},
        Damage{"no_end", [](auto& g) { return g.substr(0, g.size() - 1); }},
        Damage{"a_second_value", [](auto& g) { return g + "[]"; }},
        Damage{"deep", [](auto&) { return std::string(100000, '['); }}),
    [](const auto& of) { return std::string(of.param.name); });

// Cut after its first byte, within its header, in the middle, before its last two bytes.
class CutShort : public testing::TestWithParam<const char*> {};
TEST_P(CutShort, IsRefused) {
  const std::string words = GetParam();
  const std::string good = words.substr(0, words.find(' '));
  const std::string bytes = test::slurp(valid_files() + "/" + good);
  const TemporaryFolder folder = TemporaryFolder::in_memory();
  for (const size_t size : {size_t{1}, size_t{7}, size_t{8}, size_t{23}, size_t{100},
                            bytes.size() / 4, bytes.size() / 4 * 3, bytes.size() - 2}) {
    test::spew(folder / good, bytes.substr(0, size));
    SCOPED_TRACE(size);
    expect_refused(words.substr(good.size() + 1), 3, folder / good);
  }
}
INSTANTIATE_TEST_SUITE_P(
    Files, CutShort,
    testing::Values(
        "tiny.safetensors convert --input {x} --config {i}/config.json --output {o}/y.ckpt",
        "tiny.gguf convert --input {x} --output {o}/y",
        "tiny.ckpt convert --input {x} --config {i}/config.json --output {o}/y",
        "tiny.bin convert --input {x} --config {i}/config.json --output {o}/y",
        "tiny.pth convert --input {x} --config {i}/config.json --output {o}/y",
        "rows.mindrecord run_llama3 --config {i}/run.yaml --train_data {x}",
        "config.json convert --input {i}/tiny.ckpt --config {x} --output {o}/y",
        "conversations.json preprocess --dataset_type qa --model_file {i}/tok.model --input_glob "
        "{x} --output_file {o}/y.mindrecord",
        "rows.mindrecord inspect {x} --row 1 --vocab_file {i}/tok.model"));

// Meta's folder: params.json beside its shards.
class MetaFolder : public testing::TestWithParam<Damage> {};
TEST_P(MetaFolder, WithBadParamsIsRefused) {
  CRIA_NEED_FIXTURES();
  const TemporaryFolder folder = TemporaryFolder::in_memory();
  std::filesystem::copy(test::fixture("models/tiny-llama3/meta-bf16"), folder / "m");
  std::filesystem::permissions(folder / "m/params.json", std::filesystem::perms::owner_all);
  const std::string spoilt = GetParam().spoil(test::slurp(folder / "m/params.json"));
  std::filesystem::remove(folder / "m/params.json");
  if (spoilt != "missing") test::spew(folder / "m/params.json", spoilt);
  for (const char* words : {"convert --input {x} --output {o}/y",
                            "probe --model {x} --input {i}/probe.safetensors --output {o}/y"})
    expect_refused(words, GetParam().exit, folder / "m");
}
std::string with_param(const std::string& good, const std::string& key, const std::string& value) {
  nlohmann::json params = nlohmann::json::parse(good);
  params[key] = nlohmann::json::parse(value);
  return params.dump();
}
const auto param = [](const char* key, const char* value) {
  return [=](const std::string& good) { return with_param(good, key, value); };
};
INSTANTIATE_TEST_SUITE_P(
    Params, MetaFolder,
    testing::Values(Damage{"missing", [](auto&) { return std::string("missing"); }, 2},
                    Damage{"empty", [](auto&) { return std::string(); }},
                    Damage{"half", [](auto& g) { return g.substr(0, g.size() / 2); }},
                    Damage{"a_list", [](auto&) { return std::string("[1]"); }},
                    Damage{"a_key_twice",
                           [](auto& g) { return replaced(g, "{", "{\"dim\": 64, "); }},
                    Damage{"heads_0", param("n_heads", "0")},
                    Damage{"dim_below_0", param("dim", "-64"), 2},
                    Damage{"dim_as_text", param("dim", "\"64\"")},
                    Damage{"layers_of_a_million", param("n_layers", "1000000"), 2},
                    Damage{"kv_heads_3", param("n_kv_heads", "3"), 2},
                    Damage{"one_layer_more", param("n_layers", "99"), 9},
                    Damage{"vocabulary_of_7", param("vocab_size", "7"), 9},
                    Damage{"multiplier_below_0", param("ffn_dim_multiplier", "-1"), 2},
                    Damage{"multiplier_of_1e300", param("ffn_dim_multiplier", "1e300"), 2},
                    Damage{"multiple_of_0", param("multiple_of", "0"), 2},
                    Damage{"eps_0", param("norm_eps", "0.0"), 2},
                    Damage{"theta_below_0", param("rope_theta", "-1.0"), 2}),
    [](const auto& of) { return std::string(of.param.name); });

TEST(MetaShards, MissingOnesAreRefused) {
  CRIA_NEED_FIXTURES();
  const TemporaryFolder folder = TemporaryFolder::in_memory();
  std::filesystem::copy(test::fixture("models/tiny-llama3/meta-bf16"), folder / "m");
  std::filesystem::copy_file(folder / "m/consolidated.00.pth", folder / "m/consolidated.02.pth");
  expect_refused("convert --input {x} --output {o}/y", 3, folder / "m");
  std::filesystem::remove(folder / "m/consolidated.00.pth");
  std::filesystem::remove(folder / "m/consolidated.02.pth");
  expect_refused("convert --input {x} --output {o}/y", 2, folder / "m");
}

}  // namespace
}  // namespace cria::e2e
