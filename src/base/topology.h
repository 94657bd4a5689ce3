// Which processors this process may use, and which of them are threads of the same core.
#pragma once

#include <string>
#include <vector>

namespace cria {

/// The CPU numbers of the affinity mask, ascending.
std::vector<int> allowed_cpus();

/// One CPU for each physical core, the first of its hardware threads, in the order of `cpus`: arithmetic that fills a core's units
/// gains nothing from a second thread on it. `sysfs` is the kernel's description; CPUs that it does not describe are cores of
/// their own.
std::vector<int> one_per_core(const std::vector<int>& cpus,
                              const std::string& sysfs = "/sys/devices/system/cpu");

/// Whole cores that the cgroup's quota allows, rounded, at least 1; a large number without a quota. `cgroup` is where it is
/// mounted; versions 1 and 2 are read.
int cgroup_cores(const std::string& cgroup = "/sys/fs/cgroup");

/// The nodes of a machine's memory (NUMA), as a program divides its work over them.
struct MemoryNodes {
  std::vector<std::vector<int>> cpus;  // that may be used, of each node; every one has some
  /// False where one machine's CPUs stand for several nodes: threads then go where there is room.
  bool real = true;
  [[nodiscard]] int count() const { return static_cast<int>(cpus.size()); }
};

/// Nodes that have any of `cpus`, in the kernel's order. CPUs of no node are the first one's; without a description all are one
/// node's.
MemoryNodes memory_nodes(const std::vector<int>& cpus,
                         const std::string& sysfs = "/sys/devices/system/node");
/// Those of this machine and affinity mask. CRIA_NUMA=1: one node of all. CRIA_NUMA=N, where that many there are not: N nodes that
/// are not real, of all CPUs each. Throws UsageError unless CRIA_NUMA is 1 to 64.
MemoryNodes memory_nodes_to_use();

/// Keeps the calling thread, and threads that it starts, on these CPUs. False where the system does not let it.
bool keep_to_cpus(const std::vector<int>& cpus);

/// Keeps the calling thread on one CPU. False where the system does not let it.
bool pin_to_cpu(int cpu);

}  // namespace cria
