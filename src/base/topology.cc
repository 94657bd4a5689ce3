#include "base/topology.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <memory>
#include <utility>

#include "base/error.h"

namespace cria {
namespace {

// The kernel refuses a mask shorter than its own, which may have room for thousands.
constexpr int kMostCpus = 65536;

struct FreeSet {
  void operator()(cpu_set_t* set) const { CPU_FREE(set); }
};
using Mask = std::unique_ptr<cpu_set_t, FreeSet>;

int number_in(const std::string& file) {
  std::ifstream in(file);
  int number = -1;
  in >> number;
  return in ? number : -1;
}

/// The kernel's lists, such as "0-3,8,10-11"; nothing where the file is missing or says something else.
std::vector<int> numbers_in(const std::string& file) {
  std::ifstream in(file);
  std::vector<int> numbers;
  int first = 0;
  while (in >> first) {
    int last = first;
    if (in.peek() == '-') in.ignore() >> last;
    if (!in || first < 0 || last < first || last >= kMostCpus) return {};
    for (int n = first; n <= last; ++n) numbers.push_back(n);
    if (in.peek() == ',') in.ignore();
  }
  return numbers;
}

/// Cores that a quota of so many microseconds in a period comes to.
int whole_cores(double quota, double period) {
  return std::max(1, static_cast<int>(std::lround(quota / period)));
}

}  // namespace

std::vector<int> allowed_cpus() {
  const size_t bytes = CPU_ALLOC_SIZE(kMostCpus);
  const Mask mask(CPU_ALLOC(kMostCpus));
  std::vector<int> cpus;
  CPU_ZERO_S(bytes, mask.get());
  if (sched_getaffinity(0, bytes, mask.get()) == 0) {
    for (int cpu = 0; cpu < kMostCpus; ++cpu) {
      if (CPU_ISSET_S(static_cast<size_t>(cpu), bytes, mask.get())) cpus.push_back(cpu);
    }
  }
  if (cpus.empty()) cpus.push_back(0);
  return cpus;
}

std::vector<int> one_per_core(const std::vector<int>& cpus, const std::string& sysfs) {
  std::vector<std::pair<int, int>> seen;  // package and core
  std::vector<int> first;
  for (const int cpu : cpus) {
    const std::string folder = sysfs + "/cpu" + std::to_string(cpu) + "/topology/";
    const std::pair core{number_in(folder + "physical_package_id"), number_in(folder + "core_id")};
    const bool known = core.second >= 0;
    if (known && std::ranges::find(seen, core) != seen.end()) continue;
    if (known) seen.push_back(core);
    first.push_back(cpu);
  }
  return first;
}

int cgroup_cores(const std::string& cgroup) {
  std::ifstream both(cgroup + "/cpu.max");
  std::string quota;
  double period = 0;
  if (both >> quota >> period && quota != "max" && period > 0)
    return whole_cores(std::stod(quota), period);
  const int allowed = number_in(cgroup + "/cpu/cpu.cfs_quota_us"),
            of = number_in(cgroup + "/cpu/cpu.cfs_period_us");
  if (allowed > 0 && of > 0) return whole_cores(allowed, of);
  return std::numeric_limits<int>::max();
}

MemoryNodes memory_nodes(const std::vector<int>& cpus, const std::string& sysfs) {
  MemoryNodes nodes;
  std::vector<int> left = cpus;
  for (const int node : numbers_in(sysfs + "/online")) {
    const std::vector<int> all = numbers_in(sysfs + "/node" + std::to_string(node) + "/cpulist");
    std::vector<int> mine;
    for (const int cpu : left)
      if (std::ranges::binary_search(all, cpu)) mine.push_back(cpu);
    if (mine.empty()) continue;  // memory without processors, or not ours
    std::erase_if(left, [&](int cpu) { return std::ranges::binary_search(mine, cpu); });
    nodes.cpus.push_back(std::move(mine));
  }
  if (nodes.cpus.empty()) nodes.cpus.emplace_back();
  nodes.cpus.front().insert(nodes.cpus.front().end(), left.begin(), left.end());
  return nodes;
}

MemoryNodes memory_nodes_to_use() {
  const std::vector<int> cpus = allowed_cpus();
  MemoryNodes nodes = memory_nodes(cpus);
  const char* given = std::getenv("CRIA_NUMA");
  if (given == nullptr || *given == 0) return nodes;
  int wanted = 0;
  const char* const end = given + std::strlen(given);
  const auto [stop, error] = std::from_chars(given, end, wanted);
  require(error == std::errc() && stop == end && wanted >= 1 && wanted <= 64,
          "CRIA_NUMA is {}, expected 1 to 64 memory nodes", escaped(given));
  if (wanted == nodes.count()) return nodes;
  return {std::vector(static_cast<size_t>(wanted), cpus), wanted == 1};
}

bool keep_to_cpus(const std::vector<int>& cpus) {
  const size_t bytes = CPU_ALLOC_SIZE(kMostCpus);
  const Mask mask(CPU_ALLOC(kMostCpus));
  CPU_ZERO_S(bytes, mask.get());
  for (const int cpu : cpus) CPU_SET_S(static_cast<size_t>(cpu), bytes, mask.get());
  return sched_setaffinity(0, bytes, mask.get()) == 0;
}

bool pin_to_cpu(int cpu) { return keep_to_cpus({cpu}); }

}  // namespace cria
