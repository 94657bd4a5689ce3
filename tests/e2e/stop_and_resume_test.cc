// A training run stopped from outside, by a signal or by force, and started again.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <random>
#include <thread>

#include "checkpoint/train_checkpoint.h"
#include "formats/files.h"
#include "program.h"
#include "recipe/tiny_recipe.h"

namespace cria::e2e {
namespace {

using testing::HasSubstr;

// 48 steps of a fraction of a millisecond, each saved.
class Training : public testing::Test {
 protected:
  Training() {
    std::string config = test::kTinyRecipe;
    config.replace(config.find("steps: 2\n    keep"), 8, "steps: 1");
    test::spew(folder_ / "c.yaml", config);
    test::write_tiny_records(folder_ / "d.mindrecord");
  }
  [[nodiscard]] Program start(const std::string& name, const std::string& more = {}) const {
    std::filesystem::create_directories(folder_ / name);
    return Program(words_of("run_llama3 --config {i}/c.yaml --train_data {i}/d.mindrecord "
                            "--runner_config.epochs 12 --threads 2 " +
                                more,
                            "", folder_.path(), ""),
                   folder_ / name);
  }
  [[nodiscard]] std::string native(const std::string& name) const {
    return folder_ / (name + "/output/checkpoint/rank_0/native");
  }
  [[nodiscard]] std::vector<int64_t> steps(const std::string& name) const {
    return is_folder(native(name)) ? checkpoint_steps(native(name)) : std::vector<int64_t>();
  }
  // Every file the run leaves but its log, with its bytes; of the native checkpoints the last one's tensors.
  [[nodiscard]] std::map<std::string, std::string> results(const std::string& name) const {
    std::map<std::string, std::string> files;
    const std::string root = folder_ / (name + "/output");
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
      const std::string path = entry.path().string().substr(root.size());
      if (!entry.is_regular_file() || path.starts_with("/log/")) continue;
      const bool of_native = path.find("/native/") != std::string::npos;
      if (of_native &&
          (path.find("step-0000000048/") == std::string::npos || !path.ends_with(".safetensors")))
        continue;
      files[path] = test::slurp(entry.path().string());
    }
    return files;
  }
  void expect_same_results(const std::string& name) const {
    const auto whole = results("whole"), other = results(name);
    EXPECT_EQ(whole.size(), 4U + 2 * 3 + 3 + 1)
        << "weights, low bits, moments; three .ckpt with sums; the network, its sums and note; "
           "meta.json";
    for (const auto& [path, bytes] : whole) {
      ASSERT_TRUE(other.contains(path)) << name << path;
      EXPECT_TRUE(other.at(path) == bytes) << name << path;
    }
    EXPECT_EQ(other.size(), whole.size());
  }
  void finish_whole() const {
    const Outcome whole = start("whole").wait();
    ASSERT_EQ(whole.exit, 0) << whole.err;
  }
  const TemporaryFolder folder_ = TemporaryFolder::in_memory();
};

void sleep_ms(int64_t ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

TEST_F(Training, ASignalSavesExits75AndTheNextRunGoesOnBitForBit) {
  finish_whole();
  for (const auto& [number, name] : {std::pair(SIGTERM, "term"), std::pair(SIGINT, "int")}) {
    Program program = start(name);
    while (program.out().find("step:[") == std::string::npos) sleep_ms(1);
    program.signal(number);
    const Outcome stopped = program.wait();
    ASSERT_EQ(stopped.exit, 75) << stopped.err;
    EXPECT_EQ(stopped.err, "");
    EXPECT_THAT(stopped.out, HasSubstr("Stopped by a signal after step"));
    ASSERT_FALSE(steps(name).empty());
    EXPECT_THAT(stopped.out,
                HasSubstr(fmt::format("Stopped by a signal after step {};", steps(name).back())));
    const Outcome finished = start(name, "--resume True").wait();
    ASSERT_EQ(finished.exit, 0) << finished.err;
    expect_same_results(name);
  }
}

TEST_F(Training, Usr1SavesAndTheRunGoesOn) {
  finish_whole();
  Program program = start("usr1", "--max_steps 48");
  while (program.out().find("step:[") == std::string::npos) sleep_ms(1);
  for (int i = 0; i < 5; ++i) {
    program.signal(SIGUSR1);
    sleep_ms(7);
  }
  const Outcome finished = program.wait();
  ASSERT_EQ(finished.exit, 0) << finished.err;
  EXPECT_EQ(steps("usr1").back(), 48);
}

// Killed at random moments: while it starts, computes, saves. Whatever was committed is gone on from.
TEST_F(Training, KilledAgainAndAgainItEndsWithTheSameBits) {
  finish_whole();
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(start("timed").wait().exit, 0);
  const auto whole_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                            std::chrono::steady_clock::now() - begin)
                            .count();
  std::mt19937 random(3);
  size_t kills = 0, resumed = 0;
  for (int trial = 0; trial < 3; ++trial) {
    const std::string name = fmt::format("killed{}", trial);
    for (int kill = 0; kill < 6; ++kill) {
      const bool go_on = !steps(name).empty();
      Program program = start(name, go_on ? "--resume True" : "");
      // Every second time a step is done first, so that the run gets on.
      while (kill % 2 == 0 && program.running() &&
             program.out().find("step:[") == std::string::npos)
        sleep_ms(1);
      sleep_ms(static_cast<int64_t>(random()) % std::max<int64_t>(1, whole_ms / 6));
      program.signal(SIGKILL);
      const Outcome killed = program.wait();
      ASSERT_TRUE(killed.exit == 128 + SIGKILL || killed.exit == 0) << killed.err;
      resumed += go_on;
      if (killed.exit == 0) break;
      ++kills;
    }
    const Outcome finished = start(name, steps(name).empty() ? "" : "--resume True").wait();
    ASSERT_EQ(finished.exit, 0) << finished.err;
    expect_same_results(name);
  }
  EXPECT_GE(kills, 6U);
  EXPECT_GE(resumed, 6U);
}

// The program may die after the last checkpoint but before the recipe's own files of that step.
TEST_F(Training, AResumeAtTheEndWritesTheFilesThatAreMissing) {
  finish_whole();
  ASSERT_EQ(start("end").wait().exit, 0);
  std::filesystem::remove_all(folder_ / "end/output/checkpoint_network");
  std::filesystem::remove(folder_ / "end/output/checkpoint/rank_0/tiny_rank_0-12_4.ckpt");
  ASSERT_EQ(start("end", "--resume True").wait().exit, 0);
  expect_same_results("end");
}

// Two runs in one output folder: what a resumed second one writes are the second one's files.
TEST_F(Training, ASecondRunKeepsItsNamesWhenResumed) {
  ASSERT_EQ(start("two", "--max_steps 4").wait().exit, 0);
  const std::string first = folder_ / "two/output/checkpoint/rank_0/tiny_rank_0-1_4.ckpt";
  const std::string bytes = test::slurp(first);
  ASSERT_EQ(start("two", "--max_steps 2 --lr_schedule.learning_rate 0.02").wait().exit, 0);
  ASSERT_EQ(
      start("two", "--max_steps 4 --lr_schedule.learning_rate 0.02 --resume True").wait().exit, 0);
  EXPECT_TRUE(test::slurp(first) == bytes);
  for (const char* name :
       {"tiny_rank_0-1_2", "tiny_rank_0-1_4", "tiny_1_rank_0-1_3", "tiny_1_rank_0-1_4"})
    EXPECT_TRUE(is_file(folder_ / fmt::format("two/output/checkpoint/rank_0/{}.ckpt", name)))
        << name;
}

}  // namespace
}  // namespace cria::e2e
