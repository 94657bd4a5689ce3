// Checkpoints that are written while the next step runs.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "train/tiny_run.h"

namespace cria {
namespace {

namespace fs = std::filesystem;

std::string read(const std::string& path) {
  const MappedFile file(path);
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST(AsyncSave, WritesTheSameFilesAndChangesNoBit) {
  TemporaryFolder waiting, going_on;
  test::TinyRun a(DType::bf16), b(DType::bf16);
  for (test::TinyRun* run : {&a, &b}) {
    run->settings.save_every = 1;
    run->settings.keep = 100;
  }
  a.settings.checkpoint_root = waiting / "run";
  b.settings.checkpoint_root = going_on / "run";
  b.settings.async_save = true;
  a.train();
  b.train();
  EXPECT_EQ(a.bits(), b.bits());
  ASSERT_EQ(checkpoint_steps(a.settings.checkpoint_root).size(), 12U);
  EXPECT_EQ(checkpoint_steps(b.settings.checkpoint_root),
            checkpoint_steps(a.settings.checkpoint_root));
  for (const auto& entry : fs::recursive_directory_iterator(a.settings.checkpoint_root)) {
    if (!entry.is_regular_file() || entry.path().filename() == ".lock") continue;
    const std::string name = fs::relative(entry.path(), a.settings.checkpoint_root);
    EXPECT_EQ(read(join_path(b.settings.checkpoint_root, name)), read(entry.path())) << name;
  }
}

TEST(AsyncSave, TheNextStepBeginsBeforeTheCheckpointIsCommitted) {
  TemporaryFolder folder;
  test::TinyRun run;
  run.settings.checkpoint_root = folder / "run";
  run.settings.save_every = 4;
  run.settings.async_save = true;
  bool committed = true;
  run.samples.before_fill = [&](int64_t fills) {
    if (fills == 4) committed = is_folder(checkpoint_folder(run.settings.checkpoint_root, 4));
  };
  std::vector<int64_t> told;
  Trainer trainer(run.config, run.state, run.settings, run.samples, run.exec, run.log);
  trainer.run([&](int64_t batches) {
    told.push_back(batches);
    // What else is saved of this step finds its checkpoint, and the weights are still its weights.
    ParamArena saved(run.config, DType::f32);
    CheckpointContent content{{{"weights", &saved}}, ""};
    load_checkpoint(checkpoint_folder(run.settings.checkpoint_root, batches), content);
    EXPECT_EQ(std::memcmp(saved.all().data, run.state.weights.all().data, saved.size_bytes()), 0);
  });
  EXPECT_FALSE(committed);
  EXPECT_EQ(told, (std::vector<int64_t>{4, 8, 12}));
}

TEST(AsyncSave, AShareThatCannotBeWrittenEndsTheRunAndLeavesOlderOnes) {
  TemporaryFolder folder;
  test::TinyRun run;
  run.settings.checkpoint_root = folder / "run";
  run.settings.save_every = 2;
  run.settings.async_save = true;
  // The folder that the second checkpoint goes to is taken away while it is written.
  run.samples.before_fill = [&](int64_t fills) {
    if (fills != 4) return;
    for (const auto& entry : fs::directory_iterator(run.settings.checkpoint_root))
      if (entry.path().filename().string().starts_with(".tmp-step")) fs::remove_all(entry.path());
  };
  EXPECT_THROW(run.train(), IoError);
  EXPECT_EQ(checkpoint_steps(run.settings.checkpoint_root), std::vector<int64_t>{2});
  test::TinyRun again;
  again.settings.checkpoint_root = folder / "run";
  EXPECT_NO_THROW(again.train(true));
}

}  // namespace
}  // namespace cria
