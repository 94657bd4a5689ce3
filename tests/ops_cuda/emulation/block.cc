#include "ops_cuda/emulation/block.h"

#include <cstring>
#include <exception>
#include <limits>
#include <string>
#include <vector>

#include "ops_cuda/emulation/fiber.h"

constinit thread_local EmulatedIndex threadIdx, blockIdx, blockDim, gridDim;

namespace cria::emulation {
namespace {

constexpr int kWarp = 32;
enum class State { ready, at_barrier, at_warp, done };

constexpr size_t kCopy = 16;
struct Copy {
  int64_t to;
  const void* from;
};

struct Thread {
  Fiber fiber;
  State state = State::ready;
  int site = 0;
  std::vector<Copy> copies;  // under way
};

/// A warp's meeting.
struct Warp {
  int arrived = 0, site = 0, argument = 0;
  WarpFunction all = nullptr;
  Lanes in, out;
};

/// Who touched two bytes of shared memory last, and between which barriers.
struct Cell {
  int writer = -1, reader = -1;  // thread; reader kMany: several
  int64_t written = -1, read = -1;
};
constexpr int kMany = std::numeric_limits<int>::max();
constexpr int kAtomic = kMany - 1;  // a writer: several threads, by atomic additions
constexpr size_t kCell = 2;

struct Block {
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::vector<std::byte> shared;
  std::vector<Cell> cells;
  const std::function<void()>* body = nullptr;
  std::exception_ptr failure;
  int count = 0, current = 0;
  int64_t epoch = 0;  // barriers passed
};
constinit thread_local Block* running = nullptr;  // this thread's
constinit thread_local Order order = Order::ascending;

std::string at(int thread) {
  return "thread " + std::to_string(thread) + " of block " + std::to_string(blockIdx.x) + "," +
         std::to_string(blockIdx.y) + "," + std::to_string(blockIdx.z);
}

Thread& current() { return running->threads[static_cast<size_t>(running->current)]; }

void thread_main() {
  try {
    (*running->body)();
    if (!current().copies.empty())
      throw KernelFault("a thread that ends before its copies arrive: " + at(running->current));
  } catch (...) {
    running->failure = std::current_exception();
  }
  current().state = State::done;
  for (;;) current().fiber.suspend();
}

void run_ready(int i) {
  Thread& thread = running->threads[static_cast<size_t>(i)];
  if (thread.state != State::ready) return;
  running->current = i;
  threadIdx = {static_cast<unsigned>(i), 0, 0};
  thread.fiber.resume();
  if (running->failure) std::rethrow_exception(running->failure);
}

/// Nobody can go on: all are at one barrier, or done, or the kernel is wrong.
void meet() {
  int done = 0;
  for (int i = 0; i < running->count; ++i) {
    const Thread& thread = running->threads[static_cast<size_t>(i)];
    if (thread.state == State::at_warp)
      throw KernelFault("a warp operation that not all lanes reach: " + at(i) + " waits at line " +
                        std::to_string(thread.site));
    done += thread.state == State::done ? 1 : 0;
  }
  if (done == running->count) return;
  const int site = running->threads[0].site;
  for (int i = 0; i < running->count; ++i) {
    Thread& thread = running->threads[static_cast<size_t>(i)];
    if (thread.state == State::done || thread.site != site)
      throw KernelFault("a barrier that not all threads reach: " + at(i) + " is elsewhere than " +
                        at(0));
    thread.state = State::ready;
  }
  ++running->epoch;
}

bool any(State state) {
  for (int i = 0; i < running->count; ++i)
    if (running->threads[static_cast<size_t>(i)].state == state) return true;
  return false;
}

void run_block(int shared_bytes) {
  // NaN in every type, so that what slips through the bookkeeping shows in results.
  running->shared.assign(static_cast<size_t>(shared_bytes), std::byte{0xff});
  running->cells.assign((running->shared.size() + kCell - 1) / kCell, Cell{});
  running->epoch = 0;
  for (Warp& warp : running->warps) warp.arrived = 0;
  for (int i = 0; i < running->count; ++i) {
    Thread& thread = running->threads[static_cast<size_t>(i)];
    thread.state = State::ready;
    thread.copies.clear();
    thread.fiber.start(thread_main);
  }
  while (any(State::ready)) {
    for (int n = 0; n < running->count; ++n)
      run_ready(order == Order::ascending ? n : running->count - 1 - n);
    if (!any(State::ready)) meet();
  }
}

Cell& cell(size_t i) { return running->cells[i]; }

void in_range(int64_t offset, int64_t size) {
  if (offset < 0 || size < 0 || offset + size > static_cast<int64_t>(running->shared.size()))
    throw KernelFault("shared memory [" + std::to_string(offset) + ", " +
                      std::to_string(offset + size) + ") of " +
                      std::to_string(running->shared.size()) + " bytes, " + at(running->current));
}

}  // namespace

void set_order(Order o) { order = o; }

void run_grid(EmulatedIndex grid, int threads, int shared_bytes,
              const std::function<void()>& body) {
  static thread_local Block own;
  running = &own;
  if (threads < 1 || threads > 1024 || threads % kWarp != 0)
    throw KernelFault("a block of " + std::to_string(threads) + " threads");
  constexpr int kMostShared = 227 * 1024;  // of compute capability 9.0
  if (shared_bytes > kMostShared)
    throw KernelFault(std::to_string(shared_bytes) + " bytes of shared memory");
  if (running->threads.size() < static_cast<size_t>(threads)) {
    running->threads = std::vector<Thread>(static_cast<size_t>(threads));
  }
  running->warps.resize(static_cast<size_t>(threads / kWarp));
  running->count = threads;
  running->body = &body;
  running->failure = nullptr;
  gridDim = grid;
  blockDim = {static_cast<unsigned>(threads), 1, 1};
  const int64_t blocks = int64_t{grid.x} * grid.y * grid.z;
  for (int64_t n = 0; n < blocks; ++n) {
    const int64_t i = order == Order::ascending ? n : blocks - 1 - n;
    blockIdx = {static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x % grid.y),
                static_cast<unsigned>(i / grid.x / grid.y)};
    run_block(shared_bytes);
  }
}

void block_barrier(int site) {
  current().state = State::at_barrier;
  current().site = site;
  current().fiber.suspend();
}

void warp_operation(WarpFunction all, int argument, int site, const void* in, size_t in_size,
                    void* out, size_t out_size) {
  const int me = running->current, lane = me % kWarp;
  Warp& warp = running->warps[static_cast<size_t>(me / kWarp)];
  if (warp.arrived > 0 && (warp.site != site || warp.all != all || warp.argument != argument))
    throw KernelFault("lanes of one warp meet at lines " + std::to_string(warp.site) + " and " +
                      std::to_string(site) + ": " + at(me));
  warp.site = site;
  warp.all = all;
  warp.argument = argument;
  std::memcpy(warp.in.bytes[lane], in, in_size);
  if (++warp.arrived < kWarp) {
    current().state = State::at_warp;
    current().site = site;
    current().fiber.suspend();
  } else {
    all(warp.in, warp.out, argument);
    warp.arrived = 0;
    const int first = me - lane;
    for (int i = first; i < first + kWarp; ++i)
      running->threads[static_cast<size_t>(i)].state = State::ready;
  }
  std::memcpy(out, warp.out.bytes[lane], out_size);
}

std::byte* shared_read(int64_t offset, size_t size) {
  in_range(offset, static_cast<int64_t>(size));
  const auto first = static_cast<size_t>(offset);
  for (size_t i = first / kCell; i * kCell < first + size; ++i) {
    Cell& c = cell(i);
    if (c.writer < 0)
      throw KernelFault("shared memory read before it is written, at byte " +
                        std::to_string(i * kCell) + ": " + at(running->current));
    if (c.written == running->epoch && c.writer != running->current)
      throw KernelFault("shared memory read without a barrier after the write of thread " +
                        std::to_string(c.writer) + ": " + at(running->current));
    c.reader = c.read == running->epoch && c.reader != running->current ? kMany : running->current;
    c.read = running->epoch;
  }
  return running->shared.data() + first;
}

std::byte* shared_write(int64_t offset, size_t size) {
  in_range(offset, static_cast<int64_t>(size));
  const auto first = static_cast<size_t>(offset);
  for (size_t i = first / kCell; i * kCell < first + size; ++i) {
    Cell& c = cell(i);
    const bool read_now = c.read == running->epoch && c.reader != running->current;
    const bool written_now = c.written == running->epoch && c.writer != running->current;
    if (c.writer >= 0 && (read_now || written_now))
      throw KernelFault(
          "shared memory written without a barrier after another thread's access, at byte " +
          std::to_string(i * kCell) + ": " + at(running->current));
    c.writer = running->current;
    c.written = running->epoch;
  }
  return running->shared.data() + first;
}

std::byte* shared_atomic(int64_t offset, size_t size) {
  in_range(offset, static_cast<int64_t>(size));
  const auto first = static_cast<size_t>(offset);
  for (size_t i = first / kCell; i * kCell < first + size; ++i) {
    Cell& c = cell(i);
    if (c.writer < 0)
      throw KernelFault("an atomic addition to shared memory that is not written: " +
                        at(running->current));
    if (c.read == running->epoch || (c.written == running->epoch && c.writer != kAtomic))
      throw KernelFault("an atomic addition without a barrier after another access: " +
                        at(running->current));
    c.writer = kAtomic;
    c.written = running->epoch;
  }
  return running->shared.data() + first;
}

void copy_starts(int64_t offset, const void* from) {
  if (offset % static_cast<int64_t>(kCopy) != 0)
    throw KernelFault("a copy to byte " + std::to_string(offset));
  std::memset(shared_write(offset, kCopy), 0xff, kCopy);
  current().copies.push_back({offset, from});
}

// A write of its own: what nobody may touch from the start on, nobody may touch at the end either.
void copies_arrive() {
  for (const Copy& copy : current().copies) {
    std::byte* const to = shared_write(copy.to, kCopy);
    if (copy.from != nullptr) {
      std::memcpy(to, copy.from, kCopy);
    } else {
      std::memset(to, 0, kCopy);
    }
  }
  current().copies.clear();
}

void shared_array_exists(int64_t offset, int64_t size) {
  in_range(offset, size);
  if (offset % 16 != 0) throw KernelFault("a shared array at byte " + std::to_string(offset));
}

}  // namespace cria::emulation
