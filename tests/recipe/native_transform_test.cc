// Training checkpoints through transform_ckpt, against runs: the slices are the bytes of a run in that layout, and a run resumed
// from what a transform wrote goes on bit for bit.
#include "checkpoint/transform.h"
#include "recipe/ranks_testing.h"

namespace cria::recipe {
namespace {

using ::testing::HasSubstr;

class NativeTransform : public Ranks {
 protected:
  using Keys = std::vector<std::pair<std::string, std::string>>;

  /// Micro batches of one sample: layouts agree to the bit where data-parallel ranks have as many of them, or one each and
  /// a single rank all.
  int train(const std::string& output, const Layout& layout, Keys more = {}) {
    more.emplace_back("runner_config.batch_size", "1");
    more.emplace_back(layout.pp > 1 ? "parallel_config.micro_batch_num"
                                    : "runner_config.gradient_accumulation_steps",
                      std::to_string(samples_ / layout.dp));
    return run(output, layout, "train", more);
  }
  int resume(const std::string& output, const Layout& layout, const std::string& from, Keys more) {
    more.emplace_back("resume_training", "True");
    more.emplace_back("load_checkpoint", from);
    return train(output, layout, more);
  }
  [[nodiscard]] std::string native(const std::string& output) const {
    return at(output + "/checkpoint/rank_0/native");
  }
  /// A rank's file of all its state after so many batches.
  [[nodiscard]] std::string whole(const std::string& output, int rank, int batch) const {
    const int epoch_steps = 9 / samples_;
    return read_text(
        at(fmt::format("{0}/checkpoint/rank_{1}/tiny_rank_{1}-{2}_{3}.ckpt", output, rank,
                       (batch - 1) / epoch_steps + 1, (batch - 1) % epoch_steps + 1)));
  }
  [[nodiscard]] std::string strategy(const Layout& layout) const {
    return layout.ranks() == 1 ? "" : at(layout.name + "/strategy");
  }
  /// Runs in all layouts, and every one's checkpoint cut for every other.
  void compare(const std::vector<Layout>& layouts, const std::string& dtype) {
    for (const Layout& layout : layouts)
      ASSERT_EQ(train(layout.name, layout, {{"model.model_config.param_init_type", dtype}}), 0)
          << message_;
    for (const Layout& from : layouts) {
      for (const Layout& to : layouts) {
        SCOPED_TRACE(from.name + " to " + to.name + " in " + dtype);
        transform_checkpoint({.dst_strategy = strategy(to),
                              .src = native(from.name),
                              .dst = at("cut"),
                              .threads = 2});
        for (int rank = 0; rank < to.ranks(); ++rank)
          EXPECT_TRUE(read_text(at(fmt::format("cut/rank_{0}/checkpoint_{0}.ckpt", rank))) ==
                      whole(to.name, rank, 2))
              << "rank " << rank;
        std::filesystem::remove_all(at("cut"));
      }
    }
    for (const Layout& layout : layouts) std::filesystem::remove_all(at(layout.name));
  }
  int samples_ = 4;  // of a step
};

const Layout kPp2{.name = "pp2", .pp = 2};
const Layout kDp2Pp2{.name = "dp2_pp2_shard", .dp = 2, .pp = 2, .shard = true};

TEST_F(NativeTransform, GivesTheFilesOfARunInThatLayout) {
  for (const std::string dtype : {"bfloat16", "float32"}) {
    samples_ = 2;
    compare({kOne, kDp2Shard, kPp2}, dtype);
    samples_ = 4;
    compare({kDp2Shard, kDp2Pp2}, dtype);
  }
}

// Tensor parallelism changes the bits of a run, so that a layout with it is compared with itself.
TEST_F(NativeTransform, GivesTheFilesOfARunWithTensorParallelism) {
  compare({kTp2}, "bfloat16");
  compare({kAll}, "bfloat16");
}

TEST_F(NativeTransform, ARunGoesOnFromItBitForBit) {
  const Keys bf16 = {{"model.model_config.param_init_type", "bfloat16"}};
  ASSERT_EQ(train("one", kOne, bf16), 0) << message_;
  ASSERT_EQ(train(kDp2Pp2.name, kDp2Pp2, bf16), 0) << message_;
  transform_checkpoint({.dst_strategy = strategy(kDp2Pp2),
                        .src = native("one"),
                        .dst = at("moved"),
                        .format = CheckpointFormat::native});
  max_steps_ = 4;
  ASSERT_EQ(resume("one", kOne, "", bf16), 0) << message_;
  const std::string expected = whole("one", 0, 4);
  for (const Layout& layout : {kOne, kPp2}) {
    ASSERT_EQ(resume("from_moved_" + layout.name, layout, at("moved/step-0000000002"), bf16), 0)
        << message_;
    transform_checkpoint({.src = native("from_moved_" + layout.name), .dst = at("joined")});
    EXPECT_TRUE(read_text(at("joined/rank_0/checkpoint_0.ckpt")) == expected) << layout.name;
    EXPECT_FALSE(expected == whole("one", 0, 2)) << "the comparison can fail";
    std::filesystem::remove_all(at("joined"));
  }
}

// Weights in f32 are their own masters: the recipe's files hold all that a run needs but for what is known of its data.
TEST_F(NativeTransform, ARunGoesOnFromTheRecipesFiles) {
  ASSERT_EQ(train(kDp2Pp2.name, kDp2Pp2), 0) << message_;
  TransformOptions options{.src_strategy = strategy(kDp2Pp2),
                           .src = at(kDp2Pp2.name + "/checkpoint"),
                           .dst = at("made"),
                           .format = CheckpointFormat::native,
                           .config = native(kDp2Pp2.name) + "/step-0000000002"};
  transform_checkpoint(options);
  max_steps_ = 4;
  ASSERT_EQ(resume(kDp2Pp2.name, kDp2Pp2, "", {}), 0) << message_;
  ::testing::internal::CaptureStderr();
  ASSERT_EQ(resume("from_made", kDp2Pp2, at("made/step-0000000002"), {}), 0) << message_;
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              HasSubstr("files that do not tell seed, data and global batch"));
  for (int rank = 0; rank < 4; ++rank)
    EXPECT_TRUE(whole("from_made", rank, 4) == whole(kDp2Pp2.name, rank, 4)) << "rank " << rank;
  // From then on the run knows its data again.
  EXPECT_EQ(resume("from_made", kDp2Pp2, "", {{"seed", "4"}}), 9);
  EXPECT_THAT(message_, HasSubstr("the seed of the checkpoint"));
}

}  // namespace
}  // namespace cria::recipe
