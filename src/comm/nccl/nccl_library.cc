// The table of nccl_table.h. Each link has a communicator of two ranks and a stream of its own, and at most one thing at a time
// to do for the device: a copy or one NCCL call. So no queue of the device ever holds up one link's work behind another's, which
// is what lets any number of links be under way between ranks that ask for them in different orders.
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "comm/nccl/nccl_table.h"

namespace {

// NCCL's kernels wait on the device for the other end. All that a rank has under way must fit on it side by side, so each is
// kept small; the environment's NCCL_MAX_CTAS is stronger.
constexpr int kMostCtas = 2;

static_assert(sizeof(ncclUniqueId) == kCriaNcclIdBytes);

enum class Step { idle, connecting, copying_in, calling, moving, copying_out };

struct Link {
  int device = 0;
  bool sends = false;
  ncclComm_t comm = nullptr;
  bool connected = false;
  cudaStream_t stream = nullptr;
  cudaEvent_t event = nullptr;
  // Staging: the host's side and the device's.
  std::byte* pinned = nullptr;
  void* space = nullptr;
  size_t space_bytes = 0;
  // The message under way.
  std::byte* bytes = nullptr;
  size_t size = 0, piece = 0, at = 0;
  bool staged = false;
  Step step = Step::idle;
  // Nothing could end its kernel: its memory must stay, and freeing anything would wait for it.
  bool stuck = false;

  [[nodiscard]] size_t now() const { return std::min(piece, size - at); }
};

struct Rank {
  int device = 0;
  std::vector<std::unique_ptr<Link>> links;
};

thread_local std::string last_error;

void cuda(cudaError_t result) {
  if (result != cudaSuccess) throw std::runtime_error(cudaGetErrorString(result));
}

void nccl(ncclResult_t result, ncclComm_t comm = nullptr) {
  if (result == ncclSuccess || result == ncclInProgress) return;
  std::string text = ncclGetErrorString(result);
  const char* const more = ncclGetLastError(comm);
  if (more != nullptr && *more != '\0') text += std::string(": ") + more;
  throw std::runtime_error(text);
}

/// Runs what may throw; `failed` is returned when it does, and error() has the text.
template <class Result, class Body>
Result guarded(Result failed, const Body& body) noexcept {
  try {
    return body();
  } catch (const std::exception& e) {
    try {
      last_error = e.what();
    } catch (const std::bad_alloc&) {
      last_error.clear();
    }
    return failed;
  }
}

/// True once NCCL has done what it was asked for on the host's side.
bool settled(const Link& link) {
  ncclResult_t state = ncclSuccess;
  nccl(ncclCommGetAsyncError(link.comm, &state), link.comm);
  nccl(state, link.comm);
  return state == ncclSuccess;
}

/// True once the device has done all that the link's stream holds.
bool reached(const Link& link) {
  const cudaError_t state = cudaEventQuery(link.event);
  if (state == cudaErrorNotReady) return false;
  cuda(state);
  return true;
}

/// One copy between the halves of the staging memory; `reached` tells when it is over.
void copy(Link& link, void* to, const void* from, cudaMemcpyKind kind, Step step) {
  cuda(cudaMemcpyAsync(to, from, link.now(), kind, link.stream));
  cuda(cudaEventRecord(link.event, link.stream));
  link.step = step;
}

void call_nccl(Link& link) {
  void* const place = link.staged ? link.space : link.bytes + link.at;
  link.step = Step::calling;
  const int sender = 0, receiver = 1;
  nccl(link.sends ? ncclSend(place, link.now(), ncclInt8, receiver, link.comm, link.stream)
                  : ncclRecv(place, link.now(), ncclInt8, sender, link.comm, link.stream),
       link.comm);
}

void begin_piece(Link& link) {
  if (!link.staged || !link.sends) return call_nccl(link);
  std::memcpy(link.pinned, link.bytes + link.at, link.now());
  copy(link, link.space, link.pinned, cudaMemcpyHostToDevice, Step::copying_in);
}

void end_piece(Link& link) {
  link.at += link.now();
  link.step = Step::idle;
  if (link.at < link.size) begin_piece(link);
}

/// False when the message must wait, or is over.
bool advance(Link& link) {
  switch (link.step) {
    case Step::idle:
      return false;
    case Step::connecting:
      if (!settled(link)) return false;
      link.connected = true;
      begin_piece(link);
      return true;
    case Step::copying_in:
      if (!reached(link)) return false;
      call_nccl(link);
      return true;
    case Step::calling:
      // Before that the stream may be empty still, and an event recorded on it would be too early.
      if (!settled(link)) return false;
      cuda(cudaEventRecord(link.event, link.stream));
      link.step = Step::moving;
      return true;
    case Step::moving:
      settled(link);  // throws when the other end is gone: the event would never come
      if (!reached(link)) return false;
      if (link.staged && !link.sends) {
        copy(link, link.pinned, link.space, cudaMemcpyDeviceToHost, Step::copying_out);
      } else {
        end_piece(link);
      }
      return true;
    case Step::copying_out:
      if (!reached(link)) return false;
      std::memcpy(link.bytes + link.at, link.pinned, link.now());
      end_piece(link);
      return true;
  }
  return false;
}

/// Asks until it is true, at most kCriaNcclPatience.
template <class Ask>
bool patiently(const Ask& ask) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::seconds(kCriaNcclPatience);
  while (!ask()) {
    if (Clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  return true;
}

void end_now(Link& link) {
  if (link.comm == nullptr) return;
  ncclCommAbort(link.comm);
  link.comm = nullptr;
  link.step = Step::idle;
  link.stuck = !patiently([&] { return cudaStreamQuery(link.stream) != cudaErrorNotReady; });
}

void free_link(Link& link) {
  if (link.stuck) return;
  if (link.pinned != nullptr) cudaFreeHost(link.pinned);
  if (link.space != nullptr) cudaFree(link.space);
  if (link.event != nullptr) cudaEventDestroy(link.event);
  if (link.stream != nullptr) cudaStreamDestroy(link.stream);
}

/// Both ends must leave a communicator; all are told before any is waited for, since ranks go through theirs in other orders.
void leave(std::vector<std::unique_ptr<Link>>& links) {
  std::vector<Link*> leaving;
  for (const auto& link : links) {
    if (link->comm == nullptr) continue;
    const ncclResult_t state = ncclCommFinalize(link->comm);
    if (state == ncclSuccess || state == ncclInProgress) leaving.push_back(link.get());
  }
  patiently([&] {
    std::erase_if(leaving, [](Link* link) {
      ncclResult_t state = ncclInProgress;
      if (ncclCommGetAsyncError(link->comm, &state) != ncclSuccess || state == ncclInProgress)
        return false;
      if (state == ncclSuccess && ncclCommDestroy(link->comm) == ncclSuccess) link->comm = nullptr;
      return true;
    });
    return leaving.empty();
  });
}

const char* error() { return last_error.c_str(); }

int devices() {
  return guarded(-1, [] {
    int count = 0;
    const cudaError_t state = cudaGetDeviceCount(&count);
    if (state == cudaErrorNoDevice) return 0;
    cuda(state);
    return count;
  });
}

void* open(int device) {
  return guarded(static_cast<void*>(nullptr), [&]() -> void* {
    cuda(cudaSetDevice(device));
    auto rank = std::make_unique<Rank>();
    rank->device = device;
    return rank.release();
  });
}

int new_id(void* rank, unsigned char* id) {
  return guarded(1, [&] {
    cuda(cudaSetDevice(static_cast<Rank*>(rank)->device));
    ncclUniqueId made;
    nccl(ncclGetUniqueId(&made));
    std::memcpy(id, &made, sizeof made);
    return 0;
  });
}

void* connect(void* handle, const unsigned char* id, int sends) {
  auto& rank = *static_cast<Rank*>(handle);
  return guarded(static_cast<void*>(nullptr), [&]() -> void* {
    cuda(cudaSetDevice(rank.device));
    // In the list before anything is made: what fails half way is freed with the rank.
    Link& link = *rank.links.emplace_back(std::make_unique<Link>());
    link.device = rank.device;
    link.sends = sends != 0;
    cuda(cudaStreamCreateWithFlags(&link.stream, cudaStreamNonBlocking));
    cuda(cudaEventCreateWithFlags(&link.event, cudaEventDisableTiming));
    ncclUniqueId name;
    std::memcpy(&name, id, sizeof name);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    config.maxCTAs = kMostCtas;
    nccl(ncclCommInitRankConfig(&link.comm, 2, name, link.sends ? 0 : 1, &config));
    return &link;
  });
}

int on_device(void* handle, const void* bytes) {
  const auto& rank = *static_cast<Rank*>(handle);
  return guarded(-1, [&] {
    cuda(cudaSetDevice(rank.device));
    cudaPointerAttributes found{};
    cuda(cudaPointerGetAttributes(&found, bytes));
    if (found.type != cudaMemoryTypeDevice) return 0;
    if (found.device != rank.device)
      throw std::runtime_error("bytes on device " + std::to_string(found.device) +
                               ", expected device " + std::to_string(rank.device));
    return 1;
  });
}

int start(void* handle, void* bytes, size_t size, size_t piece, int staged) {
  auto& link = *static_cast<Link*>(handle);
  return guarded(1, [&] {
    if (link.comm == nullptr || link.step != Step::idle)
      throw std::runtime_error("a message on a link that is not free");
    cuda(cudaSetDevice(link.device));
    if (staged != 0 && link.space_bytes < piece) {
      // Made once and kept: freeing would wait for everything that the device has under way.
      if (link.space_bytes != 0) throw std::runtime_error("pieces of a link have one size");
      void* pinned = nullptr;
      cuda(cudaMallocHost(&pinned, piece));
      link.pinned = static_cast<std::byte*>(pinned);
      cuda(cudaMalloc(&link.space, piece));
      link.space_bytes = piece;
    }
    link.bytes = static_cast<std::byte*>(bytes);
    link.size = size;
    link.piece = piece;
    link.at = 0;
    link.staged = staged != 0;
    if (link.connected) {
      begin_piece(link);
    } else {
      link.step = Step::connecting;
    }
    return 0;
  });
}

int done(void* handle) {
  auto& link = *static_cast<Link*>(handle);
  return guarded(-1, [&] {
    if (link.comm == nullptr) throw std::runtime_error("the link was ended");
    cuda(cudaSetDevice(link.device));
    while (advance(link)) {
    }
    return link.step == Step::idle ? 1 : 0;
  });
}

void abort_link(void* handle) {
  auto& link = *static_cast<Link*>(handle);
  cudaSetDevice(link.device);
  end_now(link);
}

void close(void* handle, int failed) {
  const std::unique_ptr<Rank> rank(static_cast<Rank*>(handle));
  cudaSetDevice(rank->device);
  if (failed == 0) leave(rank->links);
  for (const auto& link : rank->links) end_now(*link);
  // Freeing waits for the whole device, so not while something on it never ends.
  if (std::ranges::none_of(rank->links, [](const auto& link) { return link->stuck; }))
    for (const auto& link : rank->links) free_link(*link);
}

constexpr CriaNcclTable table = {kCriaNcclVersion, error, devices, open,       new_id, connect,
                                 on_device,        start, done,    abort_link, close};

}  // namespace

extern "C" __attribute__((visibility("default"))) const CriaNcclTable* cria_nccl_table() {
  return &table;
}
