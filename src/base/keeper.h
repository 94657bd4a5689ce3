// What a rank's program tells its keeper (cria launch-rank), the process that started it.
#pragma once

#include <cstdint>

namespace cria {

/// The environment variable in which a keeper names the descriptor that it reads from.
constexpr const char* kKeeperVariable = "CRIA_KEEPER_FD";

/// Where the work is done: on this rank, which now waits for the others with a deadline of its own; or on all, so that nothing is
/// left but to end, where ranks under MPI wait for each other without one.
enum class Done { here, everywhere };

/// `seconds` later the keeper ends a program that is stopped (SIGSTOP), or, with Done::everywhere, one that is still there, and says
/// so. Nothing happens without a keeper.
void tell_keeper(Done where, int64_t seconds);

}  // namespace cria
