// What libcria_nccl.so offers: NCCL and the CUDA runtime behind a few C functions, so that the program starts and runs where
// neither is installed. A link carries messages one way between two ranks, one at a time. No function waits, but for abort_link
// (at most kCriaNcclPatience) and close.
#pragma once

#include <cstddef>

extern "C" {

struct CriaNcclTable {
  int version;  // kCriaNcclVersion
  /// Why a function failed on this thread the last time, in NCCL's or CUDA's words.
  const char* (*error)();
  /// How many devices this process sees; negative when CUDA does not start.
  int (*devices)();
  /// A rank on a device; null when the device cannot be used.
  void* (*open)(int device);
  /// Makes the name that both ends of a new link must have, kCriaNcclIdBytes long. 0: done.
  int (*new_id)(void* rank, unsigned char* id);
  /// This rank's end of a link, which the other end makes too, with the same name. Null when that failed at once; else the link
  /// connects while start and done are called.
  void* (*connect)(void* rank, const unsigned char* id, int sends);
  /// 1: the memory of this rank's device; 0: the host's (or managed); -1: neither.
  int (*on_device)(void* rank, const void* bytes);
  /// Begins a message of size > 0; the one before must be done. It moves in pieces of at most `piece` bytes, through the link's
  /// own staging memory when `staged` is not 0 and straight from or to device memory when it is. Both ends say the same size
  /// and piece. 0: begun.
  int (*start)(void* link, void* bytes, size_t size, size_t piece, int staged);
  /// 1: the message has moved; 0: not yet; -1: the link has failed, abort it.
  int (*done)(void* link);
  /// Ends what is under way, so that nothing touches the message's memory any more. The link stays unusable.
  void (*abort_link)(void* link);
  /// Frees the rank and its links. All ranks do that together, unless the run has failed.
  void (*close)(void* rank, int failed);
};
}

constexpr int kCriaNcclVersion = 1;
constexpr size_t kCriaNcclIdBytes = 128;
/// Seconds that a link may take to end.
constexpr int kCriaNcclPatience = 5;
/// The name of the only symbol: const CriaNcclTable* cria_nccl_table().
constexpr const char* kCriaNcclSymbol = "cria_nccl_table";
