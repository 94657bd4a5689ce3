// Checkpoints of several ranks: whatever layout saved, whatever layout loads, every element arrives.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <random>

#include "base/sha256.h"
#include "base/temporary_folder.h"
#include "checkpoint/agreement.h"
#include "checkpoint/checkpoint_files.h"
#include "checkpoint/manifest.h"
#include "checkpoint/train_checkpoint.h"
#include "layouts_testing.h"

namespace cria::test {
namespace {

using Body = std::function<void(Groups&, RankState&)>;
void run_layout(const LlamaConfig& config, const Layout& layout, const Body& body) {
  run_as_threads(layout.ranks(), [&](Transport& transport) {
    const RankGrid grid = grid_of(layout, transport.rank());
    Groups groups(transport, grid,
                  {.deadline = std::chrono::seconds(60), .checked = layout.ranks() <= 4});
    RankState state(config, layout, grid);
    body(groups, state);
  });
}

void save_layout(const std::string& root, const LlamaConfig& config, const Layout& layout,
                 int64_t step) {
  run_layout(config, layout, [&](Groups& groups, RankState& state) {
    const auto seed = static_cast<uint64_t>(step);
    fill(state.weights, seed);
    fill(state.m, seed + 1000);
    fill(state.low, seed + 2000);
    CheckpointStore store(root, groups);
    const std::string folder = store.save(step, config, state.content(), 5);
    EXPECT_EQ(folder, checkpoint_folder(root, step));
  });
}

void expect_loads(const std::string& root, const LlamaConfig& config, const Layout& layout,
                  int64_t step) {
  std::mutex mutex;
  run_layout(config, layout, [&](Groups& groups, RankState& state) {
    CheckpointContent content = state.content();
    content.state_json = "{}";
    const auto found = load_newest_checkpoint(root, content, groups.world);
    const std::lock_guard lock(mutex);
    EXPECT_EQ(found, step);
    EXPECT_EQ(content.state_json, R"({"batches_done":7})");
    const auto seed = static_cast<uint64_t>(step);
    EXPECT_EQ(count_wrong(state.weights, seed), 0) << "rank " << groups.grid.rank;
    EXPECT_EQ(count_wrong(state.m, seed + 1000), 0) << "rank " << groups.grid.rank;
    EXPECT_EQ(count_wrong(state.low, seed + 2000), 0) << "rank " << groups.grid.rank;
  });
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.push_back(entry.path().filename());
  std::ranges::sort(names);
  return names;
}

/// Whether the model is tied, and the layout that saves.
using Saved = std::pair<bool, size_t>;
class ShardedCheckpoint : public testing::TestWithParam<Saved> {};

TEST_P(ShardedCheckpoint, LoadsInEveryLayoutAndOpensAsWholeWeights) {
  const auto [tied, saved] = GetParam();
  const TemporaryFolder scratch = TemporaryFolder::in_memory();
  const LlamaConfig config = rig_config(tied);
  save_layout(scratch / "run", config, layouts()[saved], 7);
  verify_checkpoint(checkpoint_folder(scratch / "run", 7));
  for (const Layout& layout : layouts()) {
    SCOPED_TRACE("loaded as " + layout.name);
    expect_loads(scratch / "run", config, layout, 7);
  }
  EXPECT_EQ(count_wrong(load_all(checkpoint_folder(scratch / "run", 7), config, DType::bf16), 7),
            0);
}

// A tied table differs from others where there are stages: the last has a copy.
std::vector<Saved> saved_layouts() {
  std::vector<Saved> out;
  for (size_t i = 0; i < layouts().size(); ++i) {
    out.emplace_back(false, i);
    if (i == 0 || layouts()[i].pp > 1) out.emplace_back(true, i);
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(Layouts, ShardedCheckpoint, testing::ValuesIn(saved_layouts()),
                         [](const auto& layout) {
                           return layouts()[layout.param.second].name +
                                  (layout.param.first ? "_tied" : "");
                         });

TEST(ShardedCheckpointFiles, OneRanksFolderIsAPlainModel) {
  const TemporaryFolder scratch = TemporaryFolder::in_memory();
  save_layout(scratch / "run", rig_config(true), layouts()[0], 1);
  EXPECT_EQ(names_in(checkpoint_folder(scratch / "run", 1)),
            (std::vector<std::string>{"adam_m.safetensors", "config.json", "manifest.json",
                                      "master_lo.safetensors", "model.safetensors"}));
}

// Copies on data-parallel ranks are written once; a file's number counts the ranks that write.
TEST(ShardedCheckpointFiles, EachBoxIsWrittenOnceAndFilesAreNumbered) {
  const TemporaryFolder scratch = TemporaryFolder::in_memory();
  save_layout(scratch / "run", rig_config(false), layouts()[9], 1);  // dp2_tp2_shard
  EXPECT_EQ(names_in(checkpoint_folder(scratch / "run", 1)),
            (std::vector<std::string>{
                "adam_m-00001-of-00004.safetensors", "adam_m-00002-of-00004.safetensors",
                "adam_m-00003-of-00004.safetensors", "adam_m-00004-of-00004.safetensors",
                "config.json", "manifest.json", "master_lo-00001-of-00004.safetensors",
                "master_lo-00002-of-00004.safetensors", "master_lo-00003-of-00004.safetensors",
                "master_lo-00004-of-00004.safetensors", "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors"}));
  const CheckpointFiles files(checkpoint_folder(scratch / "run", 1));
  const StoredTensor& wo =
      files.manifest().groups.at("weights").at("model.layers.1.self_attn.o_proj.weight");
  ASSERT_EQ(wo.boxes.size(), 2u);
  EXPECT_EQ(wo.boxes[1].begin, (std::vector<int64_t>{0, 24}));
  EXPECT_EQ(wo.boxes[1].size, (std::vector<int64_t>{48, 24}));
  const StoredTensor& m =
      files.manifest().groups.at("adam_m").at("model.layers.1.self_attn.q_proj.weight");
  ASSERT_EQ(m.boxes.size(), 4u);
  EXPECT_EQ(m.boxes[3].begin, (std::vector<int64_t>{36, 0}));  // dp 1, tp 1
}

TEST(ShardedCheckpointFiles, ACheckpointOfVersion1StillLoads) {
  const TemporaryFolder scratch = TemporaryFolder::in_memory();
  const LlamaConfig config = rig_config(true);
  save_layout(scratch / "run", config, layouts()[0], 3);
  const std::string path = checkpoint_folder(scratch / "run", 3) + "/manifest.json";
  // The text of version 1 differs in its groups alone.
  std::string text = slurp(path);
  const size_t head = std::string(R"({"sum":"","manifest":)").size() + 64;
  std::string body = text.substr(head, text.size() - head - 2);
  body.replace(body.find(R"("version":2)"), 11, R"("version":1)");
  const size_t from = body.find(R"("groups":)"), to = body.find(R"(,"block_bytes")");
  body.replace(from, to - from,
               R"("groups":{"adam_m":"adam_m.safetensors","master_lo":"master_lo.safetensors",)"
               R"("weights":"model.safetensors"})");
  spew(path, R"({"sum":")" + sha256_hex(std::as_bytes(std::span(body))) + R"(","manifest":)" +
                 body + "}\n");
  verify_checkpoint(checkpoint_folder(scratch / "run", 3));
  expect_loads(scratch / "run", config, layouts()[0], 3);
  expect_loads(scratch / "run", config, layouts()[9], 3);
}

TEST(ShardedCheckpointFiles, DamageThatOneRankAloneReadsSendsAllToTheOlderStep) {
  const TemporaryFolder scratch = TemporaryFolder::in_memory();
  const LlamaConfig config = rig_config(false);
  const Layout& pp2 = layouts()[6];
  save_layout(scratch / "run", config, pp2, 1);
  save_layout(scratch / "run", config, pp2, 2);
  const std::string file =
      checkpoint_folder(scratch / "run", 2) + "/adam_m-00002-of-00002.safetensors";
  std::string bytes = slurp(file);
  bytes[bytes.size() - 5] = static_cast<char>(bytes[bytes.size() - 5] ^ 1);
  spew(file, bytes);
  testing::internal::CaptureStderr();
  expect_loads(scratch / "run", config, pp2, 1);
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              testing::HasSubstr("adam_m-00002-of-00002.safetensors"));
  std::filesystem::remove(file);
  testing::internal::CaptureStderr();
  expect_loads(scratch / "run", config, layouts()[0], 1);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::HasSubstr("the file is missing"));
}

TEST(ShardedCheckpointFiles, AMissingBoxIsNamed) {
  Manifest m;
  m.groups["adam_m"]["model.norm.weight"] = {DType::f32, {8}, {{{0}, {4}, "a"}, {{6}, {2}, "b"}}};
  try {
    check_boxes(m, "manifest.json");
    FAIL() << "half a tensor passed";
  } catch (const MismatchError& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("\"adam_m.model.norm.weight\" hold 6 of its 8"));
  }
  m.groups["adam_m"]["model.norm.weight"].boxes[1] = {{3}, {4}, "b"};
  EXPECT_THROW(check_boxes(m, "manifest.json"), FormatError);
}

// Against the plain comparison of all pairs, on random boxes of a small tensor.
TEST(ShardedCheckpointFiles, BoxesThatMeetAreAlwaysFound) {
  std::mt19937 random(3);
  int met = 0;
  for (int trial = 0; trial < 3000; ++trial) {
    StoredTensor t{DType::f32, {9, 9}, {}};
    std::vector<Rect> rects;
    for (int n = 0; n < 4; ++n) {
      const int64_t row = random() % 8, col = random() % 8;
      const int64_t rows = 1 + random() % 3 % (9 - row), cols = 1 + random() % 3 % (9 - col);
      t.boxes.push_back({{row, col}, {std::min(rows, 9 - row), std::min(cols, 9 - col)}, "f"});
      rects.push_back(rect_of(t.boxes.back().begin, t.boxes.back().size));
    }
    bool meet = false;
    for (size_t i = 0; i < rects.size(); ++i)
      for (size_t j = 0; j < i; ++j) meet |= common_part(rects[i], rects[j]).elements() > 0;
    met += meet;
    Manifest m;
    m.groups["weights"]["w"] = t;
    // None of them covers all 81 elements: apart is a mismatch, meeting a broken file.
    if (meet) {
      EXPECT_THROW(check_boxes(m, "manifest.json"), FormatError);
    } else {
      EXPECT_THROW(check_boxes(m, "manifest.json"), MismatchError);
    }
  }
  EXPECT_GT(met, 500);
  EXPECT_LT(met, 2500);
}

TEST(ShardedCheckpointFiles, ALongListOfBoxesIsCheckedQuickly) {
  StoredTensor t{DType::f32, {300000}, {}};
  for (int64_t i = 0; i < 300000; ++i) t.boxes.push_back({{i}, {1}, "f"});
  Manifest m;
  m.groups["weights"]["w"] = t;
  EXPECT_NO_THROW(check_boxes(m, "manifest.json"));
}

/// Every rank's exception, or "" where it returned.
std::vector<std::string> failures_of(const LlamaConfig& config, const Layout& layout,
                                     const Body& body) {
  std::vector<std::string> out(static_cast<size_t>(layout.ranks()));
  run_layout(config, layout, [&](Groups& groups, RankState& state) {
    try {
      body(groups, state);
    } catch (const IoError& e) {
      out[static_cast<size_t>(groups.grid.rank)] = fmt::format("IoError {}", e.what());
    } catch (const Error& e) {
      out[static_cast<size_t>(groups.grid.rank)] = e.what();
    }
  });
  return out;
}

// A limit on the size of files that only the second stage's exceed, as a full disk would.
TEST(ShardedCheckpointFiles, ARankThatCannotWriteFailsAllAndLeavesNothing) {
  const TemporaryFolder scratch = TemporaryFolder::in_memory();
  const LlamaConfig config = rig_config(true);
  const Layout& pp2 = layouts()[6];
  save_layout(scratch / "run", config, pp2, 1);
  const std::string folder = checkpoint_folder(scratch / "run", 1);
  const auto first = std::filesystem::file_size(folder + "/adam_m-00001-of-00002.safetensors");
  const auto second = std::filesystem::file_size(folder + "/adam_m-00002-of-00002.safetensors");
  ASSERT_LT(first, second);
  struct rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit limit = {(first + second) / 2, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  const auto failures = failures_of(config, pp2, [&](Groups& groups, RankState& state) {
    CheckpointStore(scratch / "run", groups).save(2, config, state.content(), 5);
  });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(failures[0], testing::StartsWith("IoError rank 1: "));
  EXPECT_THAT(failures[1], testing::StartsWith("IoError "));
  EXPECT_THAT(failures[1], testing::HasSubstr("-00002-of-00002.safetensors"));
  EXPECT_EQ(names_in(scratch / "run"),
            (std::vector<std::string>{".lock", "latest", "step-0000000001"}));
  expect_loads(scratch / "run", config, pp2, 1);
}

TEST(ShardedCheckpointFiles, RanksThatDoNotFitTogetherCommitNothing) {
  const TemporaryFolder scratch = TemporaryFolder::in_memory();
  const LlamaConfig config = rig_config(true);
  LlamaConfig other = config;
  other.vocab_size = 144;
  const Layout& tp2 = layouts()[4];
  const auto failures = failures_of(config, tp2, [&](Groups& groups, RankState& state) {
    RankState wrong(groups.grid.rank == 1 ? other : config, tp2, groups.grid);
    ModelPart second = wrong.weights.part();
    if (groups.grid.rank == 1) second.tp_index = 0;  // the same slice twice
    ParamArena m(config, DType::f32, second);
    CheckpointContent content = state.content();
    content.groups["adam_m"] = &m;
    CheckpointStore(scratch / "run", groups).save(2, config, content, 5);
  });
  EXPECT_THAT(failures[0], testing::HasSubstr("lie over each other"));
  EXPECT_THAT(failures[1], testing::StartsWith("rank 0: "));
  EXPECT_EQ(names_in(scratch / "run"), (std::vector<std::string>{".lock"}));
}

TEST(ShardedCheckpointFiles, ASecondRunIsRefusedOnAllRanks) {
  const TemporaryFolder scratch = TemporaryFolder::in_memory();
  const CheckpointStore first(scratch / "run");
  const auto failures = failures_of(
      rig_config(true), layouts()[1],
      [&](Groups& groups, RankState&) { const CheckpointStore second(scratch / "run", groups); });
  EXPECT_THAT(failures[0], testing::HasSubstr("in use by another run"));
  EXPECT_THAT(failures[1], testing::StartsWith("IoError rank 0: "));
}

// kill -9 of all ranks at a random moment while they save step after step: the newest committed step loads, in another layout too.
TEST(ShardedCheckpointFiles, AKillWhileRanksSaveLosesNoCommittedStep) {
  const TemporaryFolder scratch = TemporaryFolder::in_memory();
  const std::string root = scratch / "run";
  const LlamaConfig config = rig_config(true);
  const auto start = std::chrono::steady_clock::now();
  save_layout(root, config, layouts()[9], 1);
  const std::chrono::duration<double, std::micro> one_save =
      std::chrono::steady_clock::now() - start;
  const auto window = static_cast<uint32_t>(6 * one_save.count());
  const char* const asked = std::getenv("CRIA_TEST_KILLS");
  const int kills = asked == nullptr ? 8 : std::atoi(asked);
  std::mt19937 random(12);
  int64_t next = 2;
  for (int trial = 0; trial < kills; ++trial) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (int64_t step = next;; ++step) save_layout(root, config, layouts()[9], step);
    }
    usleep(random() % window);
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the writers ended by themselves";
    const std::vector<int64_t> steps = checkpoint_steps(root);
    ASSERT_FALSE(steps.empty());
    expect_loads(root, config, layouts()[trial % 2 == 0 ? 9 : 6], steps.back());
    next = steps.back() + 1;
  }
  EXPECT_GT(next, 2);
  EXPECT_GT(kills, 0);
}

TEST(Agreement, TextsAreGatheredInOrderAndShared) {
  run_layout(rig_config(true), layouts()[3], [&](Groups& groups, RankState&) {
    const int rank = groups.world.rank();
    Comm reports(groups.shared, "reports", groups.grid.all_ranks(), kReportsChannel);
    const auto texts = gather_texts(reports, std::string(static_cast<size_t>(rank), 'x'));
    EXPECT_EQ(texts.size(), rank == 0 ? 4u : 0u);
    for (size_t r = 0; r < texts.size(); ++r) EXPECT_EQ(texts[r], std::string(r, 'x'));
    EXPECT_EQ(share_text(groups.world, rank == 2 ? "from two" : "", 2), "from two");
    EXPECT_EQ(share_text(groups.world, ""), "");
  });
}

}  // namespace
}  // namespace cria::test
