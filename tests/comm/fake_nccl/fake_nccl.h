// A stand-in for NCCL and the CUDA runtime, for tests without a GPU: fake_nccl.cc defines the functions that src/comm/nccl calls.
// Ranks are threads of one process. It is stricter than the real ones where they would hang or do anything at all:
//
//   - work of a stream happens when somebody asks for it, in order, each copy and call after a few questions
//   - a send is over only when its receive has met it; calls of one communicator follow each other at each end, in the order asked
//   - a communicator, and every call on it, is in progress for a few questions; using it meanwhile is a mistake
//   - sending what is not device memory, copying what is not pinned, sizes that differ: mistakes, which are counted
#pragma once

#include <string>

namespace cria::fake_nccl {

struct Settings {
  int devices = 8;
  /// CUDA does not start: no driver.
  bool no_driver = false;
  /// The communicator made as number n (from 1) never connects / connects with an error.
  int never_connects = 0, refuses = 0;
  /// From its n-th call on (from 1, over all communicators) the other end is reported gone, and the call never ends.
  int dies_at_call = 0;
  /// All communicators of a pair of ranks are one; those with the same ends, or those of both directions too.
  bool shared_by_channels = false, shared_by_directions = false;
};

struct Seen {
  int mistakes = 0;
  std::string first_mistake;
  int communicators = 0, calls = 0, aborted = 0;
  int most_work_of_a_stream = 0;  // copies and calls that one stream held at a time
  // What was made and not yet freed.
  int live_communicators = 0, live_streams = 0, live_events = 0, live_blocks = 0;
};

/// Begins anew. No rank may be running.
void reset(Settings settings = {});
Seen seen();

}  // namespace cria::fake_nccl
