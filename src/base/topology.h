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

/// Keeps the calling thread on one CPU. False where the system does not let it.
bool pin_to_cpu(int cpu);

}  // namespace cria
