// A started send of a group.
#pragma once

#include "comm/comm.h"

namespace cria {

struct Comm::Piece {
  std::unique_ptr<Transfer> transfer;
  int peer = 0;  // in the world
};

class Comm::Pending {
 public:
  Pending(Comm& comm, Piece piece, int64_t number, int64_t bytes)
      : comm_(&comm), piece_(std::move(piece)), number_(number), bytes_(bytes) {}
  /// Returns once the bytes were taken; throws Error(no_progress) after the deadline.
  void wait();

 private:
  Comm* comm_;
  Piece piece_;
  int64_t number_, bytes_;
};

}  // namespace cria
