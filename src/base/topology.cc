#include "base/topology.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <limits>
#include <memory>
#include <utility>

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

bool pin_to_cpu(int cpu) {
  const size_t bytes = CPU_ALLOC_SIZE(kMostCpus);
  const Mask mask(CPU_ALLOC(kMostCpus));
  CPU_ZERO_S(bytes, mask.get());
  CPU_SET_S(static_cast<size_t>(cpu), bytes, mask.get());
  return sched_setaffinity(0, bytes, mask.get()) == 0;
}

}  // namespace cria
