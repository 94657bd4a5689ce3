#include "ops_cuda/fake/fake_cuda.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <stdexcept>
#include <vector>

namespace cria {
namespace {

// All pieces lie in one region, so that one call closes it to the host.
constexpr size_t kRegion = size_t{1} << 32;
constexpr size_t kAlignment = 256;
// Around every piece. A device gives what it has: everything is NaN before it is written, and stays so around the pieces, so a
// write beyond an end is noticed, and a read makes a result NaN.
constexpr size_t kGap = 256;
constexpr std::byte kFill{0xff};
// Of a piece: enough to be noticed.
constexpr size_t kMostFill = 1 << 20;

struct Piece {
  size_t size, room;  // asked for; with what follows up to the next piece
};

}  // namespace

struct FakeDevice {
  std::recursive_mutex mutex;  // the host's threads may all call the runtime
  std::byte* region = nullptr;
  size_t used = 0;                         // of the region, from its front
  std::map<std::byte*, Piece> pieces;      // by address
  std::multimap<size_t, std::byte*> free;  // by room
  int64_t left = -1, waits = 0, work = 0;
  bool closed = false;
};

}  // namespace cria

struct CUstream_st {
  cria::FakeDevice& device;
  std::deque<std::function<void()>> work;
  int64_t done = 0;  // pieces of work since the stream began
  float ms = 0;      // that all it was given takes
};
struct CUevent_st {
  CUstream_st* stream = nullptr;
  int64_t after = 0;  // pieces of its work
  float ms = 0;
};

namespace cria {
namespace {

constinit thread_local FakeDevice* current = nullptr;
/// The thread's own, as ranks that are threads have a device each; or that of the stream it works with.
FakeDevice& device() {
  static std::mutex mutex;
  // Never freed: static objects of tests free their memory after all others have gone.
  static auto& all = *new std::deque<FakeDevice>;
  if (current == nullptr) {
    const std::lock_guard lock(mutex);
    current = &all.emplace_back();
  }
  return *current;
}

/// The stream's device is this thread's while it lives, and nobody else's.
class With {
 public:
  explicit With(cudaStream_t stream) : before_(current), lock_(stream->device.mutex) {
    current = &stream->device;
  }
  ~With() { current = before_; }
  With(const With&) = delete;
  With& operator=(const With&) = delete;

 private:
  FakeDevice* before_;
  std::unique_lock<std::recursive_mutex> lock_;
};

void protect(int how) { mprotect(device().region, device().used, how); }

/// Where memory is closed to the host, it can be touched while one of these lives.
struct Opened {
  Opened() {
    if (device().closed) protect(PROT_READ | PROT_WRITE);
  }
  ~Opened() {
    if (device().closed) protect(PROT_NONE);
  }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;
};

void check_gap(const std::byte* from, const std::byte* to) {
  if (std::any_of(from, to, [](std::byte b) { return b != kFill; }))
    throw std::logic_error("a kernel wrote beyond the end of its memory");
}
void check_gaps(std::byte* at, const Piece& piece) {
  check_gap(at - kGap, at);
  check_gap(at + piece.size, at + piece.room);
}

/// Nothing is left in it: its pages go.
void end_region() {
  munmap(device().region, kRegion);
  device().region = nullptr;
  device().used = 0;
  device().free.clear();
}

/// The host's memory that devices read and write by themselves: any thread's.
struct Pinned {
  std::mutex mutex;
  std::map<std::byte*, size_t> pieces;
  bool holds(const void* host, size_t size) {
    const std::lock_guard lock(mutex);
    auto* const at = static_cast<std::byte*>(const_cast<void*>(host));
    auto after = pieces.upper_bound(at);
    if (after == pieces.begin()) return false;
    --after;
    return at + size <= after->first + after->second;
  }
  int count() {
    const std::lock_guard lock(mutex);
    return static_cast<int>(pieces.size());
  }
};
Pinned& pinned() {
  static auto& all = *new Pinned;
  return all;
}

/// The host waits until the stream has done so many pieces of work.
void run_until(CUstream_st& stream, int64_t count) {
  ++device().waits;
  const Opened opened;
  while (stream.done < count) {
    const std::function<void()> work = std::move(stream.work.front());
    stream.work.pop_front();
    ++stream.done;
    try {
      work();
    } catch (...) {  // a device that has failed does nothing more
      stream.done += std::ssize(stream.work);
      stream.work.clear();
      throw;
    }
  }
  for (const auto& [at, piece] : device().pieces) check_gaps(at, piece);
}

}  // namespace

void fake_cuda_enqueue(cudaStream_t stream, std::function<void()> work, float ms) {
  const With its_device(stream);
  stream->ms += ms;
  ++device().work;
  stream->work.push_back(std::move(work));
}

bool fake_cuda_owns(const void* bytes, size_t size) {
  auto* const at = static_cast<std::byte*>(const_cast<void*>(bytes));
  auto after = device().pieces.upper_bound(at);
  if (after == device().pieces.begin()) return false;
  --after;
  return at + size <= after->first + after->second.size;
}

int fake_cuda_allocations() { return static_cast<int>(device().pieces.size()) + pinned().count(); }
int64_t fake_cuda_waits() { return device().waits; }
int64_t fake_cuda_work() { return device().work; }
void fake_cuda_close(bool closed) {
  device().closed = closed;
  protect(closed ? PROT_NONE : PROT_READ | PROT_WRITE);
}
void fake_cuda_set_memory(int64_t bytes) { device().left = bytes; }

}  // namespace cria

using cria::device;

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int number) { return number == 0 ? cudaSuccess : cudaErrorInvalidValue; }
cudaError_t cudaDeviceGetAttribute(int* value, enum cudaDeviceAttr attribute, int /*device*/) {
  *value = attribute == cudaDevAttrComputeCapabilityMajor ? 9 : 0;
  return cudaSuccess;
}
const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "out of memory" : "fake error";
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes* attributes,
                                     const void* pointer) {
  const bool here = cria::fake_cuda_owns(pointer, 1);
  *attributes = {.type = here ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered,
                 .device = here ? 0 : -1,
                 .devicePointer = here ? const_cast<void*>(pointer) : nullptr,
                 .hostPointer = here ? nullptr : const_cast<void*>(pointer)};
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *total = cria::kRegion;
  size_t held = 0;
  for (const auto& [at, piece] : device().pieces) held += piece.size;
  *free = device().left < 0 ? cria::kRegion - held : static_cast<size_t>(device().left);
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** pointer, size_t size) {
  using namespace cria;
  if (size == 0) return cudaErrorInvalidValue;
  if (device().left >= 0) {
    if (static_cast<int64_t>(size) > device().left) return cudaErrorMemoryAllocation;
    device().left -= static_cast<int64_t>(size);
  }
  if (device().region == nullptr) {
    device().region =
        static_cast<std::byte*>(mmap(nullptr, kRegion, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    device().used = kGap;
  }
  const size_t room = (size + kAlignment - 1) / kAlignment * kAlignment + kGap;
  std::byte* at = device().region + device().used;
  const auto again = device().free.find(room);
  if (again != device().free.end()) {
    at = again->second;
    device().free.erase(again);
  } else if (kRegion - device().used < room) {
    return cudaErrorMemoryAllocation;
  } else {
    device().used += room;
  }
  const Opened opened;
  const size_t fill = std::min(size, kMostFill);
  std::fill(at - kGap, at + fill, kFill);
  std::fill(at + size - fill, at + room, kFill);
  device().pieces[at] = {size, room};
  *pointer = at;
  return cudaSuccess;
}
cudaError_t cudaFree(void* pointer) {
  using namespace cria;
  if (pointer == nullptr) return cudaSuccess;
  const auto found = device().pieces.find(static_cast<std::byte*>(pointer));
  if (found == device().pieces.end()) return cudaErrorInvalidValue;
  {
    const Opened opened;
    check_gaps(found->first, found->second);
  }
  device().free.emplace(found->second.room, found->first);
  device().pieces.erase(found);
  if (device().pieces.empty()) end_region();
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void** pointer, size_t size) {
  auto* const bytes = static_cast<std::byte*>(std::malloc(size));
  const std::lock_guard lock(cria::pinned().mutex);
  cria::pinned().pieces[bytes] = size;
  *pointer = bytes;
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* pointer) {
  if (pointer == nullptr) return cudaSuccess;
  const std::lock_guard lock(cria::pinned().mutex);
  if (cria::pinned().pieces.erase(static_cast<std::byte*>(pointer)) == 0)
    return cudaErrorInvalidValue;
  std::free(pointer);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t count, enum cudaMemcpyKind kind,
                            cudaStream_t stream) {
  const cria::With its_device(stream);
  const bool reads_device = kind != cudaMemcpyHostToDevice;
  const bool writes_device = kind != cudaMemcpyDeviceToHost;
  if (reads_device != cria::fake_cuda_owns(from, count) ||
      writes_device != cria::fake_cuda_owns(to, count))
    return cudaErrorInvalidValue;
  if (!reads_device && !cria::pinned().holds(from, count)) {
    // CUDA has read such memory when the call returns.
    const auto* const bytes = static_cast<const std::byte*>(from);
    cria::fake_cuda_enqueue(stream, [=, copy = std::vector<std::byte>(bytes, bytes + count)] {
      std::memcpy(to, copy.data(), count);
    });
    return cudaSuccess;
  }
  cria::fake_cuda_enqueue(stream, [=] { std::memmove(to, from, count); });
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t count, cudaStream_t stream) {
  const cria::With its_device(stream);
  if (!cria::fake_cuda_owns(to, count)) return cudaErrorInvalidValue;
  cria::fake_cuda_enqueue(stream, [=] { std::memset(to, value, count); });
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int /*flags*/) {
  *stream = new CUstream_st{device()};
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const cria::With its_device(stream);
  cria::run_until(*stream, stream->done + std::ssize(stream->work));
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int /*flags*/) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const cria::With its_device(stream);
  *event = {stream, stream->done + std::ssize(stream->work), stream->ms};
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t start, cudaEvent_t end) {
  if (start->stream == nullptr || end->stream != start->stream) return cudaErrorInvalidValue;
  if (end->stream->done < end->after) return cudaErrorInvalidValue;  // not there yet
  *ms = end->ms - start->ms;
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->stream == nullptr) return cudaSuccess;  // never recorded
  const cria::With its_device(event->stream);
  if (event->stream->done < event->after) cria::run_until(*event->stream, event->after);
  return cudaSuccess;
}
