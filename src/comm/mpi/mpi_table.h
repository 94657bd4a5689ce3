// What libcria_mpi.so offers: MPI behind a few C functions, so that the program starts and runs where MPI is not installed.
#pragma once

#include <cstddef>

extern "C" {

struct CriaMpiTable {
  int version;  // kCriaMpiVersion
  /// Joins the run; 0 when that worked.
  int (*start)(int* rank, int* size);
  /// A message under way, or null.
  void* (*send)(int peer, int channel, const void* bytes, size_t size);
  void* (*receive)(int peer, int channel, void* bytes, size_t size);
  /// 1: done, the message is gone; 0: not yet; -1: it had another size; -2: MPI failed.
  int (*done)(void* message);
  /// Gives a message up that nobody will wait for.
  void (*forget)(void* message);
  void (*finish)();
};
}

constexpr int kCriaMpiVersion = 1;
/// The name of the only symbol: const CriaMpiTable* cria_mpi_table().
constexpr const char* kCriaMpiSymbol = "cria_mpi_table";
