#include "plan/host_memory.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <string>
#include <utility>

#include "base/error.h"

namespace cria {
namespace {

/// The number of KiB behind a key of a file like /proc/meminfo, in bytes; 0 when it is not there.
int64_t kib_line(const char* path, std::string_view wanted) {
  std::ifstream in(path);
  for (std::string key; in >> key;) {
    int64_t kib = 0;
    if (key == wanted && in >> kib) return kib * 1024;
    in.ignore(1 << 10, '\n');
  }
  return 0;
}

int64_t read_number(const char* path) {
  std::ifstream in(path);
  int64_t value = 0;
  return in >> value ? value : 0;  // "max" is no number
}

}  // namespace

int64_t available_memory() {
  int64_t available = kib_line("/proc/meminfo", "MemAvailable:");
  const std::pair<const char*, const char*> groups[] = {
      {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
      {"/sys/fs/cgroup/memory/memory.limit_in_bytes",
       "/sys/fs/cgroup/memory/memory.usage_in_bytes"}};
  for (const auto& [limit_file, used_file] : groups) {
    const int64_t limit = read_number(limit_file);
    if (limit <= 0 || limit > int64_t{1} << 50) continue;
    // Pages of files count as used and go when they are needed; half is a cautious share.
    const int64_t left = std::max(limit - read_number(used_file), limit / 2);
    available = available > 0 ? std::min(available, left) : left;
  }
  return available;
}

void PeakMemory::forget() {
  constexpr const char* kResetPeak = "5";
  std::ofstream("/proc/self/clear_refs") << kResetPeak;
}

void PeakMemory::look() {
  constexpr const char* kStatus = "/proc/self/status";
  const int64_t resident = kib_line(kStatus, momentary_ ? "VmRSS:" : "VmHWM:");
  bytes_ = std::max(bytes_, resident - kib_line(kStatus, "RssFile:"));
}

int64_t parse_bytes(std::string_view text, std::string_view flag) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit(end, text.data() + text.size());
  constexpr std::pair<std::string_view, int> kUnits[] = {{"", 0},     {"KB", 10},  {"KiB", 10},
                                                         {"MB", 20},  {"MiB", 20}, {"GB", 30},
                                                         {"GiB", 30}, {"TB", 40},  {"TiB", 40}};
  for (const auto& [name, power] : kUnits) {
    const double bytes = std::ldexp(value, power);
    if (error == std::errc() && unit == name && bytes >= 1 && bytes < std::ldexp(1.0, 60))
      return static_cast<int64_t>(bytes);
  }
  throw UsageError(
      fmt::format("plan: {} {}: expected a size such as 64GB or 512MB", flag, escaped(text, 40)));
}

}  // namespace cria
