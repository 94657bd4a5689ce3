#include "recipe/yaml.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "base/temporary_folder.h"

namespace cria::recipe {
namespace {

using Kind = YamlNode::Kind;

TEST(YamlScalar, hasPyYamlsTypes) {
  const std::pair<const char*, Kind> cases[] = {
      {"", Kind::null},         {"~", Kind::null},        {"null", Kind::null},
      {"NULL", Kind::null},     {"nULL", Kind::text},     {"None", Kind::text},
      {"yes", Kind::boolean},   {"Off", Kind::boolean},   {"TRUE", Kind::boolean},
      {"tRue", Kind::text},     {"y", Kind::text},        {"12", Kind::integer},
      {"-7", Kind::integer},    {"0x1F", Kind::integer},  {"0b101", Kind::integer},
      {"010", Kind::integer},   {"1_000", Kind::integer}, {"1:30", Kind::integer},
      {"08", Kind::number},     {"1.e-8", Kind::number},  {"1.0e5", Kind::number},
      {"1e-5", Kind::number},   {".5", Kind::number},     {"-.inf", Kind::number},
      {".NaN", Kind::number},   {"1.2.3", Kind::text},    {"58GB", Kind::text},
      {"./output", Kind::text}, {"-", Kind::text},        {"+", Kind::text},
      {".", Kind::text},        {"0x", Kind::text},       {"inf", Kind::text},
      {"nan", Kind::text},      {"1:99", Kind::text},     {"1e", Kind::text},
  };
  for (const auto& [text, kind] : cases) EXPECT_EQ(plain_scalar(text).kind, kind) << text;
  EXPECT_EQ(plain_scalar("010").integer, 8);
  EXPECT_EQ(plain_scalar("0x1F").integer, 31);
  EXPECT_EQ(plain_scalar("1_000").integer, 1000);
  EXPECT_EQ(plain_scalar("1:30").integer, 90);
  EXPECT_EQ(plain_scalar("-7").integer, -7);
  EXPECT_EQ(plain_scalar("1e-5").number, 1e-5);
  EXPECT_EQ(plain_scalar("1.e-8").number, 1e-8);
  EXPECT_TRUE(std::isnan(plain_scalar(".nan").number));
  EXPECT_TRUE(plain_scalar("on").boolean);
  EXPECT_FALSE(plain_scalar("no").boolean);
}

TEST(Yaml, expandsAnchorsAndMergesWithOwnKeysFirst) {
  const YamlNode n = parse_yaml(
      "a: &x {p: 1, q: 2}\nb: *x\nc: {<<: *x, q: 3}\nd: {<<: [{p: 5}, *x], r: 1}\n", "t");
  EXPECT_EQ(n.find("b")->find("q")->integer, 2);
  EXPECT_EQ(n.find("c")->find("p")->integer, 1);
  EXPECT_EQ(n.find("c")->find("q")->integer, 3);
  EXPECT_EQ(n.find("d")->find("p")->integer, 5);
  EXPECT_EQ(n.find("d")->find("q")->integer, 2);
}

TEST(Yaml, quotedWordsAreText) {
  const YamlNode n = parse_yaml("a: \"None\"\nb: 'yes'\nc: \"1\"\nd: !!str 1\ne: !!float 1", "t");
  for (const char* key : {"a", "b", "c", "d"}) EXPECT_EQ(n.find(key)->kind, Kind::text) << key;
  EXPECT_EQ(n.find("e")->kind, Kind::number);
}

TEST(Yaml, refusesHostileFilesWithOneError) {
  std::string deep(40, '['), laughs = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n";
  for (int i = 1; i < 9; ++i) {
    laughs += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int k = 0; k < 10; ++k) laughs += "*a" + std::to_string(i - 1) + ",";
    laughs += "1]\n";
  }
  std::string deep_alias =
      "a: &a [[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]\nb: [[[[[[[[[[[[[[*a]]]]]]]]]]]]]]\n";
  const std::string cases[] = {"a: 1\na: 2",
                               "a: &a [*a]",
                               "a: *b",
                               "a: {x: 1, x: 2}",
                               "a: !!python/object:os.system x",
                               "a: !mine 1",
                               "a: !!int x",
                               "a: !!binary abc",
                               "? [1]\n: 2",
                               "? {a: 1}\n: 2",
                               "<<: 1",
                               "<<: [1]",
                               "a: [1",
                               "a: {1",
                               "a: 'x",
                               "a: \"x",
                               "a: \"\\q\"",
                               "--- 1\n--- 2",
                               "a: 1\n b: 2",
                               "a:\n\t- 1",
                               "a: b: c",
                               "%YAML 9.9\n---\na: 1",
                               "\xff",
                               std::string("a: \0b", 5),
                               "a: [*x]",
                               deep,
                               laughs,
                               deep_alias,
                               std::string((1 << 20) + 1, ' '),
                               "- 1\na: 2",
                               "a: @x",
                               "a: `x"};
  for (const std::string& text : cases) {
    if (text.starts_with("%YAML")) continue;
    EXPECT_THROW(parse_yaml(text, "t.yaml"), FormatError) << text.substr(0, 60);
  }
}

TEST(Yaml, namesLineAndColumn) {
  try {
    parse_yaml("a: 1\nb:\n  c: 1\n  c: 2\n", "t.yaml");
    FAIL();
  } catch (const FormatError& e) {
    EXPECT_NE(std::string(e.what()).find("t.yaml line 4 col 3"), std::string::npos) << e.what();
  }
}

TEST(YamlConfig, baseConfigLiesUnderneath) {
  TemporaryFolder folder;
  write_file(folder / "base.yaml", "a: {x: 1, y: 2}\nl: [1, 2]\n");
  write_file(folder / "top.yaml", "base_config: base.yaml\na: {y: 3}\nl: [9]\n");
  const YamlNode n = load_config(folder / "top.yaml");
  EXPECT_EQ(n.find("a")->find("x")->integer, 1);
  EXPECT_EQ(n.find("a")->find("y")->integer, 3);
  EXPECT_EQ(n.find("l")->items.size(), 1U);
  write_file(folder / "loop.yaml", "base_config: ./loop.yaml\n");
  EXPECT_THROW(load_config(folder / "loop.yaml"), UsageError);
}

}  // namespace
}  // namespace cria::recipe
