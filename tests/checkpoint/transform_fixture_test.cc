// Transforms that MindSpore made, byte for byte.
#include <fmt/format.h>

#include "base/sha256.h"
#include "checkpoint/transform_testing.h"
#include "formats/json_file.h"

namespace cria::test {
namespace {

std::string dist(const std::string& path) { return fixture("mindspore/dist/" + path); }

nlohmann::json manifest() { return load_json(dist("manifest.json")); }

std::string file_hash(const std::string& path) { return sha256_hex(as_span(slurp(path))); }

// Name to hash of contents, type and shape, which do not depend on the order in the file.
std::map<std::string, std::string> contents(const std::string& path) {
  const auto reader = open_mindspore_ckpt(path);
  std::map<std::string, std::string> out;
  for (size_t i = 0; i < reader->tensors().size(); ++i) {
    const TensorInfo& t = reader->tensors()[i];
    out[t.name] = fmt::format("{} [{}] {}", mindspore_type_name(t.dtype), fmt::join(t.shape, ","),
                              sha256_hex(reader->mapped(i)));
  }
  return out;
}
std::map<std::string, std::string> contents(const nlohmann::json& file) {
  std::map<std::string, std::string> out;
  for (const auto& p : file["params"])
    out[p["name"]] = fmt::format("{} [{}] {}", p["type"].get<std::string>(),
                                 fmt::join(p["shape"].get<std::vector<int64_t>>(), ","),
                                 p["sha256"].get<std::string>());
  return out;
}

// Our files against MindSpore's. `same_order`: MindSpore began with another stage where its source
// had several, so that only contents can be compared there.
void expect_files(const std::string& folder, const nlohmann::json& expected, bool same_order) {
  ASSERT_EQ(tree(folder).size(), expected.size());
  for (const auto& [path, file] : expected.items()) {
    SCOPED_TRACE(path);
    const std::string ours = folder + path.substr(path.find("/rank_"));
    if (same_order) {
      EXPECT_EQ(file_hash(ours), file["sha256_file"].get<std::string>());
    }
    EXPECT_EQ(contents(ours), contents(file));
  }
}

TEST(TransformFixtures, EveryConfigurationIsCutAndJoinedAsByMindSpore) {
  CRIA_NEED_FIXTURES();
  const auto all = manifest();
  for (const auto& [name, config] : all["configs"].items()) {
    SCOPED_TRACE(name);
    const Scratch scratch;
    const std::string full = dist(config["full"].get<std::string>());
    const std::string merged = dist(name + "/merged.ckpt");
    relay(full, "", scratch.path("dist"), merged, 2);
    expect_files(scratch.path("dist"), config["dist"], true);
    relay(scratch.path("dist"), merged, scratch.path("back"), "None", 2);
    expect_files(scratch.path("back"), config["back"], config["pp"] == 1);
    EXPECT_EQ(contents(scratch.path("back/rank_0/llama_0.ckpt")), contents(full));
  }
}

TEST(TransformFixtures, FoldersAndSingleFilesOfStrategiesServeAsWell) {
  CRIA_NEED_FIXTURES();
  const auto all = manifest();
  for (const auto& [name, config] : all["configs"].items()) {
    SCOPED_TRACE(name);
    const Scratch scratch;
    const std::string full = parent_folder(parent_folder(dist(config["full"])));
    relay(full, "None", scratch.path("folder"), dist(name + "/strategy"));
    expect_files(scratch.path("folder"), config["dist"], true);
    if (config["pp"] != 1) continue;
    relay(full, "", scratch.path("file"), dist(name + "/strategy/ckpt_strategy_rank_0.ckpt"));
    expect_files(scratch.path("file"), config["dist"], true);
  }
}

TEST(TransformFixtures, EveryPairIsRelaidAsByMindSpore) {
  CRIA_NEED_FIXTURES();
  const auto all = manifest();
  for (const auto& [pair, expected] : all["pairs"].items()) {
    SCOPED_TRACE(pair);
    const std::string from = pair.substr(0, pair.find(':')), to = pair.substr(pair.find(':') + 1);
    const Scratch scratch;
    relay(dist(from + "/dist"), dist(from + "/merged.ckpt"), scratch.path("out"),
          dist(to + "/merged.ckpt"));
    expect_files(scratch.path("out"), expected, all["configs"][from]["pp"] == 1);
  }
}

}  // namespace
}  // namespace cria::test
