#include "base/cpu.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>

#include "base/error.h"

namespace cria {
namespace {

Isa detect() {
  __builtin_cpu_init();
  require(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"),
          "cria: this processor lacks AVX2 and FMA, expected x86-64-v3 or later");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (!avx512) return Isa::avx2;
  if (!__builtin_cpu_supports("avx512vnni")) return Isa::avx512;
  return __builtin_cpu_supports("avx512bf16") ? Isa::avx512_bf16 : Isa::avx512_vnni;
}

Isa choose() {
  const Isa best = detect();
  const char* wanted = std::getenv("CRIA_ISA");
  if (wanted == nullptr || *wanted == 0) return best;
  for (const Isa isa : {Isa::avx2, Isa::avx512, Isa::avx512_vnni, Isa::avx512_bf16}) {
    if (name_of(isa) != wanted) continue;
    require(isa <= best, "CRIA_ISA={}: this processor lacks it; it has {}", wanted, name_of(best));
    return isa;
  }
  throw UsageError(
      fmt::format("CRIA_ISA={}: no such level, expected avx2, avx512, avx512_vnni or avx512_bf16",
                  escaped(wanted)));
}

}  // namespace

Isa current_isa() {
  static const Isa isa = choose();
  return isa;
}

std::string_view name_of(Isa isa) {
  switch (isa) {
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
    case Isa::avx512_vnni:
      return "avx512_vnni";
    case Isa::avx512_bf16:
      return "avx512_bf16";
  }
  return "?";
}

int available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cores = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
  std::ifstream quota("/sys/fs/cgroup/cpu.max");
  std::string limit;
  double period = 0;
  if (quota >> limit >> period && limit != "max" && period > 0) {
    cores = std::min(cores, std::max(1, static_cast<int>(std::lround(std::stod(limit) / period))));
  }
  return std::max(1, cores);
}

int ranks_on_this_host() {
  for (const char* name :
       {"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "SLURM_TASKS_PER_NODE"}) {
    const char* text = std::getenv(name);
    if (text != nullptr && std::atoi(text) > 0) return std::atoi(text);
  }
  return 1;
}

}  // namespace cria
