#include "measure/machine.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <fstream>

#include "base/cpu.h"
#include "plan/host_memory.h"

namespace cria {
namespace {

std::string processor_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown processor";
}

std::string system_name() {
  utsname name{};
  if (uname(&name) != 0) return "unknown system";
  return std::string(name.sysname) + " " + name.release;
}

std::string date_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

}  // namespace

Machine this_machine() {
  Machine m;
  m.processor = processor_name();
  m.isa = name_of(current_isa());
  m.system = system_name();
#ifdef __clang__
  m.compiler = __VERSION__;  // names itself
#else
  m.compiler = "g++ " __VERSION__;
#endif
  m.date = date_now();
  m.cores = available_cores();
  m.l3_bytes = std::max<int64_t>(0, sysconf(_SC_LEVEL3_CACHE_SIZE));
  m.available_bytes = available_memory();
  double load = 0;
  if (getloadavg(&load, 1) == 1) m.load = load;
  return m;
}

}  // namespace cria
