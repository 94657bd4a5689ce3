#include "fake_nccl.h"

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

namespace {

using cria::fake_nccl::Seen;
using cria::fake_nccl::Settings;

/// A send or receive of one end of a communicator.
struct Call {
  bool sends = false;
  char* bytes = nullptr;
  size_t count = 0;
  bool done = false;
};
/// What the two ends of a communicator, or of several that are one, have asked for on the device.
struct Wire {
  std::array<std::deque<std::shared_ptr<Call>>, 2> asked;
};
/// What both ends of a communicator know of each other.
struct Pair {
  int number = 0, joined = 0;
  std::array<int, 2> devices{};
  std::shared_ptr<Wire> wire;
};

struct Work {
  int questions = 0;  // until it happens
  void* to = nullptr;
  const void* from = nullptr;
  size_t count = 0;
  std::shared_ptr<Call> call;
  std::shared_ptr<Wire> wire;
  int end = 0;
  bool asked = false;
  cudaEvent_t event = nullptr;
};

}  // namespace

struct CUevent_st {
  bool recorded = false, reached = true;
  cudaStream_t stream = nullptr;
};
struct CUstream_st {
  int device = 0;
  std::deque<Work> work;
};
struct ncclComm {
  std::shared_ptr<Pair> pair;
  int end = 0;
  int questions = 0;  // until it is settled
  bool connected = false, dead = false;
  std::shared_ptr<Call> waiting;
  cudaStream_t stream = nullptr;
  std::deque<std::shared_ptr<Call>> calls;  // all of them, oldest first
};

namespace {

struct Block {
  size_t size = 0;
  int device = -1;  // -1: pinned memory of the host
};

// Everything, behind one lock.
struct World {
  std::mutex mutex;
  Settings settings;
  Seen seen;
  std::map<const char*, Block> blocks;
  std::map<std::string, std::shared_ptr<Pair>> pairs;
  std::map<std::array<int, 2>, std::shared_ptr<Wire>> shared;
  int ids = 0;
  unsigned delays = 1;

  void mistake(const std::string& what) {
    if (seen.mistakes++ == 0) seen.first_mistake = what;
  }
  /// 0 to 3, always the same sequence.
  int delay() {
    delays = delays * 1664525 + 1013904223;
    return static_cast<int>(delays >> 30);
  }
  [[nodiscard]] const Block* block(const void* pointer, size_t size) const {
    const char* const at = static_cast<const char*>(pointer);
    auto found = blocks.upper_bound(at);
    if (found == blocks.begin()) return nullptr;
    --found;
    return at + size <= found->first + found->second.size ? &found->second : nullptr;
  }
  cudaError_t make_block(void** pointer, size_t size, int device) {
    *pointer = std::malloc(size);
    blocks[static_cast<char*>(*pointer)] = {size, device};
    ++seen.live_blocks;
    return cudaSuccess;
  }
  cudaError_t free_block(void* pointer, bool pinned) {
    const auto found = blocks.find(static_cast<char*>(pointer));
    if (found == blocks.end() || (found->second.device < 0) != pinned) {
      mistake("freed what was not allocated so");
      return cudaErrorInvalidValue;
    }
    blocks.erase(found);
    std::free(pointer);
    --seen.live_blocks;
    return cudaSuccess;
  }
};

World& world() {
  static World w;
  return w;
}
thread_local int current_device = 0;

/// The first calls of both ends meet.
void meet(World& w, Wire& wire) {
  auto& [left, right] = wire.asked;
  while (!left.empty() && !right.empty()) {
    Call& a = *left.front();
    Call& b = *right.front();
    if (a.sends == b.sends) return;  // both ends wait for ever
    if (a.count != b.count) return w.mistake("a receive of another size than its send");
    std::memcpy(a.sends ? b.bytes : a.bytes, a.sends ? a.bytes : b.bytes, a.count);
    a.done = b.done = true;
    left.pop_front();
    right.pop_front();
  }
}

bool happens(World& w, Work& work) {
  if (work.questions-- > 0) return false;
  if (work.event != nullptr) {
    work.event->reached = true;
    return true;
  }
  if (work.call == nullptr) {
    std::memcpy(work.to, work.from, work.count);
    return true;
  }
  if (work.call->done) return true;
  if (!work.asked) work.wire->asked[static_cast<size_t>(work.end)].push_back(work.call);
  work.asked = true;
  meet(w, *work.wire);
  return work.call->done;
}

void run(World& w, CUstream_st& stream) {
  while (!stream.work.empty() && happens(w, stream.work.front())) stream.work.pop_front();
}

void add(World& w, cudaStream_t stream, Work work) {
  work.questions = w.delay();
  stream->work.push_back(std::move(work));
  int count = 0;
  for (const Work& one : stream->work) count += one.event == nullptr ? 1 : 0;
  w.seen.most_work_of_a_stream = std::max(w.seen.most_work_of_a_stream, count);
}

ncclResult_t ask(bool sends, const void* bytes, size_t count, ncclDataType_t type, int peer,
                 ncclComm_t comm, cudaStream_t stream) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  if (!comm->connected || comm->waiting != nullptr || comm->dead) {
    w.mistake("a call on a communicator that is in progress");
    return ncclInvalidUsage;
  }
  if (type != ncclInt8 || peer != 1 - comm->end || stream->device != current_device) {
    w.mistake("a call with a wrong type, peer or device");
    return ncclInvalidArgument;
  }
  const Block* const block = w.block(bytes, count);
  if (block == nullptr || block->device != current_device) {
    w.mistake("a call on memory that is not of its device");
    return ncclInvalidArgument;
  }
  if (++w.seen.calls == w.settings.dies_at_call) {
    comm->dead = true;
    return ncclInProgress;
  }
  auto call = std::make_shared<Call>();
  call->sends = sends;
  call->bytes = const_cast<char*>(static_cast<const char*>(bytes));
  call->count = count;
  comm->waiting = call;
  comm->stream = stream;
  comm->questions = w.delay();
  comm->calls.push_back(call);
  return ncclInProgress;
}

/// All that this end has asked for is over, and is taken out of the wire.
void end_calls(ncclComm& comm) {
  auto& asked = comm.pair->wire->asked[static_cast<size_t>(comm.end)];
  for (const auto& call : comm.calls) {
    call->done = true;
    std::erase(asked, call);
  }
}

void set_wire(World& w, Pair& pair) {
  auto ends = pair.devices;
  if (w.settings.shared_by_directions && ends[0] > ends[1]) std::swap(ends[0], ends[1]);
  if (!w.settings.shared_by_channels && !w.settings.shared_by_directions) {
    pair.wire = std::make_shared<Wire>();
    return;
  }
  auto& wire = w.shared[ends];
  if (wire == nullptr) wire = std::make_shared<Wire>();
  pair.wire = wire;
}

/// On a wire for both directions the ends are told apart by their devices.
int end_on_wire(const World& w, const ncclComm& comm) {
  const auto& d = comm.pair->devices;
  const bool turned = w.settings.shared_by_directions && d[0] > d[1];
  return turned ? 1 - comm.end : comm.end;
}

}  // namespace

namespace cria::fake_nccl {

void reset(Settings settings) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  w.settings = settings;
  w.seen = {};
  w.pairs.clear();
  w.shared.clear();
  w.ids = 0;
  w.delays = 1;
}

Seen seen() {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  return w.seen;
}

}  // namespace cria::fake_nccl

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  const std::lock_guard lock(world().mutex);
  if (world().settings.no_driver) return cudaErrorInsufficientDriver;
  *count = world().settings.devices;
  return *count == 0 ? cudaErrorNoDevice : cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  const std::lock_guard lock(world().mutex);
  if (device < 0 || device >= world().settings.devices) return cudaErrorInvalidDevice;
  current_device = device;
  return cudaSuccess;
}
const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaErrorInsufficientDriver:
      return "the driver is too old";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorInvalidValue:
      return "invalid argument";
    default:
      return "an error";
  }
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  const std::lock_guard lock(world().mutex);
  const Block* const block = world().block(pointer, 1);
  attributes->device = block == nullptr ? 0 : std::max(0, block->device);
  attributes->type = block == nullptr    ? cudaMemoryTypeUnregistered
                     : block->device < 0 ? cudaMemoryTypeHost
                                         : cudaMemoryTypeDevice;
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** pointer, size_t size) {
  const std::lock_guard lock(world().mutex);
  return world().make_block(pointer, size, current_device);
}
cudaError_t cudaFree(void* pointer) {
  const std::lock_guard lock(world().mutex);
  return world().free_block(pointer, false);
}
cudaError_t cudaMallocHost(void** pointer, size_t size) {
  const std::lock_guard lock(world().mutex);
  return world().make_block(pointer, size, -1);
}
cudaError_t cudaFreeHost(void* pointer) {
  const std::lock_guard lock(world().mutex);
  return world().free_block(pointer, true);
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t count, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  const Block* const target = w.block(to, count);
  const Block* const source = w.block(from, count);
  const bool in = kind == cudaMemcpyHostToDevice;
  if (target == nullptr || source == nullptr || (target->device < 0) == in ||
      (source->device < 0) != in) {
    w.mistake("a copy that is not between pinned and device memory");
    return cudaErrorInvalidValue;
  }
  Work work;
  work.to = to;
  work.from = from;
  work.count = count;
  add(w, stream, std::move(work));
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int) {
  const std::lock_guard lock(world().mutex);
  *stream = new CUstream_st;
  (*stream)->device = current_device;
  ++world().seen.live_streams;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const std::lock_guard lock(world().mutex);
  if (!stream->work.empty()) world().mistake("a stream with work was destroyed");
  delete stream;
  --world().seen.live_streams;
  return cudaSuccess;
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const std::lock_guard lock(world().mutex);
  run(world(), *stream);
  return stream->work.empty() ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int) {
  const std::lock_guard lock(world().mutex);
  *event = new CUevent_st;
  ++world().seen.live_events;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const std::lock_guard lock(world().mutex);
  delete event;
  --world().seen.live_events;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const std::lock_guard lock(world().mutex);
  event->reached = false;
  event->stream = stream;
  Work work;
  work.event = event;
  add(world(), stream, std::move(work));
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  const std::lock_guard lock(world().mutex);
  if (event->stream != nullptr && !event->reached) run(world(), *event->stream);
  return event->reached ? cudaSuccess : cudaErrorNotReady;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  const std::lock_guard lock(world().mutex);
  std::memset(id, 0, sizeof *id);
  const std::string name = "link " + std::to_string(++world().ids);
  std::memcpy(id, name.data(), name.size());
  return ncclSuccess;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  if (ranks != 2 || config->blocking != 0) {
    w.mistake("a communicator whose making would wait");
    return ncclInvalidUsage;
  }
  auto& pair = w.pairs[std::string(reinterpret_cast<const char*>(&id), sizeof id)];
  if (pair == nullptr) {
    pair = std::make_shared<Pair>();
    pair->number = ++w.seen.communicators;
  }
  if (++pair->joined > 2) {
    w.mistake("a third end of a communicator");
    return ncclInvalidUsage;
  }
  pair->devices[static_cast<size_t>(rank)] = current_device;
  *comm = new ncclComm;
  ++w.seen.live_communicators;
  (*comm)->pair = pair;
  (*comm)->end = rank;
  (*comm)->questions = w.delay();
  return ncclInProgress;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* state) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  *state = ncclInProgress;
  const Pair& pair = *comm->pair;
  if (comm->dead) {
    *state = ncclRemoteError;
  } else if (!comm->connected) {
    if (pair.number == w.settings.refuses) {
      *state = ncclSystemError;
    } else if (pair.joined == 2 && pair.number != w.settings.never_connects &&
               comm->questions-- <= 0) {
      if (pair.wire == nullptr) set_wire(w, *comm->pair);
      comm->connected = true;
      *state = ncclSuccess;
    }
  } else if (comm->waiting == nullptr) {
    *state = ncclSuccess;
  } else if (comm->questions-- <= 0) {
    Work work;
    work.call = std::exchange(comm->waiting, nullptr);
    work.wire = pair.wire;
    work.end = end_on_wire(w, *comm);
    add(w, comm->stream, std::move(work));
    *state = ncclSuccess;
  }
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  if (comm->pair->wire != nullptr) {
    comm->end = end_on_wire(w, *comm);
    end_calls(*comm);
  }
  delete comm;
  ++w.seen.aborted;
  --w.seen.live_communicators;
  return ncclSuccess;
}
ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  const std::lock_guard lock(world().mutex);
  for (const auto& call : comm->calls)
    if (!call->done) world().mistake("a communicator with work was left");
  return ncclSuccess;
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  const std::lock_guard lock(world().mutex);
  delete comm;
  --world().seen.live_communicators;
  return ncclSuccess;
}
ncclResult_t ncclSend(const void* bytes, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream) {
  return ask(true, bytes, count, type, peer, comm, stream);
}
ncclResult_t ncclRecv(void* bytes, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return ask(false, bytes, count, type, peer, comm, stream);
}
const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclRemoteError   ? "remote process exited or there was a network error"
         : result == ncclSystemError ? "unhandled system error"
                                     : "a mistake of the caller";
}
const char* ncclGetLastError(ncclComm_t) { return "said by the stand-in"; }

}  // extern "C"
