// Memory nodes as shards of one process: what each gets, and that together they make one node's tokens.
#include "generate/memory_nodes.h"

#include <gmock/gmock.h>

#include <mutex>
#include <set>
#include <thread>

#include "base/error.h"
#include "shared_testing.h"

namespace cria {
namespace {

/// Nodes that are not real, on the CPUs of this machine.
MemoryNodes emulated(int count) {
  return {std::vector(static_cast<size_t>(count), allowed_cpus()), count == 1};
}

/// Greedy tokens, by each shard.
std::vector<Rows> tokens(const Case& c, int shards) {
  const LlamaConfig config = config_of(c);
  const MemoryNodes nodes = emulated(shards);
  ThreadPool pool(2);
  std::vector<Rows> all(static_cast<size_t>(shards));
  run_shards(shards, nodes, pool, [&](const Shard& shard) {
    ops::Exec exec{shard.pool};
    const ParamArena plain = slices(config, shard.part(config), shard.pool);
    std::optional<PackedWeights> weights;
    if (c.packed) weights.emplace(packed(plain, *c.packed));
    Decoder decoder = weights ? Decoder(*weights, DType::f32, exec, shard.groups)
                              : Decoder(config, plain, DType::f32, exec, shard.groups);
    GenerateSettings settings;
    settings.compute = DType::f32;
    settings.max_new_tokens = 12;
    settings.groups = shard.groups;
    const Rows prompts = {random_ids(c.long_prompt(), c.vocab, 3), random_ids(5, c.vocab, 4)};
    const int rank = shard.groups == nullptr ? 0 : shard.groups->grid.rank;
    all[static_cast<size_t>(rank)] = ids_of(generate(decoder, prompts, settings));
  });
  return all;
}

class MemoryNodeTokens : public testing::TestWithParam<Case> {};

TEST_P(MemoryNodeTokens, AreThoseOfOneNode) {
  const Rows one = tokens(GetParam(), 1)[0];
  ASSERT_EQ(one[0].size(), 12U);
  EXPECT_NE(one[0], one[1]);
  for (const int shards : {2, 4})
    EXPECT_THAT(tokens(GetParam(), shards), testing::Each(one)) << shards;
}

INSTANTIATE_TEST_SUITE_P(
    Models, MemoryNodeTokens,
    testing::Values(
        Case{.name = "plain"}, Case{.name = "plain_tied", .tied = true},
        Case{.name = "bf16", .packed = DType::bf16},
        Case{.name = "q8_0_tied", .tied = true, .packed = DType::q8_0},
        Case{.name = "q4_1_vocabulary_of_half_nodes", .vocab = 62, .packed = DType::q4_1}),
    [](const auto& p) { return p.param.name; });

TEST(MemoryNodes, EachShardHasItsPartAndAThreadOfItsOwn) {
  const LlamaConfig config = config_of({.name = "wide", .packed = DType::q8_0});
  ThreadPool pool(6);
  std::mutex mutex;
  std::set<std::thread::id> threads;
  std::set<int> parts;
  int speakers = 0;
  run_shards(2, emulated(2), pool, [&](const Shard& shard) {
    const std::scoped_lock lock(mutex);
    threads.insert(std::this_thread::get_id());
    EXPECT_EQ(shard.pool.threads(), 3);
    const ModelPart part = shard.part(config);
    EXPECT_EQ(part.tp, 2);
    EXPECT_TRUE(part.vocab_split);
    parts.insert(part.tp_index);
    speakers += shard.speaks() ? 1 : 0;
  });
  EXPECT_EQ(threads.size(), 2U);
  EXPECT_EQ(parts, (std::set<int>{0, 1}));
  EXPECT_EQ(speakers, 1);
  run_shards(1, emulated(1), pool, [&](const Shard& shard) {
    EXPECT_EQ(&shard.pool, &pool);
    EXPECT_EQ(shard.part(config), whole_model(config));
    EXPECT_TRUE(shard.speaks());
  });
}

TEST(MemoryNodes, ShardsOfRealNodesKeepToTheirCpus) {
  const std::vector<int> cpus = allowed_cpus();
  if (cpus.size() < 2) GTEST_SKIP() << "one CPU";
  MemoryNodes nodes{{{cpus[0]}, {cpus[1]}}, true};
  ThreadPool pool(2);
  std::vector<std::vector<int>> seen(2);
  run_shards(2, nodes, pool, [&](const Shard& shard) {
    seen[static_cast<size_t>(shard.groups->grid.rank)] = allowed_cpus();
  });
  EXPECT_EQ(seen, nodes.cpus);
  EXPECT_EQ(allowed_cpus(), cpus);
}

TEST(MemoryNodes, AModelThatTheyDoNotDivideStaysWhole) {
  const Case wide{.name = "wide", .packed = DType::q8_0};
  const LlamaConfig config = config_of(wide);
  std::vector<DType> types;
  for (const Param& p : llama_params(config))
    types.push_back(p.is_norm() ? DType::f32 : DType::q8_0);
  EXPECT_EQ(shards_for(config, types, emulated(1)), 1);
  EXPECT_EQ(shards_for(config, types, emulated(4)), 4);
  testing::internal::CaptureStderr();
  EXPECT_EQ(shards_for(config, types, emulated(8)), 1);  // 4 KV heads
  LlamaConfig narrow = config;
  narrow.intermediate_size = 96;  // 48 a node, and blocks of 32
  EXPECT_EQ(shards_for(narrow, types, emulated(2)), 1);
  EXPECT_EQ(shards_for(narrow, {}, emulated(2)), 2);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_THAT(said,
              testing::HasSubstr("num_key_value_heads = 4 does not divide by 8 memory nodes"));
  EXPECT_THAT(said, testing::HasSubstr("a row of weights in whole blocks does not divide by 2"));
}

TEST(MemoryNodes, AnErrorOfOneShardEndsAll) {
  ThreadPool pool(2);
  EXPECT_THROW(run_shards(2, emulated(2), pool,
                          [](const Shard& shard) {
                            require(shard.speaks(), "the second shard fails");
                            shard.groups->tp.barrier();
                          }),
               UsageError);
}

}  // namespace
}  // namespace cria
