// How bytes go from one rank of a run to another. Collectives (comm/comm.h) are built on this alone, so a transport is small:
// there is one for threads in one process (tests, ThreadSanitizer), one on MPI and one on NCCL (comm/nccl_transport.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace cria {

/// A send or receive under way. The bytes belong to it until it is done.
class Transfer {
 public:
  virtual ~Transfer() = default;
  /// Moves things on; true once the bytes were taken or have arrived. Never blocks. Throws Error(rank_died) when the
  /// transport failed, or a message has another size than the receive that met it.
  virtual bool done() = 0;
};

/// Messages between a pair of ranks with one channel arrive in the order they were sent.
class Transport {
 public:
  virtual ~Transport() = default;
  [[nodiscard]] virtual int rank() const = 0;
  [[nodiscard]] virtual int size() const = 0;
  /// Whether the bytes of messages may lie in a device's memory; what writes or reads them there must have run before.
  [[nodiscard]] virtual bool takes_device_memory() const { return false; }
  /// `channel`: 0 to 2^20 - 1; keeps streams of messages between the same ranks apart.
  virtual std::unique_ptr<Transfer> send(int peer, int channel,
                                         std::span<const std::byte> bytes) = 0;
  virtual std::unique_ptr<Transfer> receive(int peer, int channel, std::span<std::byte> bytes) = 0;
};

/// One rank that is alone.
std::unique_ptr<Transport> self_transport();

/// Runs `body` once for each rank on a thread of its own and waits for all. The first exception is thrown on after every rank
/// has ended: ranks that wait for the one that threw are woken with an error of their own.
void run_as_threads(int ranks, const std::function<void(Transport&)>& body);

/// True when a launcher of MPI (mpirun, srun) started this process as a rank.
bool started_by_mpi();
/// Loads the MPI part (libcria_mpi.so, beside the program) and joins the run. Throws Error(rank_died) when it is not there or MPI
/// does not start; the sentence says what to install. Call once; MPI ends when the object goes.
std::unique_ptr<Transport> mpi_transport();
/// What this process's environment asks for. Not started by a launcher of MPI: self_transport(). Else mpi_transport(), or, with
/// CRIA_TRANSPORT=nccl (default: mpi), NCCL arranged over it. Throws UsageError on another name.
std::unique_ptr<Transport> open_transport();

}  // namespace cria
