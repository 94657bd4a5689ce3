// What this processor can do, and which instruction-set level the kernels use.
#pragma once

#include <string_view>

namespace cria {

/// Each level includes the ones before it. The names are the values of CRIA_ISA.
enum class Isa { avx2, avx512, avx512_vnni, avx512_bf16 };

/// The level in use: the fastest that the processor has, or what CRIA_ISA asks for.
/// Throws UsageError when CRIA_ISA is no level or the processor lacks it. Constant after the first
/// call.
Isa current_isa();
std::string_view name_of(Isa isa);

/// Physical cores this process may use: those of the affinity mask, cut to the cgroup's quota.
int available_cores();

/// How many ranks of this run share this host, as the launcher's environment says (Open MPI, MPICH, Slurm); 1 when nobody
/// does.
int ranks_on_this_host();
/// The number of this one among them, from 0.
int rank_on_this_host();

}  // namespace cria
