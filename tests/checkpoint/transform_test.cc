// Transforms over made-up layouts: there and back is the same file; and what must be refused.
#include <fmt/format.h>

#include "base/file.h"
#include "checkpoint/strategy.h"
#include "checkpoint/transform_testing.h"

namespace cria::test {
namespace {

const std::vector<TensorInfo> kNetwork = {
    {.name = "embedding", .dtype = DType::bf16, .shape = {32, 24}},
    {.name = "global_step", .dtype = DType::i32, .shape = {1}},
    {.name = "norm", .dtype = DType::f32, .shape = {16}},
    {.name = "w1", .dtype = DType::f16, .shape = {48, 16}},
    {.name = "w2", .dtype = DType::f32, .shape = {16, 48}},
    {.name = "cube", .dtype = DType::i8, .shape = {16, 8, 16}},
    {.name = "adam_m.w2", .dtype = DType::f32, .shape = {16, 48}},
};

// The same rule for every parameter of a shape: a layout per number of dims.
StrategyFile network(uint32_t stages, const ParamLayout& vector, const ParamLayout& matrix,
                     const ParamLayout& cube) {
  std::vector<std::pair<std::string, ParamLayout>> layouts;
  uint32_t next = 0;
  for (const TensorInfo& t : kNetwork) {
    if (t.name == "global_step") continue;
    layouts.emplace_back(fmt::format("{}-{}", next++ % stages, t.name), t.shape.size() == 1 ? vector
                                                                        : t.shape.size() == 2
                                                                            ? matrix
                                                                            : cube);
  }
  return make_strategy(stages, std::move(layouts));
}

std::vector<std::pair<std::string, StrategyFile>> layouts() {
  const auto l = make_layout;
  return {
      {"dp2",
       network(1, l({2}, {{-1}}, 0, 0), l({2}, {{-1, -1}}, 0, 0), l({2}, {{-1, -1, -1}}, 0, 0))},
      {"mp4",
       network(1, l({4}, {{0}}, 0, 0), l({4}, {{0, -1}}, 0, 0), l({4}, {{-1, 0, -1}}, 0, 0))},
      {"dp2mp2", network(1, l({2, 2}, {{-1}}, 0, 0), l({2, 2}, {{-1, 0}}, 0, 0),
                         l({2, 2}, {{-1, -1, 0}}, 0, 0))},
      {"dp4 sharded",
       network(1, l({4}, {{-1}}, 1, -1), l({4}, {{-1, -1}}, 1, -1), l({4}, {{-1, -1, -1}}, 1, 2))},
      {"dp2mp2 sharded", network(1, l({2, 2}, {{-1}}, 1, -1), l({2, 2}, {{0, -1}}, 2, -1),
                                 l({2, 2}, {{-1, 1, 0}}, 0, 0))},
      {"pp2mp2",
       network(2, l({2}, {{0}}, 0, 0), l({2}, {{-1, 0}}, 0, 0), l({2}, {{-1, 0, -1}}, 0, 0))},
      {"pp2dp2mp2 sharded", network(2, l({2, 2}, {{-1}}, 1, -1), l({2, 2}, {{-1, 0}}, 2, -1),
                                    l({2, 2}, {{0, -1, 1}}, 0, 0))},
      {"several grid dims", network(1, l({2, 4}, {{1, 0}}, 0, 0), l({2, 4}, {{0, 1}, {-1}}, 0, 0),
                                    l({2, 2, 2}, {{2}, {0, 1}, {-1}}, 0, 0))},
  };
}

class Transforms : public testing::Test {
 protected:
  Transforms() {
    make_folders(at("full"));
    save_random(at("full/whole.ckpt"), kNetwork, 5, {{"loss_scale", 65536.0f}, {"note", "¡cría!"}});
    relay(at("full/whole.ckpt"), "", at("plain"), "");
  }
  [[nodiscard]] std::string at(const std::string& name) const { return scratch_.path(name); }
  const Scratch scratch_;
};

std::map<std::string, std::string> by_name(const std::string& path) {
  const auto reader = open_mindspore_ckpt(path);
  std::map<std::string, std::string> out;
  for (size_t i = 0; i < reader->tensors().size(); ++i) {
    const TensorInfo& t = reader->tensors()[i];
    out[t.name] = fmt::format("{} {} {}", name_of(t.dtype), fmt::join(t.shape, ","),
                              text_of(reader->mapped(i)));
  }
  for (const auto& [name, text] : reader->texts()) out[name] = text;
  return out;
}

TEST_F(Transforms, ThereAndBackGivesTheSameParametersOverEightLayouts) {
  const auto original = by_name(at("full/whole.ckpt"));
  EXPECT_EQ(original.size(), kNetwork.size() + 2);
  for (const auto& [name, strategy] : layouts()) {
    SCOPED_TRACE(name);
    save_strategy(at(name + ".ckpt"), strategy);
    relay(at("full/whole.ckpt"), "", at(name), at(name + ".ckpt"), 3);
    relay(at(name), at(name + ".ckpt"), at(name + " back"), "None");
    EXPECT_EQ(by_name(at(name + " back/rank_0/llama_0.ckpt")), original);
    EXPECT_EQ(tree(at(name)).size(), static_cast<size_t>(strategy_of(strategy, "s").ranks()));
  }
}

TEST_F(Transforms, FromAnyLayoutToAnyOtherIsAsFromTheWholeFile) {
  const auto all = layouts();
  for (const auto& [name, strategy] : all) {
    save_strategy(at(name + ".ckpt"), strategy);
    relay(at("full/whole.ckpt"), "", at(name), at(name + ".ckpt"));
  }
  for (const auto& [from, a] : all) {
    for (const auto& [to, b] : all) {
      SCOPED_TRACE(fmt::format("{} to {}", from, to));
      const std::string out = at(from + " to " + to);
      relay(at(from), at(from + ".ckpt"), out, at(to + ".ckpt"));
      const auto got = tree(out), expected = tree(at(to));
      ASSERT_EQ(got.size(), expected.size());
      for (const auto& [path, bytes] : expected)
        EXPECT_EQ(by_name(out + "/" + path), by_name(at(to + "/" + path)));
      std::filesystem::remove_all(out);
    }
  }
}

TEST_F(Transforms, ThreadsDoNotChangeABit) {
  const auto [name, strategy] = layouts().back();
  save_strategy(at("s.ckpt"), strategy);
  relay(at("plain"), "", at("one"), at("s.ckpt"), 1);
  relay(at("plain"), "", at("many"), at("s.ckpt"), 5);
  EXPECT_EQ(tree(at("one")), tree(at("many")));
}

TEST_F(Transforms, TensorsOfSeveralPiecesAndSlabsArriveWhole) {
  // 9 MiB: three slabs; in the source, pieces of 1000003 bytes that no row ends with.
  const std::vector<TensorInfo> big = {{.name = "w", .dtype = DType::f32, .shape = {2304, 1024}}};
  save_random(at("pieces.ckpt"), big, 3, {}, 1000003);
  save_random(at("whole.ckpt"), big, 3);
  save_strategy(at("s.ckpt"), make_strategy(1, {{"w", make_layout({2, 2}, {{1, 0}})}}));
  relay(at("pieces.ckpt"), "", at("cut"), at("s.ckpt"));
  relay(at("cut"), at("s.ckpt"), at("back"), "");
  EXPECT_EQ(slurp(at("back/rank_0/llama_0.ckpt")), slurp(at("whole.ckpt")));
}

TEST_F(Transforms, UnlistedGoesToEveryRankAndOtherStagesAreDropped) {
  save_strategy(at("s.ckpt"), make_strategy(2, {{"0-w1", make_layout({1}, {{-1, -1}})},
                                                {"1-w2", make_layout({1}, {{-1, -1}})},
                                                {"0-norm", make_layout({1}, {{-1}})},
                                                {"1-norm", make_layout({1}, {{-1}})}}));
  relay(at("full/whole.ckpt"), "", at("out"), at("s.ckpt"));
  const auto names = [&](const std::string& path) {
    std::vector<std::string> out;
    const auto reader = open_mindspore_ckpt(at(path));
    for (const TensorInfo& t : reader->tensors()) out.push_back(t.name);
    return out;
  };
  EXPECT_THAT(names("out/rank_0/llama_0.ckpt"),
              testing::ElementsAre("norm", "w1", "embedding", "global_step", "cube", "adam_m.w2",
                                   "loss_scale"));
  EXPECT_THAT(names("out/rank_1/llama_1.ckpt"),
              testing::ElementsAre("norm", "w2", "embedding", "global_step", "cube", "adam_m.w2",
                                   "loss_scale"));
}

TEST_F(Transforms, TheLastFileOfARankFolderCounts) {
  std::filesystem::copy(at("plain"), at("two"), std::filesystem::copy_options::recursive);
  spew(at("two/rank_0/a.ckpt"), "not a checkpoint");
  relay(at("two"), "", at("out"), "");
  EXPECT_EQ(tree(at("out")), tree(at("plain")));
}

// The failure of a transform: its code and message, with nothing left at the destination.
void expect_failure(ExitCode code, const std::string& message, const std::string& src,
                    const std::string& from, const std::string& dst, const std::string& to) {
  try {
    relay(src, from, dst, to);
    ADD_FAILURE() << "expected a failure with: " << message;
  } catch (const Error& e) {
    EXPECT_EQ(e.code, code) << e.what();
    EXPECT_THAT(e.what(), testing::HasSubstr(message));
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos);
  }
  EXPECT_FALSE(std::filesystem::exists(dst));
}

TEST_F(Transforms, RefusesStrategiesThatDoNotFit) {
  const auto refuse = [&](ExitCode code, const std::string& message, const StrategyFile& strategy) {
    save_strategy(at("bad.ckpt"), strategy);
    expect_failure(code, message, at("plain"), "", at("new/out"), at("bad.ckpt"));
    EXPECT_FALSE(is_folder(at("new")));
  };
  const auto whole = make_layout({1}, {{-1, -1}});
  refuse(ExitCode::mismatch, "none of the parameters", make_strategy(1, {{"other", whole}}));
  refuse(ExitCode::mismatch, "32 elements along dim 0",
         make_strategy(1, {{"embedding", make_layout({5}, {{0, -1}})}}));
  refuse(ExitCode::mismatch, "is for 1 dims", make_strategy(1, {{"w1", make_layout({2}, {{0}})}}));
  refuse(ExitCode::mismatch, "stage 1 is missing",
         make_strategy(1, {{"0-w1", whole}, {"2-w2", whole}}));
  refuse(ExitCode::mismatch, "another on 3",
         make_strategy(
             1, {{"w1", make_layout({2}, {{-1, -1}})}, {"w2", make_layout({3}, {{-1, -1}})}}));
  refuse(ExitCode::format, "no layouts", make_strategy(1, {}));
  refuse(ExitCode::format, "twice in stage 0", make_strategy(1, {{"0-w1", whole}, {"w1", whole}}));
  StrategyFile later = make_strategy(1, {{"w1", whole}});
  later.operators[0].stage = 1;
  refuse(ExitCode::mismatch, "pipeline stage 1 alone", later);
}

TEST_F(Transforms, RefusesSourcesThatDoNotFit) {
  const auto save_mp = [&](int64_t n, const std::string& name) {
    save_strategy(at(name), make_strategy(1, {{"w1", make_layout({n}, {{0, -1}})}}));
  };
  save_mp(2, "mp2.ckpt");
  save_mp(3, "mp3.ckpt");
  save_mp(4, "mp4.ckpt");
  relay(at("plain"), "", at("cut"), at("mp2.ckpt"));
  expect_failure(ExitCode::mismatch, "from 2 to 3 devices", at("cut"), at("mp2.ckpt"), at("out"),
                 at("mp3.ckpt"));
  expect_failure(ExitCode::mismatch, "no folder rank_2", at("cut"), at("mp4.ckpt"), at("out"), "");
  expect_failure(ExitCode::mismatch, "a folder rank_1", at("cut"), "", at("out"), at("mp2.ckpt"));
  expect_failure(ExitCode::mismatch, "one file, but", at("full/whole.ckpt"), at("mp2.ckpt"),
                 at("out"), "");
  expect_failure(ExitCode::io, "no such file", at("nowhere"), "", at("out"), "");
  expect_failure(ExitCode::io, "nowhere", at("cut"), at("nowhere"), at("out"), "");
  std::filesystem::remove(at("cut/rank_1/llama_1.ckpt"));
  expect_failure(ExitCode::mismatch, "no .ckpt file", at("cut"), at("mp2.ckpt"), at("out"), "");
  save_random(at("cut/rank_1/x.ckpt"), {{.name = "w1", .dtype = DType::f16, .shape = {12, 16}}});
  expect_failure(ExitCode::mismatch, "in rank 0 it is F16 [24, 16]", at("cut"), at("mp2.ckpt"),
                 at("out"), "");
  save_random(at("cut/rank_1/x.ckpt"), {{.name = "w2", .dtype = DType::f16, .shape = {12, 16}}});
  expect_failure(ExitCode::mismatch, "\"w1\" is missing", at("cut"), at("mp2.ckpt"), at("out"), "");
  spew(at("cut/rank_1/x.ckpt"), "garbage");
  expect_failure(ExitCode::format, "x.ckpt at byte 0", at("cut"), at("mp2.ckpt"), at("out"), "");
  EXPECT_THROW(relay(at("plain"), "", at("plain"), ""), UsageError);
}

TEST_F(Transforms, MergesOneFilePerStage) {
  const auto whole = make_layout({1}, {{-1, -1}});
  StrategyFile zero = make_strategy(1, {{"w1", whole}}), one = make_strategy(1, {{"w2", whole}});
  one.operators[0].stage = 1;
  const StrategyFile merged = merge_strategies({{"c", one}, {"a", zero}, {"b", one}});
  ASSERT_EQ(merged.layouts.size(), 2u);
  EXPECT_EQ(merged.layouts[0].first, "1-w2");
  EXPECT_EQ(merged.layouts[1].first, "0-w1");
  EXPECT_EQ(merged.current_stage, 1u);
  one.operators.clear();
  EXPECT_THROW(merge_strategies({{"c", one}}), FormatError);
  EXPECT_THROW(merge_strategies({{"c", make_strategy(1, {})}}), FormatError);
}

}  // namespace
}  // namespace cria::test
