// Strategy files: MindSpore's own, there and back, and files that must be refused.
#include "formats/strategy_file.h"

#include "base/bytes.h"
#include "formats/json_file.h"
#include "formats/wire.h"

namespace cria::test {
namespace {

using namespace std::string_literals;

std::string varint(uint64_t value) {
  std::vector<std::byte> out;
  append_varint(out, value);
  return std::string(text_of(out));
}
std::string num(uint32_t number, int64_t value) {
  return varint(uint64_t{number} << 3) + varint(static_cast<uint64_t>(value));
}
std::string msg(uint32_t number, const std::string& content) {
  std::vector<std::byte> out;
  append_text_field(out, number, content);
  return std::string(text_of(out));
}
std::string dims(uint32_t number, std::initializer_list<int64_t> values) {
  std::string all;
  for (const int64_t v : values) all += num(1, v);
  return msg(number, all);
}
std::string shard(int64_t field = 0, int64_t step = 0, int64_t size = 0) {
  return num(5, field) + num(6, step) + num(7, size);
}
std::string layout(const std::string& name, const std::string& content) {
  return msg(3, msg(1, name) + msg(2, content));
}
std::string file(const std::string& rest) { return num(1, 1) + rest; }
std::string good(const std::string& name = "w") {
  return layout(name, dims(1, {2, 2}) + dims(2, {0, -1}) + shard());
}

StrategyFile parse(const std::string& bytes) { return parse_strategy(as_span(bytes), "s.ckpt"); }

struct Case {
  const char* claim;
  std::string bytes, message;
};

std::vector<Case> layout_cases() {
  const std::string grid = dims(1, {2, 2}), map = dims(2, {0, -1});
  return {
      {"no layout content", file(msg(3, msg(1, "w"))), "without name or content"},
      {"no parameter name", file(msg(3, msg(2, grid + map + shard()))), "without name"},
      {"an empty name", file(layout("", grid + map + shard())), "bad name"},
      {"a name that is not UTF-8", file(layout("\xff", grid + map + shard())), "bad name"},
      {"a name with a control character", file(layout("a\nb", grid + map + shard())), "s.ckpt"},
      {"a parameter twice", file(good() + good()), "appears twice"},
      {"no grid", file(layout("w", map + shard())), "without a grid"},
      {"a grid twice", file(layout("w", grid + grid + map + shard())), "comes twice"},
      {"a grid of size 0", file(layout("w", dims(1, {0}) + map + shard())), "bad size"},
      {"a negative grid", file(layout("w", dims(1, {-2}) + map + shard())), "bad size"},
      {"2^21 devices", file(layout("w", dims(1, {1 << 11, 1 << 10}) + map + shard())), "2^20"},
      {"products that overflow",
       file(layout("w", dims(1, {1 << 20, 1 << 20, 1 << 20, 1 << 20}) + map + shard())), "2^20"},
      {"17 grid dims",
       file(layout("w", dims(1, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}))),
       "too many dims"},
      {"no tensor map", file(layout("w", grid + shard())), "without a tensor map"},
      {"a map beyond the grid", file(layout("w", grid + dims(2, {2}) + shard())), "no dim"},
      {"a map below -1", file(layout("w", grid + dims(2, {-2}) + shard())), "no dim"},
      {"a grid dim used twice", file(layout("w", grid + dims(2, {0, 0}) + shard())), "splits two"},
      {"a map of 9 dims",
       file(layout("w", grid + dims(2, {-1, -1, -1, -1, -1, -1, -1, -1, -1}) + shard())), "8 dims"},
      {"9 maps", file(layout("w", grid + map + map + map + map + map + map + map + map + map)),
       "too many tensor maps"},
      {"a map entry beyond 32 bits", file(layout("w", grid + dims(2, {int64_t{1} << 40}))),
       "beyond 32 bits"},
      {"a shard size of -2", file(layout("w", grid + map + shard(0, 1, -2))), "negative optimizer"},
      {"a shard step of -1", file(layout("w", grid + map + shard(0, -1, 2))), "negative optimizer"},
      {"no shard size", file(layout("w", grid + map + num(5, 0) + num(6, 0))), "without its opt"},
      {"a grid that is a number", file(layout("w", num(1, 4))), "wrong type"},
      {"a shard size that is a message", file(layout("w", msg(7, "x"))), "wrong type"},
  };
}

std::vector<Case> file_cases() {
  return {
      {"an empty file", "", "no strategy file"},
      {"text", "hello, world", "s.ckpt"},
      {"no current_stage", good(), "no strategy file"},
      {"current_stage twice", num(1, 1) + num(1, 1), "comes twice"},
      {"current_stage beyond 32 bits", num(1, int64_t{1} << 33), "out of range"},
      {"an unknown field at the top", file(num(4, 1)), "no strategy file"},
      {"a checkpoint", msg(1, "x"), "wrong type"},
      {"a group", file("\x0b\x0c"), "unknown wire type"},
      {"a number written too long", "\x08\x81\x00"s, "longer than needed"},
      {"a message over the end", file("\x1a\x7fxx"), "does not fit"},
      {"a length of 2^31", file("\x1a\x80\x80\x80\x80\x08"), "does not fit"},
      {"an operator without stage", file(msg(2, msg(1, "op") + msg(2, ""))), "without a stage"},
      {"an operator without strategy", file(msg(2, msg(1, "op"))), "without name or strategy"},
      {"a negative split", file(msg(2, msg(1, "op") + msg(2, num(1, 0) + dims(2, {-1})))),
       "negative split"},
      {"a stage beyond all devices", file(msg(2, msg(1, "op") + msg(2, num(1, 1 << 21)))),
       "out of range"},
  };
}

TEST(StrategyFile, RefusesFilesThatAreNotSound) {
  std::vector<Case> cases = layout_cases();
  for (Case& c : file_cases()) cases.push_back(std::move(c));
  for (const Case& c : cases) {
    SCOPED_TRACE(c.claim);
    EXPECT_THAT(format_error([&] { parse(c.bytes); }), testing::HasSubstr(c.message));
  }
}

TEST(StrategyFile, CutAnywhereParsesOrIsRefused) {
  const std::string whole =
      file(msg(2, msg(1, "op") + msg(2, num(1, 0) + dims(2, {1, 2}))) + good("a") + good("b"));
  for (size_t n = 0; n < whole.size(); ++n) {
    try {
      EXPECT_LT(parse(whole.substr(0, n)).layouts.size(), 2u);
    } catch (const FormatError&) {
    }
  }
  EXPECT_EQ(parse(whole).layouts.size(), 2u);
}

TEST(StrategyFile, AcceptsUnknownFieldsAnyOrderAndPackedDims) {
  const std::string packed = msg(1, msg(1, "\x02\x03"));
  const StrategyFile got =
      parse(layout("w", shard(0, 1, -1) + msg(9, "new") + dims(2, {1}) + packed) + num(1, 7));
  EXPECT_EQ(got.current_stage, 7u);
  ASSERT_EQ(got.layouts.size(), 1u);
  EXPECT_EQ(got.layouts[0].second.dev_matrix, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(got.layouts[0].second.opt_weight_shard_size, -1);
}

TEST(StrategyFile, ReadsWhatMindSporeWroteAndWritesTheSameBytes) {
  CRIA_NEED_FIXTURES();
  const auto manifest = load_json(fixture("mindspore/dist/manifest.json"));
  int compared = 0;
  for (const auto& [name, config] : manifest["configs"].items()) {
    auto files = config["strategy_files"];
    files[config["merged"]["path"].get<std::string>()] = config["merged"];
    for (const auto& [path, expected] : files.items()) {
      SCOPED_TRACE(path);
      const std::string bytes = slurp(fixture("mindspore/dist/" + path));
      const StrategyFile got = parse(bytes);
      EXPECT_EQ(text_of(encode_strategy(got)), bytes);
      if (!expected.contains("layouts")) continue;
      ASSERT_EQ(got.layouts.size(), expected["layouts"].size());
      for (const auto& [param, layout] : got.layouts) {
        const auto& e = expected["layouts"].at(param);
        EXPECT_EQ(layout.dev_matrix, e["dev_matrix"].get<std::vector<int64_t>>());
        EXPECT_EQ(layout.tensor_map.at(0), e["tensor_map"].get<std::vector<int64_t>>());
        EXPECT_EQ(layout.opt_weight_shard_step, e["opt_weight_shard_step"].get<int>());
        EXPECT_EQ(layout.opt_weight_shard_size, e["opt_weight_shard_size"].get<int>());
        ++compared;
      }
    }
  }
  EXPECT_GT(compared, 500);
}

TEST(StrategyFile, JsonThereAndBackIsTheSame) {
  StrategyFile file;
  file.operators.push_back({.name = "MatMul_w", .stage = 1, .splits = {{1, 2}, {2}}});
  ParamLayout plain{.dev_matrix = {2, 4}, .tensor_map = {{1, -1}}, .tensor_shape = {8, 4}};
  plain.opt_weight_shard_step = 4;
  plain.opt_weight_shard_size = -1;
  file.layouts.emplace_back("w", plain);
  file.layouts.emplace_back("v", ParamLayout{.dev_matrix = {2, 4}, .tensor_map = {{1, 0}, {-1}}});
  EXPECT_EQ(parse_strategy_json(strategy_json(file), "s.json"), file);
}

TEST(StrategyFile, RefusesJsonThatIsNotSound) {
  const std::string head = R"({"current_stage":1,"parallel_strategy_item":{},)";
  const auto item = [&](const std::string& content) {
    return head + R"("parallel_layout_item":{"w":{)" + content + "}}}";
  };
  const std::string rest = R"("field":0,"opt_weight_shard_step":0,"opt_weight_shard_size":0)";
  for (const std::string& text :
       {"[]"s, "{}"s, head + "\"parallel_layout_item\":3}", item(rest),
        item(R"("dev_matrix":[2],"tensor_map":[1],)" + rest),
        item(R"("dev_matrix":[2.5],"tensor_map":[0],)" + rest),
        item(R"("dev_matrix":[99999999999],"tensor_map":[0],)" + rest),
        item(R"("dev_matrix":[18446744073709551615],"tensor_map":[0],)" + rest),
        item(R"("dev_matrix":[2],"tensor_map":["0"],)" + rest),
        item(R"("dev_matrix":[2],"tensor_map":[0])")}) {
    SCOPED_TRACE(text);
    EXPECT_THAT(format_error([&] { parse_strategy_json(text, "s.json"); }),
                testing::HasSubstr("s.json"));
  }
}

TEST(StrategyFile, SplitsOnlyNamesThatBeginWithAStage) {
  EXPECT_EQ(split_staged_name("12-model.w").stage, 12u);
  EXPECT_EQ(split_staged_name("12-model.w").name, "model.w");
  for (const char* name : {"model.w", "lora-a", "-w", "1234567-w", "1a-w"}) {
    EXPECT_EQ(split_staged_name(name).name, name);
    EXPECT_FALSE(split_staged_name(name).prefixed);
  }
}

}  // namespace
}  // namespace cria::test
