#include <mpi.h>

#include <algorithm>
#include <vector>

#include "comm/mpi/mpi_table.h"

namespace {

constexpr size_t kMostBytes = size_t{1} << 30;  // MPI counts in int

/// A message in parts of at most 1 GiB.
struct Message {
  std::vector<MPI_Request> parts;
  std::vector<int> sizes;
  bool received = false;
};

template <class Post>
Message* post(size_t size, bool received, const Post& part) {
  auto* const message = new Message;
  message->received = received;
  size_t at = 0;
  do {
    const size_t n = std::min(kMostBytes, size - at);
    MPI_Request request = MPI_REQUEST_NULL;
    if (part(at, static_cast<int>(n), &request) != MPI_SUCCESS) {
      delete message;
      return nullptr;
    }
    message->parts.push_back(request);
    message->sizes.push_back(static_cast<int>(n));
    at += n;
  } while (at < size);
  return message;
}

int start(int* rank, int* size) {
  int provided = MPI_THREAD_SINGLE;
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided) != MPI_SUCCESS) return 1;
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_rank(MPI_COMM_WORLD, rank);
  MPI_Comm_size(MPI_COMM_WORLD, size);
  return 0;
}

void* send(int peer, int channel, const void* bytes, size_t size) {
  return post(size, false, [&](size_t at, int n, MPI_Request* request) {
    return MPI_Isend(static_cast<const char*>(bytes) + at, n, MPI_BYTE, peer, channel,
                     MPI_COMM_WORLD, request);
  });
}

void* receive(int peer, int channel, void* bytes, size_t size) {
  return post(size, true, [&](size_t at, int n, MPI_Request* request) {
    return MPI_Irecv(static_cast<char*>(bytes) + at, n, MPI_BYTE, peer, channel, MPI_COMM_WORLD,
                     request);
  });
}

int done(void* handle) {
  auto* const message = static_cast<Message*>(handle);
  int result = 1;
  while (!message->parts.empty()) {
    int complete = 0;
    MPI_Status status;
    const int error = MPI_Test(&message->parts.back(), &complete, &status);
    if (error != MPI_SUCCESS) {
      int kind = 0;
      MPI_Error_class(error, &kind);
      result = kind == MPI_ERR_TRUNCATE ? -1 : -2;
      break;
    }
    if (complete == 0) return 0;
    int count = 0;
    MPI_Get_count(&status, MPI_BYTE, &count);
    if (message->received && count != message->sizes.back()) result = -1;
    message->parts.pop_back();
    message->sizes.pop_back();
  }
  delete message;
  return result;
}

void forget(void* handle) { delete static_cast<Message*>(handle); }
void finish() { MPI_Finalize(); }

constexpr CriaMpiTable table = {kCriaMpiVersion, start, send, receive, done, forget, finish};

}  // namespace

extern "C" __attribute__((visibility("default"))) const CriaMpiTable* cria_mpi_table() {
  return &table;
}
