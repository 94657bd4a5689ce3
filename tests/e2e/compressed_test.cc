// int4 and int8 in a folder of compressed-tensors, as a person uses them; and such folders spoilt.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "../formats/files.h"
#include "program.h"
#include "valid_files.h"

namespace cria::e2e {
namespace {

Outcome in_folder(const std::string& words, const TemporaryFolder& out) {
  return run(words_of(words, "", valid_files(), out.path()));
}

// tiny/ has rows of 64 and 192.
TEST(Compressed, QuantizeWritesAFolderThatEveryCommandReads) {
  const TemporaryFolder out = TemporaryFolder::in_memory();
  for (const char* type : {"int4", "int8"}) {
    const std::string folder = std::string("{o}/") + type;
    const std::string quantize =
        fmt::format("quantize --model {{i}}/tiny --type {} --output {}", type, folder);
    const Outcome got = in_folder(quantize, out);
    ASSERT_EQ(got.exit, 0) << got.err;
    EXPECT_THAT(got.out, testing::HasSubstr("bits a weight, relative error"));
    EXPECT_THAT(in_folder("inspect " + folder, out).out,
                testing::HasSubstr(std::string(type == std::string("int4") ? "INT4" : "INT8") +
                                   "_G64 [64, 192]"));
    EXPECT_EQ(
        in_folder("generate --model " + folder + " --token_ids 1,2 --max_new_tokens 2", out).exit,
        0);
    EXPECT_EQ(in_folder("verify " + folder, out).exit, 0);
    EXPECT_EQ(
        in_folder(fmt::format("convert --input {} --output {{o}}/{}.gguf", folder, type), out).exit,
        0);
    EXPECT_EQ(in_folder(quantize, out).exit, 2) << "the output is there";
    EXPECT_EQ(in_folder(quantize + " --overwrite --group 32", out).exit, 0);
  }
}

TEST(Compressed, WhatQuantizeDoesNotWriteIsABadCommand) {
  const TemporaryFolder out = TemporaryFolder::in_memory();
  const std::pair<const char*, const char*> cases[] = {
      {"--type int4 --group 128", "try: --group 64"},
      {"--type int4 --group 48", "expected 32, 64 or 128"},
      {"--type q4_0 --group 32", "--group goes with --type int4 or int8"},
      {"--type int4 --embedding q8_0", "--embedding is q8_0, expected bf16, f16 or f32"},
      {"--type int8 --head int8_g32", "--head is int8_g32, expected bf16, f16 or f32"},
      {"--type int4_g128", "try: --type int4 --group 128"},
      {"--type q4_0 --embedding int4_g32", "is no type of a GGUF"},
  };
  for (const auto& [flags, message] : cases) {
    const Outcome got =
        in_folder(std::string("quantize --model {i}/tiny --output {o}/y ") + flags, out);
    EXPECT_EQ(got.exit, 2) << flags;
    EXPECT_THAT(got.err, testing::HasSubstr(message));
    EXPECT_FALSE(std::filesystem::exists(out / "y")) << flags;
  }
}

TEST(Compressed, SpoiltFoldersAreRefusedInOneLine) {
  const TemporaryFolder out = TemporaryFolder::in_memory();
  ASSERT_EQ(in_folder("quantize --model {i}/tiny --type int4 --output {o}/m", out).exit, 0);
  const auto config = nlohmann::json::parse(test::slurp(out / "m/config.json"));
  const std::string weights = "/quantization_config/config_groups/group_0/weights";
  struct Case {
    std::string path;
    nlohmann::json value;
    int exit;
    const char* message;
  };
  const Case cases[] = {
      {weights + "/num_bits", 5, 3, "num_bits"},
      {weights + "/num_bits", 8, 3, "is like no group of the config"},
      {weights + "/group_size", 32, 3, "is like no group of the config"},
      {weights + "/strategy", "block", 3, "strategy"},
      {weights + "/actorder", "group", 3, "actorder"},
      {weights + "/symmetric", false, 3, "zero points"},
      {"/quantization_config/config_groups/group_0/format", "marlin-24", 3, "marlin-24"},
      {"/quantization_config/quant_method", "awq", 2, "awq"},
  };
  for (const Case& c : cases) {
    auto spoilt = config;
    spoilt[nlohmann::json::json_pointer(c.path)] = c.value;
    test::spew(out / "m/config.json", spoilt.dump());
    for (const char* words : {"generate --model {o}/m --token_ids 1", "inspect {o}/m",
                              "convert --input {o}/m --output {o}/y"}) {
      const Outcome got = in_folder(words, out);
      EXPECT_EQ(got.exit, c.exit) << words << ", " << c.path << ": " << got.err;
      EXPECT_THAT(got.err, testing::HasSubstr(c.message)) << words;
      EXPECT_EQ(std::ranges::count(got.err, '\n'), 1) << got.err;
    }
  }
}

}  // namespace
}  // namespace cria::e2e
