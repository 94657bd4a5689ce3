#include "comm/comm.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "base/error.h"
#include "comm/pending.h"

namespace cria {

Comm::Comm(CommWorld& world, std::string name, std::vector<int> ranks, int channel)
    : world_(world), name_(std::move(name)), ranks_(std::move(ranks)), channel_(channel) {
  const auto me = std::ranges::find(ranks_, world.transport.rank());
  check(me != ranks_.end(), "a rank makes only groups that it is in");
  rank_ = static_cast<int>(me - ranks_.begin());
}

void Comm::wait(std::span<Piece> pieces, int64_t number, std::string_view kind, int64_t bytes) {
  const auto start = std::chrono::steady_clock::now();
  for (int64_t turn = 0;; ++turn) {
    std::string missing;
    bool all = true;
    for (Piece& p : pieces) {
      if (p.transfer && p.transfer->done()) p.transfer.reset();
      all = all && !p.transfer;
    }
    if (all) return;
    // Ranks may be more than processors: soon let the others run.
    if (turn > 1000) std::this_thread::sleep_for(std::chrono::microseconds(50));
    if (turn > 50) std::this_thread::yield();
    if (std::chrono::steady_clock::now() - start < world_.settings.deadline) continue;
    for (const Piece& p : pieces) {
      if (p.transfer) missing += fmt::format("{}{}", missing.empty() ? "" : ", ", p.peer);
    }
    fmt::print(stderr, "{}", world_.log.text());
    throw Error(ExitCode::no_progress,
                fmt::format("operation {} ({} of group {}, {} bytes) did not end within {} ms; not "
                            "heard from: rank {}",
                            number, kind, name_, bytes, world_.settings.deadline.count(), missing));
  }
}

Comm::Pending Comm::send(std::span<const std::byte> bytes, int to) {
  const auto size = static_cast<int64_t>(bytes.size());
  const int peer = ranks_.at(static_cast<size_t>(to));
  counters_.calls += 1;
  counters_.bytes_sent += size;
  return {*this,
          {world_.transport.send(peer, channel_ + 1, bytes), peer},
          world_.log.begin("send", name_, size),
          size};
}

void Comm::receive(std::span<std::byte> bytes, int from) {
  const auto size = static_cast<int64_t>(bytes.size());
  const int peer = ranks_.at(static_cast<size_t>(from));
  counters_.calls += 1;
  Piece piece{world_.transport.receive(peer, channel_ + 1, bytes), peer};
  const int64_t number = world_.log.begin("receive", name_, size);
  wait({&piece, 1}, number, "receive", size);
  world_.log.end(number);
}

void Comm::Pending::wait() {
  if (!piece_.transfer) return;
  comm_->wait({&piece_, 1}, number_, "send", bytes_);
  comm_->world_.log.end(number_);
}

}  // namespace cria
