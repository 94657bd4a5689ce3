#include "base/cpu.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "base/topology.h"

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

/// AMD's processors multiply pairs of bf16 twice as fast as f32, Intel's half as fast (Emerald Rapids, docs/hardware.md). By the
/// maker and not by measuring: a choice that depends on the moment would give a run other bits than the one before.
Isa fastest(Isa best) {
  return best == Isa::avx512_bf16 && __builtin_cpu_is("intel") ? Isa::avx512_vnni : best;
}

Isa choose() {
  const Isa best = detect();
  const char* wanted = std::getenv("CRIA_ISA");
  if (wanted == nullptr || *wanted == 0) return fastest(best);
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
  return std::min(static_cast<int>(one_per_core(allowed_cpus()).size()), cgroup_cores());
}

namespace {
int first_number(std::initializer_list<const char*> variables, int least, int otherwise) {
  for (const char* name : variables) {
    const char* text = std::getenv(name);
    if (text != nullptr && *text >= '0' && *text <= '9' && std::atoi(text) >= least)
      return std::atoi(text);
  }
  return otherwise;
}
}  // namespace

int ranks_on_this_host() {
  return first_number({"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "SLURM_TASKS_PER_NODE"}, 1,
                      1);
}

int rank_on_this_host() {
  return first_number({"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"}, 0, 0);
}

}  // namespace cria
