#include "checkpoint/train_checkpoint.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <random>

#include "weights_testing.h"

namespace cria::test {
namespace {

// A run's state of `step`: every tensor a function of the step, so that a mixed checkpoint shows.
struct State {
  explicit State(uint64_t step)
      : weights(random_weights(small_config(true), DType::bf16, step)),
        m(random_weights(small_config(true), DType::f32, 1000 + step)) {}
  ParamArena weights, m;
  CheckpointContent content(uint64_t step) {
    return {{{"weights", &weights}, {"adam_m", &m}}, "{\"step\":" + std::to_string(step) + "}"};
  }
};

void save(const std::string& root, uint64_t step, int keep = 5) {
  State state(step);
  CheckpointStore(root).save(static_cast<int64_t>(step), small_config(true), state.content(step),
                             keep);
}

// What loads is exactly what was saved as that step.
void expect_step(const std::string& root, uint64_t step) {
  State loaded(99);
  CheckpointContent content = loaded.content(99);
  ASSERT_EQ(load_newest_checkpoint(root, content), static_cast<int64_t>(step));
  EXPECT_EQ(content.state_json, "{\"step\":" + std::to_string(step) + "}");
  const State saved(step);
  expect_equal(loaded.weights, saved.weights);
  expect_equal(loaded.m, saved.m);
}

TEST(TrainCheckpoint, LoadsWhatWasSaved) {
  const Scratch scratch;
  save(scratch.path("run"), 10);
  save(scratch.path("run"), 20);
  EXPECT_EQ(checkpoint_steps(scratch.path("run")), (std::vector<int64_t>{10, 20}));
  expect_step(scratch.path("run"), 20);
  verify_checkpoint(checkpoint_folder(scratch.path("run"), 10));
}

TEST(TrainCheckpoint, OpensAsAHuggingFaceFolder) {
  const Scratch scratch;
  save(scratch.path("run"), 10);
  expect_equal(
      load_all(checkpoint_folder(scratch.path("run"), 10), small_config(true), DType::bf16),
      State(10).weights);
}

TEST(TrainCheckpoint, KeepsTheNewestAndNeverFewerThanTwo) {
  const Scratch scratch;
  for (const uint64_t step : {1, 2, 3, 4}) save(scratch.path("run"), step, 3);
  EXPECT_EQ(checkpoint_steps(scratch.path("run")), (std::vector<int64_t>{2, 3, 4}));
  save(scratch.path("run"), 5, 0);
  EXPECT_EQ(checkpoint_steps(scratch.path("run")), (std::vector<int64_t>{4, 5}));
}

TEST(TrainCheckpoint, ASecondWriterIsRefused) {
  const Scratch scratch;
  const CheckpointStore first(scratch.path("run"));
  try {
    const CheckpointStore second(scratch.path("run"));
    FAIL() << "two writers";
  } catch (const IoError& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("in use by another run"));
  }
}

TEST(TrainCheckpoint, ClearsWhatDeadRunsLeft) {
  const Scratch scratch;
  save(scratch.path("run"), 1);
  std::filesystem::create_directories(scratch.path("run/.tmp-step-0000000002-0badf00d"));
  spew(scratch.path("run/latest.part-00000001"), "x");
  {
    const CheckpointStore store(scratch.path("run"));
  }
  EXPECT_FALSE(std::filesystem::exists(scratch.path("run/.tmp-step-0000000002-0badf00d")));
  EXPECT_FALSE(std::filesystem::exists(scratch.path("run/latest.part-00000001")));
  expect_step(scratch.path("run"), 1);
}

TEST(TrainCheckpoint, AFolderWithoutAManifestDoesNotExist) {
  const Scratch scratch;
  save(scratch.path("run"), 1);
  save(scratch.path("run"), 2);
  std::filesystem::remove(checkpoint_folder(scratch.path("run"), 2) + "/manifest.json");
  expect_step(scratch.path("run"), 1);
}

TEST(TrainCheckpoint, OtherGroupsOrShapesAreAMismatch) {
  const Scratch scratch;
  save(scratch.path("run"), 1);
  State state(1);
  CheckpointContent content = state.content(1);
  content.groups["master_lo"] = &state.m;
  EXPECT_THROW(load_checkpoint(checkpoint_folder(scratch.path("run"), 1), content), MismatchError);
  LlamaConfig wider = small_config(true);
  wider.vocab_size = 161;
  ParamArena other(wider, DType::bf16);
  CheckpointContent wrong{{{"weights", &other}}, "{}"};
  EXPECT_THROW(load_checkpoint(checkpoint_folder(scratch.path("run"), 1), wrong), MismatchError);
}

// A bit flipped, a byte range zeroed, a file cut or extended, anywhere in any file: always found, and the older one is used.
TEST(TrainCheckpoint, AnyDamageIsFoundAndTheOlderOneLoads) {
  const Scratch scratch;
  save(scratch.path("run"), 1);
  save(scratch.path("run"), 2);
  const std::string folder = checkpoint_folder(scratch.path("run"), 2);
  std::mt19937 random(5);
  for (const std::string file :
       {"model.safetensors", "adam_m.safetensors", "config.json", "manifest.json"}) {
    const std::string path = folder + "/" + file;
    const std::string whole = slurp(path);
    for (int trial = 0; trial < 12; ++trial) {
      std::string bad = whole;
      const size_t at = random() % bad.size();
      switch (trial % 4) {
        case 0:
          bad[at] = static_cast<char>(bad[at] ^ (1 << (random() % 8)));
          break;
        case 1:
          for (size_t i = at; i < std::min(bad.size(), at + 64); ++i)
            bad[i] = static_cast<char>(~bad[i]);
          break;
        case 2:
          bad.resize(at);
          break;
        default:
          bad += "tail";
      }
      spew(path, bad);
      try {
        verify_checkpoint(folder);
        ADD_FAILURE() << file << ": damage " << trial << " at " << at << " was not found";
      } catch (const FormatError& e) {
        EXPECT_THAT(e.what(), testing::HasSubstr(file));
      }
      testing::internal::CaptureStderr();
      expect_step(scratch.path("run"), 1);
      testing::internal::GetCapturedStderr();
    }
    spew(path, whole);
  }
  expect_step(scratch.path("run"), 2);
}

TEST(TrainCheckpoint, NoneValidIsAnErrorAndNoneAtAllIsNot) {
  const Scratch scratch;
  State state(1);
  CheckpointContent content = state.content(1);
  EXPECT_EQ(load_newest_checkpoint(scratch.path("nothing"), content), std::nullopt);
  save(scratch.path("run"), 1);
  spew(checkpoint_folder(scratch.path("run"), 1) + "/model.safetensors", "short");
  EXPECT_THROW(load_newest_checkpoint(scratch.path("run"), content), MismatchError);
}

// kill -9 at a random moment while step after step is saved: the newest committed one always loads, whole.
TEST(TrainCheckpoint, AKillWhileSavingLosesNoCommittedStep) {
  const Scratch scratch;
  const std::string root = scratch.path("run");
  save(root, 1);
  std::mt19937 random(11);
  uint64_t next = 2;
  for (int trial = 0; trial < 12; ++trial) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (uint64_t step = next;; ++step) save(root, step);
    }
    usleep(1000 + random() % 60000);
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the writer ended by itself";
    const std::vector<int64_t> steps = checkpoint_steps(root);
    ASSERT_FALSE(steps.empty());
    expect_step(root, static_cast<uint64_t>(steps.back()));
    next = static_cast<uint64_t>(steps.back()) + 1;
  }
}

}  // namespace
}  // namespace cria::test
