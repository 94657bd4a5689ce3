// How an op runs: on which threads or which device, and in which version.
#pragma once

#include "base/thread_pool.h"

namespace cria::ops {

class Device;

/// Passed to every op. Results are the same bits for every number of threads.
struct Exec {
  ThreadPool& pool;
  /// The plain versions (`<op>_ref.cc`): loops close to the formula with sums in double. They are
  /// the oracle of the tests, and slow.
  bool reference = false;
  /// Where the matrices lie and the op runs (ops/device.h); null: the host.
  Device* device = nullptr;
};

}  // namespace cria::ops
