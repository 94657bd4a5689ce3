// Ranks and the GPUs of a host.
#pragma once

namespace cria {

/// Which of `devices` devices this process of its host uses: the rank within the host, from CRIA_LOCAL_RANK,
/// OMPI_COMM_WORLD_LOCAL_RANK or SLURM_LOCALID, else 0. When CUDA_VISIBLE_DEVICES leaves one device, it is that one. Throws
/// Error(rank_died) when there is no such device, UsageError when a variable is no number.
int local_device(int devices);

}  // namespace cria
