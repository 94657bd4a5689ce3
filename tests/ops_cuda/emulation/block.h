// Blocks of GPU threads on the processor: every thread is a fiber with a stack of its own, so that barriers and warp operations
// work as written. Every thread of the process emulates on its own. What a GPU would leave undefined is an error here: a barrier or a warp operation that not all threads reach,
// shared memory that is read before it is written, beyond its end, or without a barrier after another thread's write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>

/// As in CUDA; the scheduler sets them whenever it goes to another thread.
struct EmulatedIndex {
  unsigned x = 0, y = 0, z = 0;
};
extern constinit thread_local EmulatedIndex threadIdx, blockIdx, blockDim, gridDim;

namespace cria::emulation {

/// A kernel did what a GPU does not define.
struct KernelFault : std::logic_error {
  using std::logic_error::logic_error;
};

/// Which of the equally possible orders blocks and threads run in.
enum class Order { ascending, descending };
void set_order(Order order);

/// Runs `body` once for each thread of each block. Throws what a thread throws, or KernelFault.
void run_grid(EmulatedIndex grid, int threads, int shared_bytes, const std::function<void()>& body);

// The rest is called by threads.

/// `site` tells calls in the source apart: threads that meet at different ones have diverged.
void block_barrier(int site);

constexpr size_t kLaneBytes = 64;
struct Lanes {
  std::byte bytes[32][kLaneBytes];
};
/// Once all lanes of the warp are here with the same site and kind, `all` makes their results; each gets its own.
using WarpFunction = void (*)(const Lanes& in, Lanes& out, int argument);
void warp_operation(WarpFunction all, int argument, int site, const void* in, size_t in_size,
                    void* out, size_t out_size);

/// Bytes [offset, offset + size) of the block's shared memory for one access by this thread.
std::byte* shared_read(int64_t offset, size_t size);
std::byte* shared_write(int64_t offset, size_t size);
/// For one addition that nobody else can come between: threads need no barrier among such additions.
std::byte* shared_atomic(int64_t offset, size_t size);
/// Sixteen bytes on their way from `from` (null: zeros) to shared memory, until the thread calls copies_arrive().
void copy_starts(int64_t offset, const void* from);
void copies_arrive();
/// Throws KernelFault unless an array of so many bytes at `offset` lies within what the launch asked for.
void shared_array_exists(int64_t offset, int64_t size);

}  // namespace cria::emulation
