#include "base/topology.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>
#include <thread>

#include "base/cpu.h"
#include "base/error.h"
#include "base/temporary_folder.h"
#include "base/thread_pool.h"

namespace cria {
namespace {

namespace fs = std::filesystem;

void put(const fs::path& file, const std::string& text) {
  fs::create_directories(file.parent_path());
  std::ofstream(file) << text << "\n";
}

std::vector<int> first(int count) {
  std::vector<int> cpus(static_cast<size_t>(count));
  std::iota(cpus.begin(), cpus.end(), 0);
  return cpus;
}

// Two packages of two cores with two threads each, numbered as the kernel does: all first threads, then all second ones.
TEST(Topology, HardwareThreadsOfACoreCountOnce) {
  const TemporaryFolder folder;
  for (int cpu = 0; cpu < 8; ++cpu) {
    const fs::path topology = fs::path(folder.path()) / ("cpu" + std::to_string(cpu)) / "topology";
    put(topology / "physical_package_id", std::to_string(cpu / 2 % 2));
    put(topology / "core_id", std::to_string(cpu % 2));
  }
  EXPECT_THAT(one_per_core(first(8), folder.path()), testing::ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(one_per_core({1, 5, 6}, folder.path()), testing::ElementsAre(1, 6));
}

TEST(Topology, CpusThatNobodyDescribesAreCores) {
  const TemporaryFolder folder;
  EXPECT_THAT(one_per_core(first(3), folder.path()), testing::ElementsAre(0, 1, 2));
}

TEST(Topology, QuotasOfBothVersionsAreRounded) {
  const TemporaryFolder two, one, none;
  put(fs::path(two.path()) / "cpu.max", "250000 100000");
  EXPECT_EQ(cgroup_cores(two.path()), 3);
  put(fs::path(two.path()) / "cpu.max", "20000 100000");
  EXPECT_EQ(cgroup_cores(two.path()), 1);
  put(fs::path(two.path()) / "cpu.max", "max 100000");
  EXPECT_EQ(cgroup_cores(two.path()), std::numeric_limits<int>::max());
  put(fs::path(one.path()) / "cpu" / "cpu.cfs_quota_us", "400000");
  put(fs::path(one.path()) / "cpu" / "cpu.cfs_period_us", "100000");
  EXPECT_EQ(cgroup_cores(one.path()), 4);
  put(fs::path(one.path()) / "cpu" / "cpu.cfs_quota_us", "-1");
  EXPECT_EQ(cgroup_cores(one.path()), std::numeric_limits<int>::max());
  EXPECT_EQ(cgroup_cores(none.path()), std::numeric_limits<int>::max());
}

TEST(Topology, MemoryNodesHaveTheCpusThatMayBeUsed) {
  const TemporaryFolder folder;
  const fs::path at(folder.path());
  put(at / "online", "0-1,3");
  put(at / "node0" / "cpulist", "0-1,4");
  put(at / "node1" / "cpulist", "");
  put(at / "node3" / "cpulist", "2,3,5-7");
  const MemoryNodes nodes = memory_nodes(first(8), folder.path());
  ASSERT_EQ(nodes.count(), 2);
  EXPECT_TRUE(nodes.real);
  EXPECT_THAT(nodes.cpus[0], testing::ElementsAre(0, 1, 4));
  EXPECT_THAT(nodes.cpus[1], testing::ElementsAre(2, 3, 5, 6, 7));
  // Kept to the CPUs of one node, and with a CPU that no node has.
  EXPECT_THAT(memory_nodes({5, 6}, folder.path()).cpus,
              testing::ElementsAre(testing::ElementsAre(5, 6)));
  EXPECT_THAT(memory_nodes({0, 3, 9}, folder.path()).cpus,
              testing::ElementsAre(testing::ElementsAre(0, 9), testing::ElementsAre(3)));
  const TemporaryFolder nothing;
  EXPECT_THAT(memory_nodes(first(3), nothing.path()).cpus,
              testing::ElementsAre(testing::ElementsAre(0, 1, 2)));
  put(at / "online", "0-x");
  EXPECT_EQ(memory_nodes(first(8), folder.path()).count(), 1);
}

TEST(Topology, NodesCanBeEmulatedAndSwitchedOff) {
  const auto with = [](const char* value) {
    setenv("CRIA_NUMA", value, 1);
    return memory_nodes_to_use();
  };
  EXPECT_EQ(with("1").count(), 1);
  EXPECT_EQ(with("1").cpus[0], allowed_cpus());
  const MemoryNodes many = with("37");
  EXPECT_EQ(many.count(), 37);
  EXPECT_FALSE(many.real);
  for (const char* wrong : {"0", "65", "-1", "2x", "two"}) EXPECT_THROW(with(wrong), UsageError);
  unsetenv("CRIA_NUMA");
  EXPECT_TRUE(memory_nodes_to_use().real);
}

TEST(Topology, APinnedThreadMayUseOneCpu) {
  const std::vector<int> all = allowed_cpus();
  std::vector<int> then;
  std::thread([&] {
    ASSERT_TRUE(pin_to_cpu(all.back()));
    then = allowed_cpus();
  }).join();
  EXPECT_THAT(then, testing::ElementsAre(all.back()));
  EXPECT_EQ(allowed_cpus(), all);
}

TEST(Topology, WorkersArePinnedOnlyWhenAsked) {
  const std::vector<int> all = allowed_cpus();
  const auto cpus_of_workers = [&] {
    ThreadPool pool(2);
    std::vector<std::vector<int>> masks(2);
    // Both threads come to work: each waits for the other.
    std::atomic<int> here{0};
    pool.parallel_for_worker(2, [&](int64_t, int worker) {
      masks[static_cast<size_t>(worker)] = allowed_cpus();
      ++here;
      while (here < 2) std::this_thread::yield();
    });
    return masks;
  };
  EXPECT_THAT(cpus_of_workers(), testing::Each(all));
  setenv("CRIA_PIN", "1", 1);
  const auto pinned = cpus_of_workers();
  unsetenv("CRIA_PIN");
  EXPECT_EQ(pinned[0], all);
  EXPECT_EQ(pinned[1].size(), 1U);
}

}  // namespace
}  // namespace cria
